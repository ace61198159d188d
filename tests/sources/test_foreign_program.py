"""What running a network shows of it, where its graph is not followed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from tests.graph.test_lower import CONV, PLAIN, kernel, model, n, plain
from tests.graph.test_lower import run as by_onnx_runtime
from w2s_export.graph.lower import lower
from w2s_export.sources.foreign_program import _grid, look
from w2s_export.sources.original import Original

Images = np.ndarray


def windows(side: int) -> Callable[[Images], Images]:
    """Each pixel and the mean of its window; windows begin at the image's corner."""

    def run(images: Images) -> Images:
        n, c, height, width = images.shape
        padded = np.pad(images, ((0, 0), (0, 0), (0, -height % side), (0, -width % side)))
        tall, wide = padded.shape[2:]
        means = padded.reshape(n, c, tall // side, side, wide // side, side).mean((3, 5))
        whole = means.repeat(side, 2).repeat(side, 3)
        return images + whole[:, :, :height, :width]

    return run


def local(images: Images) -> Images:
    return uniform_filter(images, (1, 1, 9, 9), mode="constant")


def everything(images: Images) -> Images:
    return images + 3 * np.square(images).mean((2, 3), keepdims=True)


@pytest.mark.parametrize(
    ("run", "step", "found"),
    [
        (windows(8), 1, 8),
        (windows(7), 1, 7),
        (windows(16), 4, 16),
        (windows(12), 2, 12),
        (local, 1, 1),
        (everything, 1, 1),
        (lambda images: windows(8)(everything(images)), 1, 8),
    ],
    ids=["8", "7", "16, pooled", "12, pooled", "local", "everything", "8 and everything"],
)
def test_the_grid_of_windows_is_found_by_shifting(
    run: Callable[[Images], Images], step: int, found: int
) -> None:
    assert _grid(run, lower(model(PLAIN, plain())), step, 1) == found


def test_the_minimum_is_found_where_less_would_end_the_process() -> None:
    """OmniSR pools by 7 behind a stride of 2.

    ONNX Runtime divides by zero below 11 pixels, and pools beyond the image below 15, where PyTorch
    refuses.
    """
    nodes = [
        n("Conv", "x k b", "a", **CONV),
        n("Conv", "a half", "c", kernel_shape=[3, 3], strides=[2, 2]),
        n("MaxPool", "c", "p", kernel_shape=[7, 7], strides=[3, 3]),
        n("Shape", "a", "s"),
        n("Resize", "p roi scales s", "u", mode="linear"),
        n("Mul", "a u", "m"),
        n("Conv", "m l", "y", **CONV),
    ]
    none = np.zeros(0, np.float32)
    weights = {**plain(), "half": kernel(4, 4, 3, 3), "roi": none, "scales": none}
    proto = model(nodes, weights)

    def framework(image: Images) -> Images:
        assert min(image.shape[2:]) >= 15, "as PyTorch: (15 − 3) / 2 + 1 = 7, one window"
        return by_onnx_runtime(proto, image)

    found = look(Original(proto, "PyTorch", framework, "ESA"), dynamic=False)[2]
    assert (found["step"], found["minimum"]) == (1, 15)
    assert found["difference"] <= 1e-6
