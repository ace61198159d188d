"""Differences of pixels: PSNR and root mean squared error."""

from __future__ import annotations

import numpy as np

from w2s_export.metrics.registry import Compared, metric


@metric("psnr_db", "PSNR dB", higher_is_better=True)
def psnr(images: Compared) -> float:
    """Peak signal-to-noise ratio over the target's range; infinite for equal images."""
    error = nrmse(images)
    return -20 * float(np.log10(error)) if error else float("inf")


@metric("nrmse", "NRMSE", higher_is_better=False, digits=5)
def nrmse(images: Compared) -> float:
    """Root mean squared error over the target's range: 10^(−PSNR/20)."""
    return float(np.sqrt(np.mean((images.restored - images.target) ** 2))) / images.width
