"""Pictures to look at while a network learns: input, restored and target, field below field."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from w2s_export.data.pairs import Pair
from w2s_export.metrics.scores import bicubic, fit_intensity

FIELDS = 3
SIDE = 256
"""Pixels of a target shown, at most."""

_GAP = 4


def draw_fields(pairs: Sequence[Pair], images: Sequence[NDArray[np.float32]]) -> bytes:
    """A grey PNG of the first fields, first channel, the middle `SIDE` pixels.

    Columns: the input enlarged bicubically, the restored image, the target. All three are fitted to
    the target's intensities and shown between its 0.1 and 99.9 percentiles.
    """
    from PIL import Image

    rows = []
    for pair, restored in list(zip(pairs, images, strict=True))[:FIELDS]:
        target = pair.high[..., 0].astype(np.float64)
        enlarged = bicubic(pair.low[..., 0], target.shape[0] // pair.low.shape[0])
        low, high = np.percentile(target, [0.1, 99.9])
        row = [
            _middle(np.clip((fit_intensity(image, target) - low) / (high - low), 0, 1))
            for image in (enlarged, restored[..., 0].astype(np.float64), target)
        ]
        rows.append(np.hstack([np.pad(part, _GAP, constant_values=1) for part in row]))
    widest = max(row.shape[1] for row in rows)
    sheet = np.vstack(
        [np.pad(row, ((0, 0), (0, widest - row.shape[1])), constant_values=1) for row in rows]
    )
    stream = io.BytesIO()
    Image.fromarray(np.rint(255 * sheet).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def _middle(image: NDArray[np.float64]) -> NDArray[np.float64]:
    top, left = (max(0, (size - SIDE) // 2) for size in image.shape)
    return image[top : top + SIDE, left : left + SIDE]
