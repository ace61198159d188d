"""Scores of a restored image against its target, after the intensity fit.

Widefield and SIM intensities are related only up to gain and offset, so the restored image is
first fitted to the target by least squares, `a·x + b`. The range of PSNR and SSIM is the target's
99.9 % minus its 0.1 % percentile, so that a single hot pixel does not flatter the score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.metrics.resolution import resolution_px


@dataclass(frozen=True, slots=True)
class Scores:
    """How near a restored image comes to its target.

    psnr_db: peak signal-to-noise ratio.
    ssim: structural similarity (Wang et al. 2004, Gaussian window of σ 1.5).
    nrmse: root mean squared error over the same range: 10^(−PSNR/20).
    resolution_px: finest period that agrees with the target, target pixels (`resolution_px`).
    """

    psnr_db: float
    ssim: float
    nrmse: float
    resolution_px: float


def score(restored: NDArray[Any], target: NDArray[Any]) -> Scores:
    """Score one plane (H, W) against its target (H, W), both any real dtype."""
    from skimage.metrics import structural_similarity

    y = target.astype(np.float64)
    x = fit_intensity(restored.astype(np.float64), y)
    low, high = np.percentile(y, [0.1, 99.9])
    width = float(high - low)
    error = float(np.mean((x - y) ** 2))
    similarity = structural_similarity(
        x, y, data_range=width, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    nrmse = float(np.sqrt(error)) / width
    psnr = -20 * float(np.log10(nrmse)) if nrmse else float("inf")
    return Scores(psnr, float(similarity), nrmse, resolution_px(restored, y))


def fit_intensity(x: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """`a·x + b` nearest to the target in the least-squares sense."""
    dx = x - x.mean()
    power = float(np.vdot(dx, dx))
    slope = 0.0 if power == 0 else float(np.vdot(dx, target - target.mean())) / power
    fitted: NDArray[np.float64] = slope * dx + target.mean()
    return fitted


def bicubic(image: NDArray[Any], scale: int) -> NDArray[np.float64]:
    """Bicubic (Catmull-Rom, as image viewers do) enlargement of a plane (H, W) by `scale`.

    Pixel areas are aligned: an output block of `scale`² covers one input pixel. Edges repeat.
    """
    x = image.astype(np.float64)
    enlarged: NDArray[np.float64] = _enlarge(_enlarge(x, scale).T, scale).T
    return enlarged


def _enlarge(x: NDArray[np.float64], scale: int) -> NDArray[np.float64]:
    length = x.shape[0]
    place = (np.arange(length * scale) + 0.5) / scale - 0.5
    start = np.floor(place).astype(int)
    t = place - start
    weights = (  # cubic convolution, Keys 1981, a = −½
        -0.5 * t**3 + t**2 - 0.5 * t,
        1.5 * t**3 - 2.5 * t**2 + 1,
        -1.5 * t**3 + 2 * t**2 + 0.5 * t,
        0.5 * t**3 - 0.5 * t**2,
    )
    result = np.zeros((length * scale, *x.shape[1:]))
    for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
        result += weight[:, None] * x[np.clip(start + offset, 0, length - 1)]
    return result
