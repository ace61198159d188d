"""Intensity normalisation, and the exact bioimage.io processing each kind corresponds to.

The clients normalise before the network runs, so training, packages and verification must use the
same formula to the last bit: `scale_range` and `scale_linear` as bioimageio.core computes them
(https://github.com/bioimage-io/core-bioimage-io-python).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import FixedRangeNormalisation, Normalisation, PercentileNormalisation
from w2s_export.errors import FlatImageError, NotFiniteImageError

EPS = 1e-6
"""Added to a percentile range. The specification lets a package choose, but bioimageio.core always
adds this much."""


def normalise(image: NDArray[Any], how: Normalisation | None) -> NDArray[np.float32]:
    """Normalise one image over all its pixels and channels.

    Args:
        image: any shape, detector counts, any real dtype.
        how: None leaves the values as they are.

    Returns:
        float32, the same shape.

    Raises:
        NotFiniteImageError: NaN or infinite pixels.
        FlatImageError: the percentile range is empty.
    """
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, reported below
        values = image.astype(np.float32)
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise NotFiniteImageError(
            f"the image has {count} NaN or infinite pixels; replace them first"
        )
    if how is None:
        return values
    if isinstance(how, FixedRangeNormalisation):
        gain, offset = gain_and_offset(values, how)
        linear: NDArray[np.float32] = values * np.float32(gain) + np.float32(offset)
        return linear
    return by_range(values, *_percentile_range(values, how))


def by_range(values: NDArray[np.float32], low: float, width: float) -> NDArray[np.float32]:
    """`(x − low) / width`, for a part of an image as for the whole."""
    # In float32, or as gain · x + offset, counts far from zero would lose their last digits: 7e-5
    # of the range for an image of 300 counts on an offset of 60000.
    return ((values.astype(np.float64) - low) / width).astype(np.float32)


def gain_and_offset(image: NDArray[Any], how: Normalisation) -> tuple[float, float]:
    """Factor and addend of the normalisation: `y = gain · x + offset`.

    Raises:
        FlatImageError: the percentile range is empty.
    """
    if isinstance(how, FixedRangeNormalisation):
        low, width = how.low, how.high - how.low
    else:
        low, width = _percentile_range(image, how)
    return 1.0 / width, 0.0 - low / width


def _percentile_range(image: NDArray[Any], how: PercentileNormalisation) -> tuple[float, float]:
    low, high = np.percentile(image.astype(np.float64), [how.low, how.high])
    return low_and_width(float(low), float(high), how)


def low_and_width(low: float, high: float, how: PercentileNormalisation) -> tuple[float, float]:
    """What `by_range` takes, of an image whose percentiles are `low` and `high`.

    Raises:
        FlatImageError: the range is empty.
    """
    if not high - low > max(abs(low), abs(high)) * 1e-6:
        raise FlatImageError(
            f"the image is flat: its {how.low:g} % and {how.high:g} % percentiles are {low:g} and "
            f"{high:g}; give an image with structure in it"
        )
    return low, high - low + EPS


def processing_05(how: Normalisation) -> dict[str, Any]:
    """The rdf 0.5 preprocessing step that does the same."""
    if isinstance(how, PercentileNormalisation):
        return {
            "id": "scale_range",
            "kwargs": {
                "axes": ["channel", "y", "x"],
                "min_percentile": how.low,
                "max_percentile": how.high,
                "eps": EPS,
            },
        }
    gain, offset = gain_and_offset(np.zeros(0), how)
    return {"id": "scale_linear", "kwargs": {"gain": gain, "offset": offset}}


def processing_04(how: Normalisation) -> dict[str, Any]:
    """The rdf 0.4 preprocessing step that does the same."""
    if isinstance(how, PercentileNormalisation):
        return {
            "name": "scale_range",
            "kwargs": {
                "mode": "per_sample",
                "axes": "cyx",
                "min_percentile": how.low,
                "max_percentile": how.high,
                "eps": EPS,
            },
        }
    gain, offset = gain_and_offset(np.zeros(0), how)
    return {"name": "scale_linear", "kwargs": {"gain": gain, "offset": offset}}
