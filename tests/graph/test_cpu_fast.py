"""The fast CPU graph against the direct one, which follows Keras's layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

SIZES = [(3, 2), (17, 29), (45, 131)]  # less than a tile, odd, more than a block of 128 tiles


def test_is_the_same_network_at_any_size(converted: Any, tmp_path: Path) -> None:
    from w2s_export.formats import cpu_fast
    from w2s_export.runtime.onnx_runtime import OnnxOptions, OnnxRuntime

    config = converted.config
    two = OnnxOptions(threads=2)
    fast = OnnxRuntime(cpu_fast.write(converted.network, tmp_path / "fast.onnx").path, two)
    direct = OnnxRuntime(converted.onnx.path, two)
    rng = np.random.default_rng(0)
    for height, width in SIZES:
        step = config.pixel_unshuffle
        batch = rng.random((2, config.in_nc, step * height, step * width), np.float32)
        expected = direct(batch)
        # measured: up to 1e-6 of the range; a wrong border or tap gives 1e-2 and more
        np.testing.assert_allclose(fast(batch), expected, atol=5e-6 * np.ptp(expected), rtol=0)


def test_same_weights_same_bytes_that_old_runtimes_read(plain: Any, tmp_path: Path) -> None:
    import onnx

    from w2s_export.formats import cpu_fast

    first, second = (cpu_fast.write(plain.network, tmp_path / name) for name in "ab")
    assert first.sha256 == second.sha256
    proto = onnx.load(first.path)
    assert (proto.ir_version, [o.version for o in proto.opset_import]) == (8, [17])


def test_winograd_is_a_convolution() -> None:
    from scipy.signal import correlate2d

    from w2s_export.graph.winograd import input_matrix, kernel_matrix, output_matrix

    rng = np.random.default_rng(1)
    window, kernel = rng.random((6, 6)), rng.random((3, 3))
    product = (kernel_matrix() @ kernel.ravel()) * (input_matrix() @ window.ravel())
    tile = output_matrix() @ product
    expected = correlate2d(window, kernel, mode="valid")
    assert tile[:16].reshape(4, 4) == pytest.approx(expected, abs=1e-5)
    assert tile[16] == 0
