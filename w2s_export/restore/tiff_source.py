"""Reads a TIFF row by row, so that an image larger than memory can be restored.

Rows of a plain stack are read from their place in the file; of compressed or tiled planes only the
strips or tiles that hold the rows are decoded. The rows decoded last are kept, because the tiles
side by side share them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import ImageError
from w2s_export.io import tiff
from w2s_export.io.pixel_size import from_imagej, micrometres
from w2s_export.restore.source import Layout

if TYPE_CHECKING:
    import tifffile

_SECONDS = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0}


@contextmanager
def opened_tiff(path: Path) -> Iterator[TiffSource | None]:
    """The file's first image; None if it has to be read as a whole (colours, unusual axes).

    Raises:
        ImageError: truncated, damaged, or of pixels that cannot be restored.
    """
    with ExitStack() as stack:
        with _decoding():
            tif, series = stack.enter_context(tiff.opened(path))
            tiff.check_complete(tif, series)
        axes = series.axes
        if "S" in axes or not axes.endswith("YX"):
            yield None
            return
        if series.dtype.kind not in "uif":
            raise ImageError(
                f"its pixels are {series.dtype}; only integers and real numbers can be restored, "
                "convert it to 16 or 32 bit"
            )
        if 0 in series.shape:
            raise ImageError(f"holds no pixels, its shape is {series.shape}")
        with _decoding():
            source = TiffSource(tif, series)
        yield source


@contextmanager
def _decoding() -> Iterator[None]:
    """Decoders meet arbitrary bytes and raise whatever those lead to: the file is at fault."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ImageError(f"is damaged or of an unknown kind ({reason})") from None


class TiffSource:
    """A TIFF series whose last axes are Y and X."""

    def __init__(self, tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
        self._series, self._file = series, tif.filehandle
        shape, names = _times_slices_channels(series)
        self._strides = [math.prod(series.shape[i + 1 : -2]) for i in range(len(names))]
        self._names = names
        height, width = series.shape[-2:]
        self.layout = Layout(
            (shape.get("T", 1), shape.get("Z", 1), shape.get("C", 1)),
            1,
            height,
            width,
            series.dtype.newbyteorder("="),
            (_segment_rows(series), width),
            tiff.stated_pixel_size(tif),
            *_steps(tif),
        )
        self._kept: tuple[int, int, int, NDArray[Any]] | None = None

    def read(self, t: int, z: int, c: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Part of a plane as stored: (1, h, w)."""
        at = {"T": t, "Z": z, "C": c}
        plane = sum(
            at.get(n, 0) * stride for n, stride in zip(self._names, self._strides, strict=True)
        )
        start, stop = rows.start, rows.stop
        if self._kept is None or self._kept[:3] != (plane, start, stop):
            self._kept = None  # freed before the next is made
            with _decoding():
                self._kept = (plane, start, stop, self._rows(plane, start, stop))
        return self._kept[3][np.newaxis, :, columns]

    def _rows(self, plane: int, start: int, stop: int) -> NDArray[Any]:
        series, width = self._series, self.layout.width
        if series.dataoffset is not None:
            stored = series.keyframe.parent.byteorder + series.dtype.char
            row = width * series.dtype.itemsize
            self._file.seek(series.dataoffset + (plane * self.layout.height + start) * row)
            data = self._file.read((stop - start) * row)
            rows = np.frombuffer(data, np.dtype(stored)).reshape(stop - start, width)
            return rows.astype(self.layout.dtype)
        return _decoded_rows(series[plane], start, stop).astype(self.layout.dtype, copy=False)


def _segment_rows(series: tifffile.TiffPageSeries) -> int:
    return 1 if series.dataoffset is not None else _rows_of_segment(series.keyframe)


def _rows_of_segment(page: Any) -> int:
    """Height of a tile, or of a strip."""
    return int(page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength))


def _decoded_rows(page: Any, start: int, stop: int) -> NDArray[Any]:
    """Rows of one plane, from the strips or tiles that hold them."""
    layout = page.keyframe  # pages after the first keep only their offsets
    height, width = layout.imagelength, layout.imagewidth
    if layout.shape != (height, width):
        raise ImageError(
            f"a plane of it is {layout.shape}, not {(height, width)}; save it as plain"
        )
    segment = _rows_of_segment(layout)
    across = -(-width // layout.tilewidth) if layout.is_tiled else 1
    first, last = start // segment, -(-stop // segment)
    rows = np.empty((min(last * segment, height) - first * segment, width), layout.dtype)
    handle = layout.parent.filehandle
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


def _times_slices_channels(series: Any) -> tuple[dict[str, int], str]:
    """Length of each of T, Z, C, and which of them every leading axis is ("-" for length one).

    An axis of any other kind is a stack of slices, as ImageJ opens it.
    """
    lengths: dict[str, int] = {}
    names = ""
    for axis, length in zip(series.axes[:-2], series.shape[:-2], strict=True):
        name = axis if axis in "TZC" else next((n for n in "ZT" if n not in series.axes), "-")
        name = "-" if length == 1 else name
        if name in lengths or (name == "-" and length > 1):
            raise ImageError(
                f"has axes {series.axes} of {series.shape}; split it into stacks of time points, "
                "slices and channels"
            )
        names += name
        if name != "-":
            lengths[name] = length
    return lengths, names


def _steps(tif: tifffile.TiffFile) -> tuple[float | None, float | None]:
    """Distance between slices (µm) and between time points (s), where stated."""
    if tif.is_imagej:
        stated = tif.imagej_metadata or {}
        z = from_imagej(str(stated.get("unit")), (_number(stated.get("spacing")),) * 2)
        return (z[0] if z else None), _number(stated.get("finterval")) or None
    xml = (tif.ome_metadata or "") if tif.is_ome else ""
    z_um = _attribute(xml, "PhysicalSizeZ")
    factor = micrometres(_attribute(xml, "PhysicalSizeZUnit") or "µm")
    seconds = _SECONDS.get(_attribute(xml, "TimeIncrementUnit") or "s")
    interval = _number(_attribute(xml, "TimeIncrement"))
    return (
        _number(z_um) * factor if z_um and factor else None,
        interval * seconds if interval and seconds else None,
    )


def _attribute(xml: str, name: str) -> str | None:
    found = re.search(rf'<(?:\w+:)?Pixels\b[^>]*\s{name}="([^"]*)"', xml)
    return found[1] if found else None


def _number(text: Any) -> float:
    try:
        number = float(text)
    except (TypeError, ValueError):
        return 0.0
    return number if math.isfinite(number) and number > 0 else 0.0
