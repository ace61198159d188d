"""The engines against a filter computed by scipy, and what they say when they cannot run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import correlate

from w2s_export.errors import ConfigError, MissingExtraError, PackageError
from w2s_export.options import Engine
from w2s_export.runtime.choose import candidates, open_engine
from w2s_export.runtime.keras import KerasRuntime
from w2s_export.runtime.protocol import EngineError

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
def test_every_engine_gives_the_sources_image_at_odd_sizes(engine: Engine, converted: Any) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    runtime, source = open_engine(engine, converted.onnx.path, 2), KerasRuntime(converted.model)
    step, channels = converted.config.pixel_unshuffle, converted.config.in_nc
    for batch, height, width in [(1, 3, 5), (2, 17, 23), (1, 61, 33)]:
        shape = (batch, channels, step * height, step * width)
        image = np.random.default_rng(height).random(shape, np.float32)
        expected = source(image)
        again = [runtime(image) for _ in range(2)]  # OpenVINO compiles for a size that comes again
        # measured: up to 2e-6 of the range; a wrong border or tap gives 1e-2 and more
        for result in [*again, runtime(image)]:
            np.testing.assert_allclose(result, expected, atol=1e-5 * np.ptp(expected), rtol=0)


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


@pytest.mark.parametrize(
    ("engine", "install"),
    [
        ("cuda", "onnxruntime-gpu"),
        ("tensorrt", "tensorrt"),
        ("coreml", "a Mac"),
        ("directml", "onnxruntime-directml"),
    ],
)
def test_a_provider_that_is_not_there_says_what_to_install(
    engine: Engine, install: str, box_onnx: MakeOnnx, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ConfigError, match=f"--engine {engine}.*{install}"):
        open_engine(engine, box_onnx(1))
    assert [c.engine for c in candidates(box_onnx(1)) if c.engine != "openvino"] == []


def test_a_provider_that_falls_back_to_the_cpu_is_refused(
    box_onnx: MakeOnnx, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ONNX Runtime does where CUDA's libraries are missing: it is listed, but does not start."""
    import onnxruntime

    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    session = onnxruntime.InferenceSession

    def falls_back(path: str, options: Any, **others: Any) -> Any:
        return session(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    monkeypatch.setattr(onnxruntime, "InferenceSession", falls_back)
    (cuda,) = [c for c in candidates(box_onnx(1)) if c.engine == "cuda"]
    with pytest.raises(ConfigError, match="cannot start"):
        cuda.open()


def test_openvino_that_is_not_there(box_onnx: MakeOnnx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match="pip install openvino"):
        open_engine("openvino", box_onnx(1))


def test_openvino_tells_nobody(tmp_path: Path) -> None:
    """Its telemetry would make a folder in the home directory, and send an event at import."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    code = (
        "import sys; from w2s_export.runtime.openvino import import_without_telemetry as load; "
        "load().Core(); assert 'openvino_telemetry' not in sys.modules, 'telemetry'"
    )
    home = {name: str(tmp_path) for name in ("HOME", "LOCALAPPDATA", "USERPROFILE")}
    ran = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **home}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert list(tmp_path.iterdir()) == []
