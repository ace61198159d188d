"""Both conversions against their source, and the source against PyTorch."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.torch_rrdbnet import forward
from w2s_export.metrics.parity import compare
from w2s_export.runtime.keras import KerasRuntime
from w2s_export.runtime.onnx_runtime import OnnxOptions, OnnxRuntime
from w2s_export.runtime.saved_model import SavedModelRuntime

# Measured over the family and these sizes: 4e-7 of the range, float32 rounding in another order.
# A wrong pixel of the resize, another padding or a swapped channel is above 1e-2.
TOLERANCE = 1e-5
SIZES = {"smallest": (1, 8, 8), "odd": (1, 17, 23), "batch of two": (2, 9, 31), "row": (1, 4, 64)}


def noise(config: Any, case: str) -> np.ndarray:
    batch, height, width = SIZES[case]
    factor = config.pixel_unshuffle
    shape = (batch, config.in_nc, height // factor * factor, width // factor * factor)
    return np.random.default_rng(len(case)).normal(0.4, 0.4, shape).astype(np.float32)


@pytest.fixture(scope="module")
def runtimes(converted: Any) -> tuple[Any, ...]:
    return (
        KerasRuntime(converted.model),
        OnnxRuntime(converted.onnx.path, OnnxOptions(threads=1)),
        SavedModelRuntime(converted.saved_model.path),
    )


@pytest.mark.parametrize("case", SIZES)
def test_conversions_give_the_sources_image(
    converted: Any, runtimes: tuple[Any, ...], case: str
) -> None:
    batch = noise(converted.config, case)
    source, *others = runtimes
    expected = source(batch)
    size = [converted.config.scale * length for length in batch.shape[2:]]
    assert expected.shape == (batch.shape[0], converted.config.out_nc, *size)
    for runtime in others:
        actual = runtime(batch)
        assert actual.dtype == np.float32
        parity = compare(runtime.name, case, expected, actual)
        assert parity.max_relative <= TOLERANCE, parity


@pytest.mark.parametrize("converted", ["plain_x2", "conv_x4_rgb"], indirect=True)
def test_pytorch_gives_the_same_image(converted: Any) -> None:
    pytest.importorskip("torch")
    batch, state = noise(converted.config, "odd"), {}
    for layer in converted.model.layers:
        for part, values in zip(("weight", "bias"), layer.get_weights(), strict=False):
            name = re.sub(r"body_(\d+)_rdb(\d)_conv", r"body.\1.rdb\2.conv", layer.name)
            axes = (3, 2, 0, 1) if values.ndim == 4 else (0,)
            state[f"{name}.{part}"] = np.ascontiguousarray(values.transpose(axes))
    expected = forward(state, batch, converted.config)
    for runtime in (
        OnnxRuntime(converted.onnx.path),
        SavedModelRuntime(converted.saved_model.path),
    ):
        parity = compare(runtime.name, "odd", expected, runtime(batch))
        assert parity.max_relative <= TOLERANCE, parity
