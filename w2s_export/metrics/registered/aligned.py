"""Scores after the restored image was moved onto its target by a part of a pixel.

Pairs are often misregistered by up to a pixel, which costs more than most differences of networks
do. The shift is found by phase correlation (Guizar-Sicairos et al. 2008, doi 10.1364/OL.33.000156),
to a twentieth of a pixel; a larger one than `FARTHEST` is no misregistration and is not undone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from w2s_export.metrics.registered.pixels import psnr
from w2s_export.metrics.registered.similarity import ssim
from w2s_export.metrics.registry import Compared, metric
from w2s_export.metrics.scores import compared

FARTHEST = 2.0
"""Target pixels; a frame of as many is left out of the scores, aligned or not."""
_STEPS = 20  # of a pixel


@metric("psnr_aligned_db", "PSNR aligned dB", higher_is_better=True)
def psnr_aligned(images: Compared) -> float:
    """PSNR after sub-pixel registration, without a frame of two pixels."""
    return psnr(aligned(images))


@metric("ssim_aligned", "SSIM aligned", higher_is_better=True, digits=4)
def ssim_aligned(images: Compared) -> float:
    """SSIM after sub-pixel registration, without a frame of two pixels."""
    return ssim(aligned(images))


def aligned(images: Compared) -> Compared:
    """The inner parts of both, the restored image shifted onto the target and fitted anew."""
    from skimage.transform import AffineTransform, warp

    restored = images.restored
    y, x = shift(images)
    if max(abs(y), abs(x)) <= FARTHEST:
        moved = AffineTransform(translation=(-x, -y))  # warp asks where an output pixel comes from
        restored = warp(restored, moved, order=3, mode="symmetric", preserve_range=True)
    inner = (slice(int(FARTHEST), -int(FARTHEST)),) * 2
    fitted = compared(restored[inner], images.target[inner], images.features)
    return Compared(fitted.restored, fitted.target, images.width, images.features)


def shift(images: Compared) -> Any:
    """(y, x), target pixels, by which the restored image must be moved to lie on its target."""
    from skimage.registration import phase_cross_correlation

    taper = np.hanning(images.target.shape[0])[:, None] * np.hanning(images.target.shape[1])
    target, restored = (
        taper * (image - image.mean()) for image in (images.target, images.restored)
    )
    found, _, _ = phase_cross_correlation(
        target, restored, upsample_factor=_STEPS, normalization=None
    )
    return found
