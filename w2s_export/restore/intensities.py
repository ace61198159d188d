"""What becomes of an image's intensities and of its display: in counts again, or about 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import Normalisation
from w2s_export.data.normalise import fixed_range
from w2s_export.io.appearance import Appearance
from w2s_export.io.source import Layout
from w2s_export.restore.fields import InputRange, Place, Range, Unusable
from w2s_export.restore.regions import drawn_in_words
from w2s_export.restore.scaling import Scaling


def input_range(counts: InputRange, how: Normalisation | None) -> Range | None:
    """Detector counts that the network saw as 0, and how many more as 1; None: it saw counts."""
    return fixed_range(how) or (None if isinstance(counts, Unusable) else counts)


def in_counts(values: NDArray[np.float32], seen: Range | None) -> NDArray[np.float32]:
    """Map an answer of the network back through the input's own range."""
    if seen is None:
        return values
    low, width = seen
    counts: NDArray[np.float32] = (values.astype(np.float64) * width + low).astype(np.float32)
    return counts


def blank_pixels(shape: tuple[int, ...], bad: Unusable, *, keep: bool) -> NDArray[np.float32]:
    """What stands in place of an image that cannot be restored: black, or NaN where that was."""
    flat = bad.fill if keep else 0.0
    return np.full(shape, math.nan if math.isnan(bad.fill) else flat, np.float32)


def result_appearance(
    layout: Layout,
    channels: int,
    images: Sequence[Place],
    found: Sequence[InputRange],
    how: Normalisation | None,
    scaling: Scaling,
    *,
    keep: bool,
) -> Appearance:
    """How the result is shown: as the input, its display ranges mapped as its intensities are.

    Args:
        layout: of the input.
        channels: of the result.
        images: of the input, and
        found: the range of each.
        how: the network's normalisation.
        scaling: how the result is stored.
        keep: intensities are mapped back to the input's.
    """
    look = layout.appearance
    left = list(look.left)
    known = look.channels
    if len(known) != channels:
        if any(channel.name or channel.lut for channel in known):
            left.append("channel names and colours")
        known = ()
    labels = look.labels if channels == layout.planes[2] else ()
    if len(labels) < len(look.labels):
        left.append("slice labels")
    if channels != layout.planes[2]:  # drawn on planes that are numbered otherwise
        left += drawn_in_words(look)
        look = replace(look, overlays=(), selection=b"")
    windows: list[Range | None] = []
    for number in range(channels):
        mine = [
            input_range(counts, how)
            for place, counts in zip(images, found, strict=True)
            if place.c in (None, number) and not isinstance(counts, Unusable)
        ]
        stated = known[number].window if known else None
        window = _window(stated, mine[0] if mine else None, keep=keep)
        windows.append(window and _stored(window, scaling))
    look = replace(look, channels=known, labels=labels, left=tuple(left))
    return look.with_windows(windows) if any(windows) or known else look


def _window(stated: Range | None, seen: Range | None, *, keep: bool) -> Range | None:
    """Values shown black and brightest."""
    if seen is None:
        return stated
    low, width = seen
    if keep:
        return stated or (low, low + width)
    return ((stated[0] - low) / width, (stated[1] - low) / width) if stated else (0.0, 1.0)


def _stored(window: Range, scaling: Scaling) -> Range:
    low, high = ((value - scaling.offset) / scaling.step for value in window)
    return low, high
