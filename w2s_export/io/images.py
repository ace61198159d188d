"""Opens image files of every kind that is known, and writes TIFF as ImageJ does.

Whatever the file's layout, an image is times, slices and channels of planes of its stored type;
`read_image` gives (planes, channels, H, W): times and slices are planes; colours are channels.
"""

from __future__ import annotations

import logging
import shlex
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.counting import counted
from w2s_export.errors import ImageError, MissingExtraError
from w2s_export.io import memory, microscopes, npy, tiff, tiff_sets
from w2s_export.io.files import name_of, regular_size, written_beside
from w2s_export.io.source import (
    ArraySource,
    Series,
    Source,
    arranged,
    decoding_errors,
    native,
    opaque,
    require_restorable,
)
from w2s_export.io.units import PixelSize, micrometres, microscope_pixel_size
from w2s_export.io.zarr_source import is_zarr, zarr_images

logger = logging.getLogger(__name__)

_WRITABLE = ("uint8", "uint16", "float32")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GIT_LFS = b"version https://git-lfs"
_PNG_SAMPLES = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}


@dataclass(frozen=True, slots=True)
class Image:
    """One file.

    pixels: (planes, channels, H, W), native byte order.
    pixel_size_um: (y, x) in micrometres, None where the file does not say.
    name: file name without its suffix.
    """

    pixels: NDArray[Any]
    pixel_size_um: PixelSize | None
    name: str


@contextmanager
def opened(
    path: Path, *, missing_chunks: bool = False, most: int | None = None
) -> Iterator[list[Series]]:
    """The images of a TIFF, PNG, NPY, OME-Zarr, Zarr array or microscope's own file.

    TIFF is read row by row, Zarr chunk by chunk; PNG, NPY and TIFF in colour are held in memory.

    Args:
        path: a file, or the folder of a Zarr.
        missing_chunks: take chunks that a Zarr lacks as its fill value.
        most: decoded bytes an image may have; by default, of those held in memory, half of it.

    Raises:
        ImageError: anything that cannot be read; also from the block that reads.
        MissingExtraError: a Zarr or a microscope's file, and no library for it is installed.
    """
    try:
        if path.is_dir() and is_zarr(path):
            yield zarr_images(path, missing_chunks=missing_chunks)
            return
        head = _head(path)
        suffix = path.suffix.lower()
        if suffix in microscopes.SUFFIXES:
            with microscopes.opened(path) as found:
                yield found
            return
        if suffix in microscopes.UNREAD:
            what = microscopes.UNREAD[suffix]
            raise ImageError(
                f"is {what}, which is not read; save it as OME-TIFF in Fiji, or with Bio-Formats' "
                f"tools: bfconvert {shlex.quote(path.name)} {shlex.quote(path.stem)}.ome.tiff"
            )
        if head[:4] in tiff.SIGNATURES:
            with tiff.opened(path, most) as found:
                yield found
            return
        if head.startswith(_PNG_SIGNATURE):
            read: Callable[[Path, int], Source] = _read_png
        elif head.startswith(npy.SIGNATURE):
            read = npy.read
        elif problem := tiff_sets.header_of_a_set(path):
            raise problem
        else:
            raise ImageError("is neither TIFF nor PNG; export it as TIFF from your microscope")
        limit = memory.most_bytes() if most is None else most

        def whole() -> Source:
            with decoding_errors():
                return require_restorable(read(path, limit))

        yield [Series("", whole)]
    except (ImageError, MissingExtraError) as error:
        raise error if str(path) in str(error) else type(error)(f"{path}: {error}") from None
    except MemoryError:
        raise ImageError(f"{path}: does not fit in memory; crop or split it") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from None


@contextmanager
def open_source(
    path: Path, series: int = 0, *, missing_chunks: bool = False, most: int | None = None
) -> Iterator[Source]:
    """Open one image of a file, by its place among them. Arguments and errors as `opened`."""
    with opened(path, missing_chunks=missing_chunks, most=most) as found:
        if series >= len(found):
            raise ImageError(f"holds {counted(len(found), 'image')}, not {series + 1}")
        yield found[series].open()


def read_image(path: Path, most_bytes: int | None = None) -> Image:
    """Read the first image of a file, as `opened` finds it, into memory.

    Thumbnails and reduced copies are no images. A PNG palette is applied; TIFF lookup tables, which
    in microscopy only tint the display, are not. Opaque alpha is dropped.

    Args:
        path: the file.
        most_bytes: decoded bytes it may have; by default what the machine holds.

    Raises:
        ImageError: missing, empty, truncated, of another kind, boolean or complex pixels, real
            transparency, or too large.
    """
    limit = memory.most_bytes() if most_bytes is None else most_bytes
    if path.is_dir() and not is_zarr(path):
        raise ImageError(f"{path}: cannot be read: Is a directory")
    with opened(path, most=limit) as found:
        if len(found) > 1:
            logger.warning("%s: holds %d images; the first is read", path, len(found))
        source = found[0].open()
        layout = source.layout
        memory.require_within(limit, layout.nbytes, counted(prod(layout.planes), "plane"))
        times, slices, channels = layout.planes
        everything = slice(0, layout.height), slice(0, layout.width)
        pixels = np.empty(
            (times * slices, channels * layout.samples, layout.height, layout.width), layout.dtype
        )
        for t, z, c in np.ndindex(*layout.planes):
            colours = slice(c * layout.samples, (c + 1) * layout.samples)
            pixels[t * slices + z, colours] = source.read(t, z, c, *everything)
    return Image(pixels, layout.pixel_size_um, Path(name_of(path)).stem)


