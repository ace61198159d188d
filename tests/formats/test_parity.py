"""Both conversions against their source, and the source against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

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
    torch = pytest.importorskip("torch")
    batch = noise(converted.config, "odd")
    with torch.no_grad():
        expected = rrdbnet(torch, converted.model, converted.config, torch.from_numpy(batch))
    for runtime in (
        OnnxRuntime(converted.onnx.path),
        SavedModelRuntime(converted.saved_model.path),
    ):
        parity = compare(runtime.name, "odd", expected.numpy(), runtime(batch))
        assert parity.max_relative <= TOLERANCE, parity


def rrdbnet(torch: Any, model: Any, config: Any, x: Any) -> Any:
    """ESRGAN's RRDBNet as its paper draws it, in PyTorch, on the weights of `model`."""
    functional = torch.nn.functional

    def conv(name: str, image: Any) -> Any:
        kernel, bias = model.get_layer(name).get_weights()
        weight = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
        return functional.conv2d(image, weight, torch.from_numpy(bias), padding=1)

    def active(image: Any) -> Any:
        return functional.leaky_relu(image, 0.2)

    def twice(image: Any) -> Any:
        return functional.interpolate(image, scale_factor=2, mode="nearest")

    first = conv("conv_first", x)
    trunk = first
    for block in range(config.nb):
        entry = trunk
        for dense in (1, 2, 3):
            name = f"body_{block}_rdb{dense}_conv"
            stack = [trunk]
            for index in (1, 2, 3, 4):
                stack.append(active(conv(f"{name}{index}", torch.cat(stack, 1))))
            trunk = trunk + 0.2 * conv(f"{name}5", torch.cat(stack, 1))
        trunk = entry + 0.2 * trunk
    image = first + conv("conv_body", trunk)
    if config.upsampling == "conv":
        image = active(conv("conv_up1", twice(image)))
        image = active(conv("conv_up2", twice(image)))
    else:
        image = active(twice(image))
    return conv("conv_last", active(conv("conv_hr", image)))
