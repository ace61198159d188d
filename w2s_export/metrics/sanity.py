"""Does a network do what a network that restores must do? Two questions that need no opinion.

A network with random weights can pass every check of formats: all of them give the same grey image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.metrics.scores import bicubic, score

FOLLOWS = 0.6
"""Correlation of an output with its bicubically enlarged input below which it does not follow it.
The models of this project have 0.75 at 20 photoelectrons and one frame, 0.89 to 0.97 otherwise; of
four networks with random weights three had less than 0.6."""


def correlation_with_input(low: NDArray[Any], restored: NDArray[Any]) -> float:
    """Correlation of the restored image with its input, enlarged bicubically to the same size.

    Args:
        low: the input, (C, H, W); gain and offset do not matter.
        restored: what a network made of it, (C', s·H, s·W). Of several channels the means count.

    Returns:
        −1 to 1; 0 where one of them is constant.
    """
    enlarged = bicubic(low.astype(np.float64).mean(axis=0), restored.shape[-1] // low.shape[-1])
    x, y = (image - image.mean() for image in (enlarged, restored.astype(np.float64).mean(axis=0)))
    power = float(np.sqrt(np.vdot(x, x) * np.vdot(y, y)))
    # What rounding leaves of a constant is no structure.
    flat = np.ptp(x) <= 1e-6 * np.abs(enlarged).max() or np.ptp(y) <= 1e-6 * np.abs(restored).max()
    return 0.0 if flat or power == 0 else float(np.vdot(x, y)) / power


def sanity_warnings(
    low: NDArray[Any], restored: NDArray[Any], target: NDArray[Any] | None = None
) -> list[str]:
    """What makes an output look wrong, a sentence each; none where nothing does.

    Args:
        low: the input, (C, H, W), as stored or normalised.
        restored: what a network made of it, (C', s·H, s·W).
        target: what it should be, as stored, where that is known.
    """
    found = []
    alike = correlation_with_input(low, restored)
    if alike < FOLLOWS:
        found.append(
            f"the output does not follow its input (correlation {alike:.2f}; a network that "
            f"restores has more than {FOLLOWS}): are the weights trained, and is the normalisation "
            "right?"
        )
    if target is not None and len(low) == len(target):
        scale = restored.shape[-1] // low.shape[-1]
        enlarged = np.stack([bicubic(channel, scale) for channel in low])
        own, other = (
            score(image, target, only=["psnr_db"])["psnr_db"] for image in (restored, enlarged)
        )
        if own <= other:
            found.append(
                f"the output is no nearer to its target than bicubic enlargement is ({own:.2f} and "
                f"{other:.2f} dB): bicubic does as much without a network"
            )
    return found
