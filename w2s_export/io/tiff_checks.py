"""What a TIFF file claims, against what it holds."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_export.errors import ImageError

if TYPE_CHECKING:
    import tifffile


def count_pages(path: Path) -> int:
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
                raise truncated_file(f"page {len(seen)} would start at byte {offset} of {size}")
            (entries,) = struct.unpack(order + count_format, count)
            place = offset + len(count) + entries * entry
            if place + struct.calcsize(offset_format) > size:
                raise truncated_file(f"the header of page {len(seen)} ends beyond byte {size}")


def check_claims(tif: tifffile.TiffFile, pages: int) -> None:
    """Refuse metadata that promise more than the file holds, before tifffile plans for it."""
    page = tif.pages.first
    if tif.is_imagej and page.is_contiguous:
        images = int((tif.imagej_metadata or {}).get("images", 1))
        end = page.dataoffsets[0] + images * page.nbytes
        if images > pages and end > tif.filehandle.size:
            raise truncated_file(f"{images} images of {page.nbytes} bytes are claimed")


def check_series(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
    """Every strip and tile of the series must lie within the file.

    Raises:
        ImageError: truncated, or with planes that are not in this file.
    """
    end = tif.filehandle.size
    if series.dataoffset is not None:
        if series.dataoffset + series.nbytes > end:
            raise truncated_file(
                f"pixels need {series.dataoffset + series.nbytes} bytes, it has {end}"
            )
        return
    check_pages(list(series))


def check_pages(pages: Sequence[Any]) -> None:
    """Every strip and tile of the pages must lie within its file.

    Raises:
        ImageError: truncated, or with planes that are not there.
    """
    for index, page in enumerate(pages):
        if page is None:
            raise missing_plane(index, len(pages))
        end = page.parent.filehandle.size
        segments = zip(page.dataoffsets, page.databytecounts, strict=False)
        if any(offset + count > end for offset, count in segments):
            raise truncated_file(f"plane {index + 1} of {len(pages)} ends beyond byte {end}")
        layout = page.keyframe  # pages after the first keep only their offsets
        if layout.compression != 1 and len(page.dataoffsets) < math.prod(layout.chunked):
            # tifffile would fill in the rest, one by one: minutes for a wild claim
            raise truncated_file(
                f"plane {index + 1} needs {math.prod(layout.chunked)} strips or tiles, it has "
                f"{len(page.dataoffsets)}"
            )
        if not isinstance(layout.bitspersample, int):
            raise ImageError("its colours differ in bit depth; save it as 8, 16 or 32 bit")
        needed = layout.size * layout.bitspersample // 8
        if layout.compression == 1 and sum(page.databytecounts) < needed:
            raise truncated_file(f"plane {index + 1} needs {needed} bytes")


def missing_plane(index: int, planes: int) -> ImageError:
    """What to say of a plane that a header states and no page holds."""
    return ImageError(
        f"plane {index + 1} of {planes} is not in this file; save the whole image as one TIFF"
    )


def truncated_file(detail: str) -> ImageError:
    """What to say of a file that ends too early."""
    return ImageError(f"is truncated: {detail}; copy or export it again")
