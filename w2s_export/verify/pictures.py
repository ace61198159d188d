"""Pictures of a verification, as PNG inside the page: the sample, and differences between formats.

What is too large for a page is reduced by whole factors: an image by averaging, a difference by
the largest in each block, so that a single wrong pixel still shows.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.package.cover import displayed

LARGEST = 768
"""Longest side of a picture, pixels: noise of that size is 0.6 MB a channel."""

SMALLEST_SHOWN = 1e-8
"""Differences below this part of the range count as none: a float32 of 1 has steps of 6e-8."""

# Anchors of matplotlib's viridis: equal steps look equal, to the colour-blind too.
_VIRIDIS = ("440154", "3b528b", "21918c", "5ec962", "fde725")
EQUAL, BEYOND = "000000", "ff3b30"
"""Colours of no difference, and of one beyond the tolerance."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that needs no file."""

    uri: str
    """`data:image/png;base64,…`."""
    width: int
    height: int
    reduced: int
    """Pixels of the image that became one of the picture, along each axis."""


def view(image: NDArray[Any]) -> Picture:
    """An image (C, H, W) between its own percentiles; one channel is grey."""
    from PIL import Image

    shown = displayed(image)
    if image.shape[0] == 1:
        shown = shown[..., 0]
    factor = _factor(image.shape)
    return _encode(Image.fromarray(np.ascontiguousarray(shown)).reduce(factor), factor)


def difference_map(expected: NDArray[Any], actual: NDArray[Any], limit: float) -> Picture:
    """Where two outputs (C, H, W) differ: the largest channel, part of the range, on a log scale.

    Colours go from `SMALLEST_SHOWN` to `limit` and are the same in every map.
    """
    from PIL import Image

    extent = float(expected.max()) - float(expected.min())
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.abs(np.subtract(actual, expected, dtype=np.float64)).max(axis=0)
        part = np.where(part == 0, 0.0, part / extent)  # equal is equal, also of a flat image
        levels = np.log(part / SMALLEST_SHOWN) / np.log(limit / SMALLEST_SHOWN)
        index = np.where(levels > 0, 1 + np.clip(levels, 0, 1) * 253, 0)
    index = np.where(part <= limit, index, 255).astype(np.uint8)
    factor = _factor(expected.shape)
    padding = [(0, -length % factor) for length in index.shape]
    padded = np.pad(index, padding)
    rows, columns = (length // factor for length in padded.shape)
    coarse = padded.reshape(rows, factor, columns, factor).max(axis=(1, 3))
    picture = Image.fromarray(np.ascontiguousarray(coarse))
    picture.putpalette(_palette().tobytes())
    return _encode(picture, factor)


def gradient() -> str:
    """The colours of a difference map as a CSS gradient."""
    return f"linear-gradient(to right, {', '.join(f'#{colour}' for colour in _VIRIDIS)})"


def _palette() -> NDArray[np.uint8]:
    """(256, 3): 0 is equal, 1 to 254 go through viridis, 255 is beyond the tolerance."""
    anchors = np.array([list(bytes.fromhex(colour)) for colour in _VIRIDIS], np.float64)
    place = np.linspace(0, len(anchors) - 1, 254)
    between = [np.interp(place, np.arange(len(anchors)), anchors[:, i]) for i in range(3)]
    ends = [np.array([list(bytes.fromhex(colour))]) for colour in (EQUAL, BEYOND)]
    colours = np.concatenate([ends[0], np.round(np.stack(between, axis=1)), ends[1]])
    return np.ascontiguousarray(colours.astype(np.uint8))


def _factor(shape: tuple[int, ...]) -> int:
    return max(1, -(-max(shape[1:]) // LARGEST))


def _encode(picture: Any, reduced: int) -> Picture:
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return Picture(
        uri=f"data:image/png;base64,{data}",
        width=picture.width,
        height=picture.height,
        reduced=reduced,
    )
