"""Scores of a restored image against its target, by every registered metric; and bicubic.

Widefield and SIM intensities are related only up to gain and offset, so the restored image is
first fitted to the target. `metrics.registry` has the whole definition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.metrics.registry import Compared, Features, metrics

Scores = Mapping[str, float]
"""By the metric's key, e.g. `psnr_db`."""


def score(
    restored: NDArray[Any],
    target: NDArray[Any],
    *,
    features: Features | None = None,
    only: Sequence[str] | None = None,
) -> Scores:
    """Score a plane (H, W), or the mean over channels (C, H, W), against a target of its shape.

    Args:
        restored: any real dtype; gain and offset do not matter.
        target: as stored, any real dtype.
        features: adds the metrics that need a feature network.
        only: keys of the metrics wanted; all by default.
    """
    planes = zip(_planes(restored), _planes(target), strict=True)
    chosen = [
        one
        for one in metrics().values()
        if (features or not one.needs_features) and (only is None or one.key in only)
    ]
    images = [compared(x, y, features) for x, y in planes]
    return {one.key: float(np.mean([one.function(each) for each in images])) for one in chosen}


def compared(
    restored: NDArray[Any], target: NDArray[Any], features: Features | None = None
) -> Compared:
    """What metrics see of two planes (H, W): the first fitted to the second, and its range."""
    y = target.astype(np.float64)
    low, high = np.percentile(y, [0.1, 99.9])
    return Compared(fit_intensity(restored.astype(np.float64), y), y, float(high - low), features)


def _planes(image: NDArray[Any]) -> NDArray[Any]:
    return image if image.ndim == 3 else image[np.newaxis]


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
