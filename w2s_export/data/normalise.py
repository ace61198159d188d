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
from w2s_export.errors import FlatImageError, ImageError


def normalise(image: NDArray[Any], how: Normalisation | None) -> NDArray[np.float32]:
    """Normalise one image over all its pixels and channels.

    Args:
        image: any shape, detector counts, any real dtype.
        how: None leaves the values as they are.

    Returns:
        float32, the same shape.

    Raises:
        ImageError: NaN or infinite pixels.
        FlatImageError: the percentile range is empty.
    """
    values = image.astype(np.float32)
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise ImageError(f"the image has {count} NaN or infinite pixels; replace them first")
    if how is None:
        return values
    gain, offset = gain_and_offset(values, how)
    return values * np.float32(gain) + np.float32(offset)


def gain_and_offset(image: NDArray[Any], how: Normalisation) -> tuple[float, float]:
    """Factor and addend of the normalisation: `y = gain · x + offset`.

    Raises:
        FlatImageError: the percentile range is empty.
    """
    if isinstance(how, FixedRangeNormalisation):
        width = how.high - how.low
        return 1.0 / width, -how.low / width
    low, high = np.percentile(image, [how.low, how.high])
    if not high - low > max(abs(low), abs(high)) * 1e-6:
        raise FlatImageError(
            f"the image is flat: its {how.low:g} % and {how.high:g} % percentiles are {low:g} and "
            f"{high:g}; give an image with structure in it"
        )
    width = float(high - low) + how.eps
    return 1.0 / width, -float(low) / width


def processing_05(how: Normalisation, input_id: str) -> dict[str, Any]:
    """The rdf 0.5 preprocessing step that does the same."""
    if isinstance(how, PercentileNormalisation):
        return {
            "id": "scale_range",
            "kwargs": {
                "axes": ["channel", "y", "x"],
                "min_percentile": how.low,
                "max_percentile": how.high,
                "eps": how.eps,
                "reference_tensor": input_id,
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
                "eps": how.eps,
            },
        }
    gain, offset = gain_and_offset(np.zeros(0), how)
    return {"name": "scale_linear", "kwargs": {"gain": gain, "offset": offset, "axes": "yx"}}
