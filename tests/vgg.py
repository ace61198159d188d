"""Random weights in the shapes of VGG's first three blocks: features without a download."""

from __future__ import annotations

from pathlib import Path

import numpy as np

Layers = dict[str, tuple[np.ndarray, np.ndarray]]


def layers(block3: int) -> Layers:
    """Kernels (He's variance) and biases; `block3` is 3 for VGG16, 4 for VGG19."""
    rng = np.random.default_rng(5)
    result, inputs = {}, 3
    for block, (width, depth) in enumerate(((64, 2), (128, 2), (256, block3)), 1):
        for index in range(1, depth + 1):
            kernel = rng.standard_normal((3, 3, inputs, width), np.float32)
            bias = 0.1 * rng.standard_normal(width, np.float32)
            result[f"block{block}_conv{index}"] = (
                kernel * np.float32(np.sqrt(2 / (9 * inputs))),
                bias,
            )
            inputs = width
    return result


def write_npz(path: Path, of: Layers) -> Path:
    kernels = {f"{name}_kernel": kernel for name, (kernel, _) in of.items()}
    np.savez(path, **kernels, **{f"{name}_bias": bias for name, (_, bias) in of.items()})
    return path
