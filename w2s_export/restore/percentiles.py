"""Exact percentiles of an image that does not fit in memory.

Percentiles are order statistics, so they can be selected without sorting and without
approximation: count the upper 16 bits of every value, which tells in which of 65536 bins a rank
falls, then count the lower 16 bits of the values in that bin. Two readings of the image, and half
a megabyte of counts. Pixels of 8 and 16 bit are counted directly, in one reading. The result is
that of `numpy.percentile` on the whole image, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import NotFiniteImageError

_BINS = 1 << 16
_SIGN = np.uint32(1 << 31)

Blocks = Callable[[], Iterable[NDArray[Any]]]
"""Gives the image's pixels block by block, as often as it is called."""


def exact_percentiles(blocks: Blocks, percents: Sequence[float]) -> list[float]:
    """Percentiles of all pixels, as float32, interpolated linearly as numpy does by default.

    Args:
        blocks: the pixels, any real dtype, any shape; at least one pixel.
        percents: from 0 to 100.

    Raises:
        NotFiniteImageError: NaN or infinite pixels.
    """
    counts, exact = _coarse(blocks)
    total = int(counts.sum())
    places = [(total - 1) * (percent / 100) for percent in percents]
    ranks = {rank for place in places for rank in (math.floor(place), math.ceil(place))}
    cumulative = np.cumsum(counts)
    bins = {rank: int(np.searchsorted(cumulative, rank, side="right")) for rank in ranks}
    if exact is not None:
        values = {rank: float(exact + bins[rank]) for rank in ranks}
    else:
        before = np.concatenate([[0], cumulative])
        fine = {bin_: np.cumsum(count) for bin_, count in _fine(blocks, {*bins.values()}).items()}
        values = {
            rank: _value(bin_, int(np.searchsorted(fine[bin_], rank - before[bin_], side="right")))
            for rank, bin_ in bins.items()
        }
    return [
        _between(values[math.floor(place)], values[math.ceil(place)], place - math.floor(place))
        for place in places
    ]


def mean_and_deviation(blocks: Blocks) -> tuple[float, float]:
    """Mean and standard deviation of all pixels, in two readings.

    Args:
        blocks: as for `exact_percentiles`.

    Raises:
        NotFiniteImageError: NaN or infinite pixels.
    """
    count, total, unusable = 0, 0.0, 0
    for block in blocks():
        values = _float32(block)
        unusable += int((~np.isfinite(values)).sum())
        count += values.size
        total += float(values.sum(dtype=np.float64))
    if unusable:
        raise NotFiniteImageError(
            f"the image has {unusable} NaN or infinite pixels; replace them first"
        )
    mean = total / count
    squares = sum(float(((_float32(b) - np.float64(mean)) ** 2).sum()) for b in blocks())
    return mean, math.sqrt(squares / count)


def _coarse(blocks: Blocks) -> tuple[NDArray[np.int64], int | None]:
    """Count by the upper half of the key; or by value, from the second result up."""
    counts = np.zeros(_BINS, np.int64)
    unusable, lowest = 0, None
    for block in blocks():
        if block.dtype.kind in "ui" and block.dtype.itemsize <= 2:
            lowest = int(np.iinfo(block.dtype).min)
            counts += np.bincount(block.ravel().astype(np.int32) - lowest, minlength=_BINS)
        else:
            values = _float32(block)
            finite = np.isfinite(values)
            unusable += values.size - int(finite.sum())
            counts += np.bincount(_keys(values) >> 16, minlength=_BINS)
    if unusable:
        raise NotFiniteImageError(
            f"the image has {unusable} NaN or infinite pixels; replace them first"
        )
    return counts, lowest


def _fine(blocks: Blocks, bins: set[int]) -> dict[int, NDArray[np.int64]]:
    """Count by the lower half of the key, within each of the bins."""
    counts = {bin_: np.zeros(_BINS, np.int64) for bin_ in bins}
    for block in blocks():
        keys = _keys(_float32(block))
        upper = keys >> 16
        for bin_, count in counts.items():
            count += np.bincount(keys[upper == bin_] & (_BINS - 1), minlength=_BINS)
    return counts


def _float32(block: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, which is counted
        return np.ascontiguousarray(block, np.float32).ravel()


def _keys(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Unsigned integers in the order of the numbers: flip the sign, and negatives altogether."""
    bits = values.view(np.uint32)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _value(upper: int, lower: int) -> float:
    key = np.uint32(upper << 16 | lower)
    return float((key ^ _SIGN if key & _SIGN else ~key).view(np.float32))


def _between(low: float, high: float, part: float) -> float:
    """The interpolation of numpy, which is the same from either end."""
    step = high - low
    return high - step * (1 - part) if part >= 0.5 else low + step * part
