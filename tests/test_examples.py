"""The examples run, one after the other, on each other's results."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import tifffile

from w2s_export.rdf.metadata import read_metadata

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.usefixtures("core_unasked")
def test_train_export_restore(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "02_train.py"))["main"](tmp_path / "train", steps=4)
    weights = tmp_path / "train" / "trained" / "simulated-microtubules.npz"
    sample = tmp_path / "train" / "data" / "lr" / "000.tif"
    export = runpy.run_path(str(EXAMPLES / "01_export.py"))["main"]
    assert export(weights, sample, tmp_path / "exported") == 0
    assert "all holds" in capsys.readouterr().out
    package = tmp_path / "exported" / "simulated-microtubules.bioimageio.zip"
    restore = runpy.run_path(str(EXAMPLES / "03_restore.py"))["main"]
    assert restore(package, sample.parent, tmp_path / "restored") == 0
    before, after = tifffile.imread(sample), tifffile.imread(tmp_path / "restored" / "000.tif")
    assert after.shape == tuple(2 * size for size in before.shape)
    assert len(list((tmp_path / "restored").iterdir())) == len(list(sample.parent.iterdir()))


def test_the_metadata_example_is_complete() -> None:
    metadata = read_metadata(EXAMPLES / "metadata.yaml")
    assert metadata.authors
    assert metadata.maintainers
    assert metadata.license == "CC-BY-4.0"
