"""How far 16 bits are from float32: the measure, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from w2s_export.errors import ConfigError
from w2s_export.runtime import choose
from w2s_export.runtime.choose import open_engine
from w2s_export.runtime.precision import PrecisionError, precision_error


def test_the_error_is_a_part_of_the_range() -> None:
    expected = np.linspace(-2, 3, 10_000, dtype=np.float32).reshape(1, 100, 100)
    result = expected.copy()
    result[0, 0, 0] += 0.05
    error = precision_error(result, expected)
    assert error.largest == pytest.approx(0.01, rel=1e-4)
    assert error.rms == pytest.approx(0.01 / 100, rel=1e-4)  # one of 10,000 pixels
    assert error.decibels == pytest.approx(80, abs=0.01)
    assert precision_error(expected, expected).decibels == math.inf


@pytest.mark.parametrize(
    ("rms", "largest", "allowed"),
    [
        (10 ** (-55.01 / 20), 0.0099, True),
        (10 ** (-54.99 / 20), 0.0099, False),
        (1e-5, 0.0101, False),
        (float("nan"), float("nan"), False),
        (float("inf"), float("inf"), False),
        (0.0, 0.0, True),
    ],
)
def test_what_is_allowed(rms: float, largest: float, allowed: bool) -> None:
    assert PrecisionError(rms, largest).allowed is allowed


def test_a_flat_image_allows_no_error() -> None:
    flat = np.ones((1, 4, 4), np.float32)
    assert precision_error(flat, flat).allowed
    assert not precision_error(flat + np.float32(1e-3), flat).allowed


def test_an_export_measures_16_bits_where_the_machine_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch = np.random.default_rng(3).random((1, 1, 7, 11), np.float32)
    asked = []

    def rounding(engine: str, onnx: Path, **how: Any) -> Any:
        asked.append((engine, onnx, how))
        return lambda images: images.astype(np.float16).astype(np.float32)

    monkeypatch.setattr(choose, "open_engine", rounding)
    error = choose.error_in_half(Path("x.onnx"), batch, batch)
    assert asked == [("auto", Path("x.onnx"), {"precision": 16})]
    assert isinstance(error, PrecisionError)
    # float16 keeps 11 bits: of values below 1 half a step is at most 2**-12
    assert 2**-15 < error.largest <= 2**-12 / float(np.ptp(batch))


def test_an_export_does_without_where_the_machine_has_no_16_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(*_: Any, **__: Any) -> Any:
        raise ConfigError("--precision 16: this processor has neither AMX nor AVX512-BF16")

    monkeypatch.setattr(choose, "open_engine", none)
    batch = np.zeros((1, 1, 4, 4), np.float32)
    assert "neither AMX" in str(choose.error_in_half(Path("x.onnx"), batch, batch))


def has_bfloat16() -> bool:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_bfloat16_is_measured_against_the_source_at_odd_sizes(plain: Any) -> None:
    if not has_bfloat16():
        pytest.skip("the processor has no bfloat16")
    from w2s_export.runtime.keras import KerasRuntime

    half = open_engine("auto", plain.onnx.path, 2, 16)
    assert "bfloat16" in half.name
    for shape in [(1, 1, 7, 9), (2, 1, 33, 45)]:
        batch = np.random.default_rng(1).random(shape, np.float32)
        error = precision_error(half(batch), KerasRuntime(plain.model)(batch))
        assert 0 < error.rms < 1e-2  # bfloat16 has 8 bits: 4e-3 of a value; float32 gives 1e-7
        assert error.rms > 1e-6


def test_a_processor_without_bfloat16_refuses(plain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")

    class Older(openvino.Core):  # type: ignore[misc]
        def get_property(self, *_: object) -> list[str]:
            return ["FP32", "INT8"]

    monkeypatch.setattr(openvino, "Core", Older)
    with pytest.raises(ConfigError, match="AMX"):
        open_engine("openvino", plain.onnx.path, 2, 16)
    open_engine("openvino", plain.onnx.path, 2, 32)


def test_onnx_runtime_has_no_16_bits_on_a_cpu(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--engine openvino"):
        open_engine("cpu", tmp_path / "any.onnx", 1, 16)


def test_float16_for_a_gpu_keeps_input_and_output(plain: Any, tmp_path: Path) -> None:
    """Run here on the CPU, which computes float16 too, slowly."""
    import onnx
    import onnxruntime

    from w2s_export.runtime.onnx_runtime import OnnxRuntime, in_half

    half = tmp_path / "half.onnx"
    half.write_bytes(in_half(plain.onnx.path))
    kinds = {
        tensor.data_type for tensor in onnx.load(half).graph.initializer if len(tensor.dims) == 4
    }
    assert onnx.TensorProto.FLOAT not in kinds
    batch = np.random.default_rng(1).random((1, 1, 33, 45), np.float32)
    session = onnxruntime.InferenceSession(half, providers=["CPUExecutionProvider"])
    result = session.run(None, {"input": batch})[0]
    error = precision_error(result, OnnxRuntime(plain.onnx.path)(batch))
    assert 0 < error.rms < 2e-3  # float16 has 11 bits: 5e-4 of a value