def _head(path: Path) -> bytes:
    """The first bytes of a file that has some.

    Raises:
        ImageError: missing, empty, or a stand-in for the real file.
    """
    regular_size(path, ImageError)
    try:
        with path.open("rb") as stream:
            head = stream.read(len(_GIT_LFS))
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from None
    if not head:
        raise ImageError("is empty; copy or export it again")
    if head == _GIT_LFS:
        raise ImageError("only points to the image; fetch it with 'git lfs pull'")
    return head


def write_imagej_tiff(
    path: Path,
    pixels: NDArray[Any],
    pixel_size_um: float | PixelSize | None,
    display_range: tuple[float, float] | None = None,
) -> None:
    """Write a TIFF that ImageJ opens calibrated. The same content gives the same bytes.

    Args:
        path: file to write, replaced at once or not at all.
        pixels: (H, W) or (C, H, W); uint8, uint16 or float32, kept as they are.
        pixel_size_um: side of a pixel, or (y, x), micrometres.
        display_range: intensities shown black and white; the extremes by default.

    Raises:
        ImageError: another shape or type, or an impossible pixel size.
        OutputError: the file cannot be written.
    """
    import tifffile

    if pixels.ndim not in (2, 3) or pixels.dtype.name not in _WRITABLE or pixels.size == 0:
        raise ImageError(
            f"an ImageJ TIFF holds (H, W) or (C, H, W) of {', '.join(_WRITABLE)}; got "
            f"{pixels.shape} of {pixels.dtype}"
        )
    channels = pixels.shape[0] if pixels.ndim == 3 else 1
    low, high = display_range or _extremes(pixels)
    metadata: dict[str, Any] = {"axes": "YX" if pixels.ndim == 2 else "CYX"}
    if channels > 1:
        metadata.update(mode="composite", Ranges=(low, high) * channels)
    metadata.update(min=low, max=high)
    resolution = None
    if pixel_size_um is not None:
        metadata["unit"] = "micron"
        resolution = density(pixel_size_um)
    try:
        with written_beside(path) as beside:
            tifffile.imwrite(
                beside,
                pixels,
                imagej=True,
                photometric="minisblack",
                resolution=resolution,
                resolutionunit=None if resolution is None else "NONE",
                software=False,
                metadata=metadata,
            )
    except ValueError as error:
        raise ImageError(f"{path}: does not fit an ImageJ TIFF: {error}") from None


def _read_png(path: Path, limit: int) -> ArraySource:
    import imagecodecs  # Pillow would cut 16-bit colours down to 8 bits

    data = path.read_bytes()
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    claimed = width * height * _PNG_SAMPLES.get(colour, 4) * max(1, depth // 8)
    if claimed > limit:
        raise ImageError(f"claims {width}×{height} pixels, more than fits in memory; crop it")
    pixels = imagecodecs.png_decode(data)
    pixels = pixels.reshape(height, width, -1)
    samples = pixels.shape[2]
    alpha = samples in (2, 4)
    if colour == 3 and (pixels[..., :1] == pixels[..., :3]).all():  # a grey palette
        pixels = pixels[..., [0, 3] if alpha else [0]]
    if alpha:
        pixels = opaque(pixels)
    return ArraySource(native(arranged(pixels, "YXS")), pixel_size_um=_png_pixel_size(data))


def _png_pixel_size(data: bytes) -> PixelSize | None:
    """The pHYs chunk's: pixels per metre."""
    place = data.find(b"pHYs", 0, data.find(b"IDAT"))
    if place < 0:
        return None
    x, y, unit = struct.unpack(">IIB", data[place + 4 : place + 13])
    if unit != 1 or not x or not y:
        return None
    return microscope_pixel_size(micrometres(Fraction(1, y), "m"), micrometres(Fraction(1, x), "m"))


def _extremes(pixels: NDArray[Any]) -> tuple[float, float]:
    finite = pixels[np.isfinite(pixels)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def density(pixel_size_um: float | PixelSize) -> tuple[tuple[int, int], tuple[int, int]]:
    """Pixels per micron as exact fractions, (x, y): 0.0313 µm is stored as 10000/313."""
    y, x = pixel_size_um if isinstance(pixel_size_um, tuple) else (pixel_size_um, pixel_size_um)
    fractions = []
    for size in (x, y):
        finest = min(10**7, int(4e9 / size)) if 0 < size < 1e9 else 0  # two numbers of 32 bit
        size_um = Fraction(size).limit_denominator(finest) if finest else Fraction(0)
        if size_um == 0:
            raise ImageError(f"a pixel size of {size} µm is impossible; give one in micrometres")
        fractions.append((size_um.denominator, size_um.numerator))
    return fractions[0], fractions[1]
