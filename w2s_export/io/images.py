"""Reads TIFF, PNG and NPY images, writes TIFF as ImageJ does.

Whatever the file's layout, an image is (planes, channels, H, W) of its stored type: time points and
slices are planes; colours are channels.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import ImageError, OutputError
from w2s_export.io import npy, tiff
from w2s_export.io.pixel_size import PixelSize, unless_print

MAX_BYTES = 8 << 30
"""Decoded bytes an image may claim: 4 Gpx of 16 bit, already forty times what DeepImageJ can tile.
A few compressed kilobytes can claim any size, so the claim is checked before anything is read."""
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


def read_image(path: Path, most_bytes: int | None = None) -> Image:
    """Read a TIFF (plain, ImageJ, OME, BigTIFF, any compression), PNG or NPY file.

    Of a file with several images (pyramid levels, thumbnails, positions) the first is read. A PNG
    palette is applied; TIFF lookup tables, which in microscopy only tint the display, are not.
    Opaque alpha is dropped.

    Args:
        path: the file.
        most_bytes: decoded bytes it may have; by default what the machine holds.

    Raises:
        ImageError: missing, empty, truncated, of another kind, boolean or complex pixels, real
            transparency, or too large.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(len(_GIT_LFS))
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from None
    if not head:
        raise ImageError(f"{path}: is empty; copy or export it again")
    read: Callable[[Path, int], tiff.Decoded]
    if head[:4] in tiff.SIGNATURES:
        read = tiff.read
    elif head.startswith(_PNG_SIGNATURE):
        read = _read_png
    elif head.startswith(npy.SIGNATURE):
        read = npy.read
    elif head == _GIT_LFS:
        raise ImageError(f"{path}: only points to the image; fetch it with 'git lfs pull'")
    else:
        raise ImageError(f"{path}: is neither TIFF nor PNG; export it as TIFF from your microscope")
    try:
        decoded = read(path, _limit() if most_bytes is None else most_bytes)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
    except MemoryError:
        raise ImageError(f"{path}: does not fit in memory; crop or split it") from None
    # The decoders meet arbitrary bytes and raise whatever those lead to, from struct.error to
    # AttributeError; here each of them means the same: this file cannot be decoded.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ImageError(f"{path}: is damaged or of an unknown kind ({reason})") from None
    pixels, alpha = _arrange(decoded.pixels, decoded.axes), decoded.alpha
    if pixels.dtype.kind not in "uif":
        raise ImageError(
            f"{path}: its pixels are {pixels.dtype}; only integers and real numbers can be "
            "restored, convert it to 16 or 32 bit"
        )
    if 0 in pixels.shape:
        raise ImageError(f"{path}: holds no pixels, its shape is {pixels.shape}")
    if alpha:
        pixels = _drop_alpha(pixels, path)
    native = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    return Image(native, decoded.pixel_size_um, path.stem)


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
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
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
        beside.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
    except ValueError as error:
        raise ImageError(f"{path}: does not fit an ImageJ TIFF: {error}") from None
    finally:
        beside.unlink(missing_ok=True)


def _limit() -> int:
    """Bytes an image may take here: half the machine's memory, and `MAX_BYTES` at most."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        return MAX_BYTES
    return min(MAX_BYTES, memory // 2)


def _arrange(pixels: NDArray[Any], axes: str) -> NDArray[Any]:
    """Any axes → (planes, channels, H, W). C and S are channels; all but Y and X else, planes."""
    order = sorted(range(len(axes)), key=lambda i: "CSYX".find(axes[i]))
    colours = math.prod(pixels.shape[i] for i in order if axes[i] in "CS")
    height, width = (pixels.shape[i] for i in order[-2:])
    planes = pixels.size // max(1, colours * height * width)
    arranged: NDArray[Any] = pixels.transpose(order).reshape(planes, colours, height, width)
    return arranged


def _drop_alpha(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    opaque = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "ui" else 1
    if not (pixels[:, -1] == opaque).all():
        raise ImageError(
            f"{path}: has transparent pixels; flatten it, or save it without its alpha channel"
        )
    return pixels[:, :-1]


def _read_png(path: Path, limit: int) -> tiff.Decoded:
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
    return tiff.Decoded(pixels, "YXS", alpha, _png_pixel_size(data))


def _png_pixel_size(data: bytes) -> PixelSize | None:
    """The pHYs chunk's: pixels per metre."""
    place = data.find(b"pHYs", 0, data.find(b"IDAT"))
    if place < 0:
        return None
    x, y, unit = struct.unpack(">IIB", data[place + 4 : place + 13])
    return unless_print(1e6 / y, 1e6 / x) if unit == 1 and x and y else None


def _extremes(pixels: NDArray[Any]) -> tuple[float, float]:
    finite = pixels[np.isfinite(pixels)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def density(pixel_size_um: float | PixelSize) -> tuple[tuple[int, int], tuple[int, int]]:
    """Pixels per micron as exact fractions, (x, y): 0.0313 µm is stored as 10000/313."""
    y, x = pixel_size_um if isinstance(pixel_size_um, tuple) else (pixel_size_um, pixel_size_um)
    fractions = []
    for size in (x, y):
        size_um = Fraction(size).limit_denominator(10**7) if 0 < size < 1000 else Fraction(0)
        if size_um == 0:
            raise ImageError(f"a pixel size of {size} µm is impossible; give one in micrometres")
        fractions.append((size_um.denominator, size_um.numerator))
    return fractions[0], fractions[1]
