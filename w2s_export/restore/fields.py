"""The images inside a source that the network restores one by one, and their normalisation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import Normalisation, PercentileNormalisation, ZeroMeanNormalisation
from w2s_export.counting import counted
from w2s_export.data.normalise import by_range, clipped, depends_on_image, low_and_width, normalise
from w2s_export.errors import FlatImageError, ImageError
from w2s_export.io.source import Source
from w2s_export.options import PercentilesOver
from w2s_export.restore.network import Model
from w2s_export.restore.percentiles import exact_percentiles, mean_and_deviation

Range = tuple[float, float]
"""Low percentile and width of the percentile range, detector counts."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """An image that is damaged or cannot be normalised: what stands in its place in the result."""

    reason: str
    fill: float
    """In detector counts: the value of a flat image, else NaN."""


InputRange = Range | Unusable | None
"""Of one image; None where no percentile is needed."""

_BLOCK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """One image: a plane of one channel, or of all channels together (`c` is None)."""

    t: int
    z: int
    c: int | None


class Field:
    """(C, H, W) of a source, in stored counts; sliced like an array, read as far as asked."""

    def __init__(self, source: Source, place: Place) -> None:
        layout = source.layout
        self._source, self._place = source, place
        self._channels = [place.c] if place.c is not None else [*range(layout.planes[2])]
        self.shape = (len(self._channels) * layout.samples, layout.height, layout.width)

    def __getitem__(self, part: tuple[slice, slice, slice]) -> NDArray[Any]:
        """All channels, some rows, some columns."""
        _, rows, columns = part
        read = [
            self._source.read(self._place.t, self._place.z, c, rows, columns)
            for c in self._channels
        ]
        return read[0] if len(read) == 1 else np.concatenate(read)

    def blocks(self) -> Iterator[NDArray[Any]]:
        """All pixels once, in parts of a few megabytes."""
        layout = self._source.layout
        rows, columns = layout.block
        row = max(1, columns * layout.dtype.itemsize * self.shape[0])
        rows = max(rows, _BLOCK_BYTES // row // rows * rows)
        for y in range(0, layout.height, rows):
            for x in range(0, layout.width, columns):
                yield self[:, _slice(y, rows, layout.height), _slice(x, columns, layout.width)]


class NormalisedField:
    """A field as the network wants it: float32, normalised by the whole image's percentiles."""

    def __init__(self, field: Field, how: Normalisation | None, limits: Range | None) -> None:
        self._field, self._how, self._range = field, how, limits
        self.shape = field.shape

    def __getitem__(self, part: tuple[slice, slice, slice]) -> NDArray[np.float32]:
        """All channels, some rows, some columns."""
        values = self._field[part]
        if self._range is None:
            return normalise(values, self._how)
        return clipped(by_range(values.astype(np.float32), *self._range), self._how)


def image_places(source: Source, model: Model) -> list[Place]:
    """The images of a source, in the order T, Z, C.

    Raises:
        ImageError: channels that the network does not take.
    """
    layout, wanted = source.layout, model.channels_in
    planes = [(t, z) for t in range(layout.planes[0]) for z in range(layout.planes[1])]
    if wanted == 1 and layout.samples == 1:
        return [Place(t, z, c) for t, z in planes for c in range(layout.planes[2])]
    if layout.samples * layout.planes[2] != wanted or wanted == 1:
        kind = (
            f"{layout.samples} colours"
            if layout.samples > 1
            else counted(layout.planes[2], "channel")
        )
        advice = (
            "restore each with --per-colour, or convert it to grey"
            if wanted == 1
            else "give an image with as many"
        )
        raise ImageError(f"has {kind}, the network takes {wanted}; {advice}")
    return [Place(t, z, None) for t, z in planes]


def percentile_ranges(
    source: Source,
    images: Sequence[Place],
    how: Normalisation | None,
    over: PercentilesOver,
) -> list[InputRange]:
    """The percentile range of each image, of all its pixels; None where no percentile is needed.

    Of several images, those that are damaged or cannot be normalised are left out, unless all are.

    Args:
        source: the images' source.
        images: from `places`.
        how: the network's normalisation.
        over: `plane`: each image by itself, as the packages' clients do. `stack`: all times and
            slices of a channel alike, so that their brightness stays comparable.

    Raises:
        FlatImageError: the one image, or every image, is flat.
        ImageError: damage, NaN or infinite pixels in the one image, or in all.
    """
    single = len(images) == 1
    groups: dict[Any, list[Place]] = {}
    bad: dict[Place, Unusable] = {}
    alike = over == "stack" or not depends_on_image(how)
    for place in images:
        if alike and (unusable := _unusable(source, place)):
            bad[place] = unusable
        else:
            groups.setdefault(place.c if over == "stack" else place, []).append(place)
    found: dict[Place, InputRange] = {**bad}
    for group in groups.values():
        if isinstance(how, PercentileNormalisation | ZeroMeanNormalisation):
            found.update(dict.fromkeys(group, _range_of(source, group, how)))
        else:
            found.update(dict.fromkeys(group, None))
    left_out = [counts for counts in found.values() if isinstance(counts, Unusable)]
    if len(left_out) == len(images):
        first = left_out[0]
        kind = ImageError if math.isnan(first.fill) else FlatImageError
        raise kind(first.reason.partition(": ")[2] if single else first.reason)
    return [found[place] for place in images]


def _unusable(source: Source, place: Place) -> Unusable | None:
    """Why an image among others cannot be used, by all its pixels."""
    try:
        count = sum(int((~np.isfinite(block)).sum()) for block in Field(source, place).blocks())
    except ImageError as error:  # damaged
        return Unusable(f"{_where([place])}: {error}", math.nan)
    if not count:
        return None
    return Unusable(f"{_where([place])}: the image has {count} NaN or infinite pixels", math.nan)


def _range_of(
    source: Source, group: list[Place], how: PercentileNormalisation | ZeroMeanNormalisation
) -> Range | Unusable:
    fields = [Field(source, place) for place in group]

    def blocks() -> Iterator[NDArray[Any]]:
        return (block for field in fields for block in field.blocks())

    try:
        if isinstance(how, ZeroMeanNormalisation):
            low, high = mean_and_deviation(blocks)
        else:
            low, high = exact_percentiles(blocks, (how.low, how.high))
    except ImageError as error:  # damaged, or not finite
        return Unusable(f"{_where(group)}: {error}", math.nan)
    try:
        return low_and_width(low, high, how)
    except FlatImageError as error:
        return Unusable(f"{_where(group)}: {error}", low)


def _where(group: list[Place]) -> str:
    first, more = group[0], " …" if len(group) > 1 else ""
    return f"plane t={first.t} z={first.z} c={first.c or 0}{more}"


def _slice(start: int, length: int, end: int) -> slice:
    return slice(start, min(start + length, end))
