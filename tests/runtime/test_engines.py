"""The engines against a filter computed by scipy, and what they say when they cannot run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import correlate

from w2s_export.errors import ConfigError, MissingExtraError, PackageError
from w2s_export.runtime.choose import Engine, open_engine
from w2s_export.runtime.protocol import EngineError
from w2s_export.runtime.threads import usable_cores

MakeOnnx = Callable[[int], Path]


@pytest.mark.parametrize("engine", ["auto", "cpu", "openvino"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_engine_computes_the_same(engine: Engine, box_onnx: MakeOnnx) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    runtime = open_engine(engine, box_onnx(1), threads=1)
    for shape in [(40, 50), (7, 9)]:
        image = np.random.default_rng(0).integers(0, 99, shape).astype(np.float32)
        summed = correlate(image, np.ones((3, 3), np.float32), mode="constant")
        got = runtime(image[None, None])
        np.testing.assert_array_equal(got[0, 0], summed.repeat(2, 0).repeat(2, 1))
    assert runtime.name.split()[0] in ("ONNX", "OpenVINO")


@pytest.mark.parametrize("engine", ["cpu", "openvino"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_cannot_run_is_refused(engine: Engine, box_onnx: MakeOnnx, tmp_path: Path) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(PackageError, match=r"bad\.onnx.*refuses"):
        open_engine(engine, tmp_path / "bad.onnx", 1)
    runtime = open_engine(engine, box_onnx(1), 1)
    with pytest.raises(EngineError, match="a tile of 8×9"):
        runtime(np.zeros((1, 2, 8, 9), np.float32))


def test_engines_that_are_not_there(box_onnx: MakeOnnx, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ConfigError, match="onnxruntime-gpu"):
        open_engine("cuda", box_onnx(1))
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"w2s-export\[openvino\]"):
        open_engine("openvino", box_onnx(1))


def test_at_least_one_core_is_usable() -> None:
    assert usable_cores() >= 1
