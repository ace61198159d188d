"""Reads a TIFF row by row, so that an image larger than memory can be restored.

Rows of a plain stack are read from their place in the file; of compressed or tiled planes only the
strips or tiles that hold the rows are decoded. The rows decoded last are kept, because the tiles
side by side share them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import ImageError
from w2s_export.io.source import Layout, decoding_errors
from w2s_export.io.tiff_checks import missing_plane

Page = Any
"""A page or frame of tifffile."""


@dataclass(frozen=True, slots=True)
class Contiguous:
    """Planes one after the other from a place in a file, whatever its pages say."""

    page: Page
    """The first."""
    offset: int


class TiffSource:
    """Planes of one size and type, each (H, W) or (H, W, 1)."""

    def __init__(
        self,
        planes: Contiguous | Sequence[Page],
        index: NDArray[np.intp],
        dtype: np.dtype[Any],
        size: tuple[int, int],
        **calibration: Any,
    ) -> None:
        """Args: planes by number; the number at every (t, z, c), or -1; type; (height, width)."""
        self._planes, self._index, self._dtype = planes, index, dtype
        times, slices, channels = index.shape
        block = 1 if isinstance(planes, Contiguous) else max(_rows_of(page) for page in planes)
        self.layout = Layout(
            (times, slices, channels), 1, *size, dtype.newbyteorder("="), (block, size[1]),
            **calibration,
        )  # fmt: skip
        self._kept: tuple[int, int, int, NDArray[Any]] | None = None

    def read(self, t: int, z: int, c: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Part of a plane as stored: (1, h, w)."""
        plane, start, stop = int(self._index[t, z, c]), rows.start, rows.stop
        if plane < 0:
            place = int(np.ravel_multi_index((t, z, c), self._index.shape))
            raise missing_plane(place, self._index.size)
        if self._kept is None or self._kept[:3] != (plane, start, stop):
            self._kept = None  # freed before the next is made
            with decoding_errors():
                self._kept = (plane, start, stop, self._rows(plane, start, stop))
        return self._kept[3][np.newaxis, :, columns]

    def _rows(self, plane: int, start: int, stop: int) -> NDArray[Any]:
        height, width = self.layout.height, self.layout.width
        if isinstance(self._planes, Contiguous):
            page = self._planes.page
            offset = self._planes.offset + plane * height * width * self._dtype.itemsize
        else:
            page = self._planes[plane]
            if not _plain(page):
                with _open(page.parent.filehandle):
                    rows = _decoded_rows(page, start, stop)
                return rows.astype(self.layout.dtype, copy=False)
            offset = page.dataoffsets[0]
        stored = np.dtype(page.keyframe.parent.byteorder + self._dtype.char)
        row = width * stored.itemsize
        with _open(page.parent.filehandle) as handle:
            handle.seek(offset + start * row)
            data = handle.read((stop - start) * row)
        read: NDArray[Any] = np.frombuffer(data, stored).reshape(stop - start, width)
        return read.astype(self.layout.dtype)


def _plain(page: Page) -> bool:
    """Whether its rows lie one after the other, as numpy stores them."""
    layout = page.keyframe
    return bool(
        page.is_contiguous
        and layout.bitspersample == 8 * np.dtype(layout.dtype).itemsize
        and layout.fillorder == 1
    )


@contextmanager
def _open(handle: Any) -> Iterator[Any]:
    """Files of a set are closed between readings: there may be thousands."""
    closed = handle.closed
    if closed:
        handle.open()
    try:
        yield handle
    finally:
        if closed:
            handle.close()


def _rows_of(page: Page) -> int:
    """How many rows are decoded together: the height of a tile, or of a strip."""
    layout = page.keyframe  # pages after the first keep only their offsets
    if _plain(page):
        return 1
    tall = layout.tilelength if layout.is_tiled else min(layout.rowsperstrip, layout.imagelength)
    return int(tall)


def _decoded_rows(page: Page, start: int, stop: int) -> NDArray[Any]:
    """Rows of one plane, from the strips or tiles that hold them."""
    layout = page.keyframe
    height, width = layout.imagelength, layout.imagewidth
    if layout.shape not in ((height, width), (height, width, 1)):
        raise ImageError(
            f"a plane of it is {layout.shape}, not {(height, width)}; save it as plain"
        )
    segment = _rows_of(page)
    across = -(-width // layout.tilewidth) if layout.is_tiled else 1
    first, last = start // segment, -(-stop // segment)
    rows = np.empty((min(last * segment, height) - first * segment, width), layout.dtype)
    handle = layout.parent.filehandle if page.parent is layout.parent else page.parent.filehandle
    for index in range(first * across, last * across):
        handle.seek(page.dataoffsets[index])
        data = handle.read(page.databytecounts[index]) or None  # of nothing but zeros
        tables = {"jpegtables": page.jpegtables} if page.jpegtables is not None else {}
        decoded, place, size = layout.decode(data, index, **tables)
        y, x = place[-3] - first * segment, place[-2]
        target = rows[y : y + size[-3], x : x + size[-2]]
        h, w = target.shape
        target[...] = layout.nodata if decoded is None else decoded[0, :h, :w, 0]
    return rows[start - first * segment : stop - first * segment]
