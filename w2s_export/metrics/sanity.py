"""Does a network do what a network that restores must do? Questions that need no opinion.

A network with random weights can pass every check of formats: all of them give the same grey image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.metrics.registry import Plane
from w2s_export.metrics.scores import bicubic, score

FOLLOWS = 0.6
"""Correlation of an output with its bicubically enlarged input below which it does not follow it.

Measured on fields of 96² (filaments, vesicles, mitochondria; 160 photoelectrons and nine frames,
or 20 and one), for the models of this project and for 40 networks of random weights on three fields
each, a third initialised as here, as PyTorch does, and by He's rule unscaled:

| | trained, well lit | trained, 20 photoelectrons | random |
|---|---|---|---|
| correlation | 0.89 to 0.97 | 0.69 to 0.81 | −0.97 to 0.94, 15 of 120 above 0.6 |
| details | 0.95 to 0.99 | 0.41 to 0.99 | −0.92 to 0.89 |
| contrast | 0.81 to 0.87 | 0.63 to 0.74 | −4.7 to 2.1; of the 15: below 0.19 or above 1.7 |
"""
SAME_DETAILS = 0.9
"""Agreement of details below which the contrast decides. A network of random weights may be a blur
that resembles its input, but its details are other ones, and it dims or brightens them."""
CONTRASTS = (0.3, 1.5)
"""Contrast that a network keeps; outside, and with other details, it does not follow its input. An
output in other units (0 to 255, say) passes by its details."""
_PERIODS = (0.12, 0.2)
"""Frequencies of the details, cycles per input pixel: periods of 5 to 8 pixels."""


def correlation_with_input(low: NDArray[Any], restored: NDArray[Any]) -> float:
    """Correlation of the restored image with its input, enlarged bicubically to the same size.

    Args:
        low: the input, (C, H, W); gain and offset do not matter.
        restored: what a network made of it, (C', s·H, s·W). Of several channels the means count.

    Returns:
        −1 to 1; 0 where one of them is constant.
    """
    x, y = _both(low, restored)
    power = float(np.sqrt(np.vdot(x, x) * np.vdot(y, y)))
    # What rounding leaves of a constant is no structure.
    largest = np.abs(low).max(), np.abs(restored).max()
    flat = any(np.ptp(z) <= 1e-6 * most for z, most in zip((x, y), largest, strict=True))
    return 0.0 if flat or power == 0 else float(np.vdot(x, y)) / power


def contrast(low: NDArray[Any], restored: NDArray[Any]) -> float:
    """How much brighter the restored image is where its input is one brighter: a fitted slope.

    Arguments as `correlation_with_input`, the input as the network was given it.
    """
    x, y = _both(low, restored)
    return float(np.vdot(x, y)) / max(float(np.vdot(x, x)), 1e-30)


def details(low: NDArray[Any], restored: NDArray[Any]) -> float:
    """Correlation of the details, of 5 to 8 input pixels, of restored image and enlarged input.

    Arguments as `correlation_with_input`.

    Returns:
        −1 to 1; 1 where an image is too small to have such details.
    """
    x, y = _both(low, restored)
    scale = restored.shape[-1] // low.shape[-1]
    window = np.outer(*(np.hanning(size) for size in x.shape))
    a, b = (np.fft.fft2(image * window) for image in (x, y))
    radial = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, 1 / scale) for n in x.shape), indexing="ij"))
    ring = (radial >= _PERIODS[0]) & (radial < _PERIODS[1])
    power = np.sqrt((np.abs(a[ring]) ** 2).sum() * (np.abs(b[ring]) ** 2).sum())
    return float((a[ring] * b[ring].conj()).real.sum() / power) if power > 0 else 1.0


def _both(low: NDArray[Any], restored: NDArray[Any]) -> tuple[Plane, Plane]:
    """The enlarged input and the restored image, (H, W), each without its mean."""
    enlarged = bicubic(low.astype(np.float64).mean(axis=0), restored.shape[-1] // low.shape[-1])
    made = restored.astype(np.float64).mean(axis=0)
    return enlarged - enlarged.mean(), made - made.mean()


def sanity_warnings(
    low: NDArray[Any], restored: NDArray[Any], target: NDArray[Any] | None = None
) -> list[str]:
    """What makes an output look wrong, a sentence each; none where nothing does.

    Args:
        low: the input, (C, H, W), as the network was given it.
        restored: what a network made of it, (C', s·H, s·W).
        target: what it should be, as stored, where that is known.
    """
    found = []
    alike, agreed, slope = (
        measure(low, restored) for measure in (correlation_with_input, details, contrast)
    )
    other = agreed < SAME_DETAILS and not CONTRASTS[0] <= slope <= CONTRASTS[1]
    if alike < FOLLOWS or other:
        found.append(
            f"the output does not follow its input (correlation {alike:.2f}, of details "
            f"{agreed:.2f}, contrast {slope:.2g}; a network that restores has more than {FOLLOWS}, "
            f"and {SAME_DETAILS} or a contrast near 1): are the weights trained, and is the "
            "normalisation right?"
        )
    if target is not None and len(low) == len(target):
        scale = restored.shape[-1] // low.shape[-1]
        enlarged = np.stack([bicubic(channel, scale) for channel in low])
        own, plain = (
            score(image, target, only=["psnr_db"])["psnr_db"] for image in (restored, enlarged)
        )
        if own <= plain:
            found.append(
                f"the output is no nearer to its target than bicubic enlargement is ({own:.2f} and "
                f"{plain:.2f} dB): bicubic does as much without a network"
            )
    return found
