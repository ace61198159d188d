"""Both packages as the zoo's own runtime runs them, at its default tolerances."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path

import pytest

from w2s_export.package.archive import write_packages
from w2s_export.rdf.description import Description


@pytest.mark.parametrize("weights", ["onnx", "tensorflow_saved_model_bundle"])
@pytest.mark.parametrize("package", ["bioimageio", "deepimagej"])
def test_the_zoo_runtime_reproduces_the_test_output(
    real_description: Description,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    weights: str,
) -> None:
    from bioimageio.core import test_description

    path = getattr(write_packages(real_description, tmp_path), package)
    monkeypatch.chdir(tmp_path)  # core unpacks the SavedModel into the working directory
    with warnings.catch_warnings():
        # core 0.11 warns that ONNX has no device to unload, and leaves files and zips open.
        warnings.simplefilter("ignore")
        summary = test_description(path, weight_format=weights)  # type: ignore[arg-type]
        gc.collect()
    assert summary.status == "passed", summary.format()


def test_the_zoo_runtime_sees_a_wrong_output(
    real_description: Description, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from bioimageio.core import test_description

    sample = real_description.sample
    wrong = replace(sample, restored=sample.restored + 0.01 * sample.restored.std())
    path = write_packages(replace(real_description, sample=wrong), tmp_path).bioimageio
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        summary = test_description(path, weight_format="onnx")
        gc.collect()
    assert summary.status != "passed"
