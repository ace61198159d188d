"""Reads one image of a TIFF file through tifffile, after checking what the file claims."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import ImageError
from w2s_export.io.ome import pixel_size, planes_claimed
from w2s_export.io.pixel_size import PixelSize, from_imagej, from_tiff

if TYPE_CHECKING:
    import tifffile

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAX_PLANES = (
    1 << 20
)  # tifffile makes a list of them; a real file of a million planes is unheard of
_ALPHA = (1, 2)  # values of the ExtraSamples tag: associated and unassociated alpha
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296


@dataclass(frozen=True, slots=True)
class Decoded:
    """Pixels with one letter an axis (tifffile's codes); `alpha`: the last colour is alpha."""

    pixels: NDArray[Any]
    axes: str
    alpha: bool
    pixel_size_um: PixelSize | None


def read(path: Path, limit: int) -> Decoded:
    """Read the first image of the file.

    Args:
        path: a TIFF file.
        limit: bytes the decoded image may take.

    Raises:
        ImageError: truncated, circular, or larger than `limit`. Damage that only decoding finds
            comes as whatever tifffile raises.
    """
    with opened(path) as (tif, series):
        shape, axes = series.shape, series.axes
        size = int(np.prod(shape, dtype=object)) * series.dtype.itemsize
        if size > limit:
            raise ImageError(
                f"claims {'×'.join(map(str, shape))} {series.dtype} pixels, {size / 2**30:.3g} "
                f"GiB; at most {limit / 2**30:.3g} GiB fit here, crop or split it"
            )
        check_complete(tif, series)
        pixels = series.asarray().reshape(shape)
        alpha = axes.endswith("S") and bool({*tif.pages.first.extrasamples[-1:]} & {*_ALPHA})
        return Decoded(pixels, axes, alpha, stated_pixel_size(tif))


@contextmanager
def opened(path: Path) -> Iterator[tuple[tifffile.TiffFile, tifffile.TiffPageSeries]]:
    """Open the file and its first image, the claims of its headers checked.

    Raises:
        ImageError: truncated or circular, or headers that promise more than there is.
    """
    import tifffile

    pages = _count_pages(path)
    # Not _multifile: an OME header may name other files, which nobody asked to open.
    with tifffile.TiffFile(path, _multifile=False) as tif:
        _check_claims(tif, pages)
        yield tif, tif.series[0]


def _count_pages(path: Path) -> int:
    """Follow the chain of pages to its end.

    tifffile stops where the chain breaks and reads what it has, so that a stack cut short would
    pass for a shorter stack.
    """
    size, seen = path.stat().st_size, set[int]()
    with path.open("rb") as stream:
        head = stream.read(16)
        order = "<" if head[:2] == b"II" else ">"
        big = b"+" in head[2:4]
        count_format, entry, offset_format = ("Q", 20, "Q") if big else ("H", 12, "I")
        place = 8 if big else 4
        while True:
            stream.seek(place)
            (offset,) = struct.unpack(
                order + offset_format, stream.read(struct.calcsize(offset_format))
            )
            if offset == 0:
                return len(seen)
            if offset in seen:
                raise ImageError("its pages refer back to each other; export it again")
            seen.add(offset)
            stream.seek(offset)
            count = stream.read(struct.calcsize(count_format))
            if len(count) < struct.calcsize(count_format):
                raise _truncated(f"page {len(seen)} would start at byte {offset} of {size}")
            (entries,) = struct.unpack(order + count_format, count)
            place = offset + len(count) + entries * entry
            if place + struct.calcsize(offset_format) > size:
                raise _truncated(f"the header of page {len(seen)} ends beyond byte {size}")


def _check_claims(tif: tifffile.TiffFile, pages: int) -> None:
    """Refuse metadata that promise more than the file holds, before tifffile plans for it."""
    page = tif.pages.first
    if tif.is_ome:
        planes = planes_claimed(tif.ome_metadata or "")
        if planes > _MAX_PLANES:
            raise ImageError(f"its OME header claims {planes:.0f} planes, over {_MAX_PLANES}")
    if tif.is_imagej and page.is_contiguous:
        images = int((tif.imagej_metadata or {}).get("images", 1))
        end = page.dataoffsets[0] + images * page.nbytes
        if images > pages and end > tif.filehandle.size:
            raise _truncated(f"{images} images of {page.nbytes} bytes are claimed")


def check_complete(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
    """Every strip and tile of the series must lie within the file.

    Raises:
        ImageError: truncated, or with planes that are not in this file.
    """
    end = tif.filehandle.size
    if series.dataoffset is not None:
        if series.dataoffset + series.nbytes > end:
            raise _truncated(f"pixels need {series.dataoffset + series.nbytes} bytes, it has {end}")
        return
    for index, page in enumerate(series):
        if page is None:
            raise ImageError(
                f"plane {index + 1} of {len(series)} is not in this file; save the whole image "
                "as one TIFF"
            )
        segments = zip(page.dataoffsets, page.databytecounts, strict=False)
        if any(offset + count > end for offset, count in segments):
            raise _truncated(f"plane {index + 1} of {len(series)} ends beyond byte {end}")
        layout = page.keyframe  # pages after the first keep only their offsets
        if layout.compression != 1 and len(page.dataoffsets) < math.prod(layout.chunked):
            # tifffile would fill in the rest, one by one: minutes for a wild claim
            raise _truncated(
                f"plane {index + 1} needs {math.prod(layout.chunked)} strips or tiles, it has "
                f"{len(page.dataoffsets)}"
            )
        if not isinstance(layout.bitspersample, int):
            raise ImageError("its colours differ in bit depth; save it as 8, 16 or 32 bit")
        needed = layout.size * layout.bitspersample // 8
        if layout.compression == 1 and sum(page.databytecounts) < needed:
            raise _truncated(f"plane {index + 1} needs {needed} bytes")


def _truncated(detail: str) -> ImageError:
    return ImageError(f"is truncated: {detail}; copy or export it again")


def stated_pixel_size(tif: tifffile.TiffFile) -> PixelSize | None:
    """What the file says of its pixels' size: OME, ImageJ or plain resolution."""
    if tif.is_ome:
        stated = pixel_size(tif.ome_metadata or "")
        if stated:
            return stated
    tags = tif.pages.first.tags
    sides = (_side(tags.valueof(_Y_RESOLUTION)), _side(tags.valueof(_X_RESOLUTION)))
    unit = (tif.imagej_metadata or {}).get("unit") if tif.is_imagej else None
    if unit is not None:
        return from_imagej(str(unit), sides)
    return from_tiff(int(tags.valueof(_RESOLUTION_UNIT, 2)), sides)


def _side(pixels_per_unit: Any) -> float:
    """Units per pixel, 0 where the tag is missing or senseless."""
    if not isinstance(pixels_per_unit, tuple) or len(pixels_per_unit) != 2:
        return 0.0
    numerator, denominator = pixels_per_unit
    return float(denominator) / float(numerator) if numerator else 0.0
