"""Resolution of a restored image: up to which frequency it agrees with its target.

Fourier ring correlation (Saxton & Baumeister 1982, doi 10.1111/j.1365-2818.1982.tb00405.x; in
light microscopy Nieuwenhuizen et al. 2013, doi 10.1038/nmeth.2448). Gain and offset do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.metrics.registry import Compared, metric

AGREES = 0.5
"""Correlation with a reference below which detail no longer counts as resolved: what the mean of
two noisy images has with the noise-free one where they correlate by the usual 1/7 (Rosenthal &
Henderson 2003, doi 10.1016/j.jmb.2003.07.013: C = √(2 F / (1 + F)))."""

_SMOOTHED = 3  # rings averaged: the first rings have so few coefficients that chance rules them


@dataclass(frozen=True, slots=True)
class RingCorrelation:
    """frequency (R,): middles of the rings, cycles per pixel; correlation (R,): −1 to 1."""

    frequency: NDArray[np.float64]
    correlation: NDArray[np.float64]


def ring_correlation(a: NDArray[Any], b: NDArray[Any]) -> RingCorrelation:
    """Correlation of the spectra of two planes (H, W), ring by ring up to half a cycle per pixel.

    Ring k holds the frequencies nearest to k / min(H, W); frequency 0 is in none. Where one of
    the images has no power at all, the correlation is 0.

    Raises:
        ValueError: shapes differ, or a side is below 4 pixels.
    """
    if a.shape != b.shape or a.ndim != 2 or min(a.shape) < 4:
        raise ValueError(
            f"two planes of 4 by 4 pixels or more and one shape, got {a.shape}, {b.shape}"
        )
    height, width = a.shape
    shorter = min(a.shape)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    ring = np.rint(radius * shorter).astype(np.int64)
    count = shorter // 2 + 1
    twice = np.full(radius.shape, 2.0)  # rfft2 leaves out the mirrored half
    twice[:, 0] = 1
    if width % 2 == 0:
        twice[:, -1] = 1
    inside = ring < count
    f, g = (np.fft.rfft2(image.astype(np.float64))[inside] for image in (a, b))
    place, twice = ring[inside], twice[inside]

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(place, values * twice, count)[1:].astype(np.float64)

    cross = total((f * g.conj()).real)
    power = np.sqrt(total(np.abs(f) ** 2) * total(np.abs(g) ** 2))
    correlation = np.divide(cross, power, out=np.zeros_like(cross), where=power > 0)
    return RingCorrelation(np.arange(1, count) / shorter, correlation)


@metric("resolution_px", "detail px", higher_is_better=False)
def resolution(images: Compared) -> float:
    """Finest period that agrees with the target, target pixels (ring correlation of ½ or more)."""
    return resolution_px(images.restored, images.target)


def resolution_px(restored: NDArray[Any], target: NDArray[Any]) -> float:
    """Finest period at which a restored plane (H, W) still agrees with its target, target pixels.

    One over the frequency at which the ring correlation, tapered by a Hann window against the
    borders and averaged over three rings, first falls below ½: 2 where it never does (the pixels
    allow no more), min(H, W) where it does from the start.
    """
    taper = np.hanning(target.shape[0] + 2)[1:-1, None] * np.hanning(target.shape[1] + 2)[1:-1]
    curve = ring_correlation(*(_centred(image) * taper for image in (restored, target)))
    near = np.ones(_SMOOTHED)
    smooth = np.convolve(curve.correlation, near, "same") / np.convolve(
        np.ones_like(curve.correlation), near, "same"
    )
    below = np.flatnonzero(smooth < AGREES)
    if not below.size:
        return 2.0
    last = int(below[0]) - 1
    if last < 0:
        return float(1 / curve.frequency[0])
    fraction = (smooth[last] - AGREES) / (smooth[last] - smooth[last + 1])
    step = curve.frequency[last + 1] - curve.frequency[last]
    return float(1 / (curve.frequency[last] + fraction * step))


def _centred(image: NDArray[Any]) -> NDArray[np.float64]:
    values = image.astype(np.float64)
    centred: NDArray[np.float64] = values - values.mean()
    return centred
