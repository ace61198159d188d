"""Matrices of Winograd's minimal filtering F(4×4, 3×3).

Sixteen outputs of a 3×3 convolution take 36 multiplications instead of 144: a 6×6 window d gives a
tile of 4×4 outputs, Aᵀ[(G k Gᵀ) ⊙ (Bᵀ d B)]A. Written for flattened windows each of the three
transforms is one matrix product, with a Kronecker square. Source: Lavin & Gray,
https://arxiv.org/abs/1509.09308. Points 0, 1, −1, ½, −2, ∞: they round less than the usual
0, ±1, ±2, ∞ (Barabasz et al., https://arxiv.org/abs/1803.10986).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TILE = 4
"""Side of the outputs of one window."""
WINDOW = 6
"""Side of the inputs of one window: the tile and a pixel around it."""

_POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)  # and infinity


def input_matrix() -> NDArray[np.float32]:
    """Bᵀ ⊗ Bᵀ, (36, 36): a window's pixels to its frequencies."""
    one = np.zeros((WINDOW, WINDOW))
    for row, point in enumerate(_POINTS):
        one[row, :5] = np.poly([other for other in _POINTS if other != point])[::-1]
    one[5] = np.poly(_POINTS)[::-1]
    return np.kron(one, one).astype(np.float32)


def kernel_matrix() -> NDArray[np.float32]:
    """G ⊗ G, (36, 9): a kernel's taps to its frequencies."""
    one = np.zeros((WINDOW, 3))
    for row, point in enumerate(_POINTS):
        others = np.prod([point - other for other in _POINTS if other != point])
        one[row] = point ** np.arange(3) / others
    one[5, 2] = 1
    return np.kron(one, one).astype(np.float32)


def output_matrix() -> NDArray[np.float32]:
    """Aᵀ ⊗ Aᵀ and a row of zeros, (17, 36): frequencies to a tile's pixels, and one that is 0."""
    one = np.zeros((TILE, WINDOW))
    one[:, :5] = np.power.outer(_POINTS, np.arange(TILE)).T
    one[3, 5] = 1
    return np.vstack([np.kron(one, one), np.zeros((1, 36))]).astype(np.float32)


def phase_kernels(kernel: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Nearest-neighbour upsampling and the convolution behind it, as one convolution before it.

    Output pixel (factor·y + a, factor·x + b) sees only the 3×3 input pixels around (y, x): taps
    that fall on one of them add up.

    Args:
        kernel: (3, 3, in, out).
        factor: of the upsampling.

    Returns:
        (3, 3, in, factor² · out), the phases (a, b) slowest.
    """
    phases = np.zeros((factor, factor, *kernel.shape), np.float64)
    for a, b, y, x in np.ndindex(factor, factor, 3, 3):
        phases[a, b, (a + y - 1) // factor + 1, (b + x - 1) // factor + 1] += kernel[y, x]
    stacked = phases.reshape(factor**2, *kernel.shape).transpose(1, 2, 3, 0, 4)
    whole: NDArray[np.float32] = stacked.reshape(*kernel.shape[:3], -1).astype(np.float32)
    return whole
