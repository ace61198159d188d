"""An image file as planes that are read part by part, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import ImageError
from w2s_export.io.images import read_image
from w2s_export.io.pixel_size import PixelSize
from w2s_export.io.tiff import SIGNATURES


@dataclass(frozen=True, slots=True)
class Layout:
    """Shape and calibration of a source."""

    planes: tuple[int, int, int]
    """Times, slices and (fluorescence) channels."""
    samples: int
    """Colours of one pixel: 3 for RGB."""
    height: int
    width: int
    dtype: np.dtype[Any]
    block: tuple[int, int]
    """Rows and columns that are decoded together."""
    pixel_size_um: PixelSize | None = None
    z_step_um: float | None = None
    interval_s: float | None = None


class Source(Protocol):
    """One image, open for reading."""

    layout: Layout

    def read(self, t: int, z: int, c: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Part of a plane as stored: (samples, h, w)."""
        ...


class ArraySource:
    """An image in memory: (times, slices, channels, samples, H, W)."""

    def __init__(self, pixels: NDArray[Any], pixel_size_um: PixelSize | None) -> None:
        self._pixels = pixels
        times, slices, channels, samples, height, width = pixels.shape
        self.layout = Layout(
            (times, slices, channels),
            samples,
            height,
            width,
            pixels.dtype,
            (height, width),
            pixel_size_um,
        )

    def read(self, t: int, z: int, c: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Part of a plane as stored: (samples, h, w)."""
        part: NDArray[Any] = self._pixels[t, z, c, :, rows, columns]
        return part


@contextmanager
def open_source(path: Path, *, missing_chunks: bool = False) -> Iterator[Source]:
    """Open a TIFF, PNG, OME-Zarr or Zarr array.

    TIFF is read row by row, Zarr chunk by chunk; PNG and TIFF in colour are held in memory.

    Args:
        path: a file, or the folder of a Zarr.
        missing_chunks: take chunks that a Zarr lacks as its fill value.

    Raises:
        ImageError: anything that cannot be read; also from the block that uses the source.
        MissingExtraError: a Zarr, and no zarr installed.
    """
    try:
        if path.is_dir():
            from w2s_export.restore.zarr_source import ZarrSource

            yield ZarrSource(path, missing_chunks=missing_chunks)
            return
        from w2s_export.restore.tiff_source import opened_tiff

        if _is_tiff(path):
            with opened_tiff(path) as source:
                if source is not None:
                    yield source
                    return
        image = read_image(path)
        planes, samples, height, width = image.pixels.shape
        pixels = image.pixels.reshape(1, planes, 1, samples, height, width)
        yield ArraySource(pixels, image.pixel_size_um)
    except ImageError as error:
        raise error if str(path) in str(error) else type(error)(f"{path}: {error}") from None


def _is_tiff(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(4) in SIGNATURES
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from None
