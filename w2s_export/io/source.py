"""An image file as planes that are read part by part, whatever its format.

A file may hold several images: series of an OME-TIFF, positions, fields of a plate, scenes of a
microscope's file. Each is a source of its own; thumbnails and reduced copies are none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import ImageError
from w2s_export.io.appearance import Appearance, Channel, ramp
from w2s_export.io.units import PixelSize


@dataclass(frozen=True, slots=True)
class Layout:
    """Shape, calibration and appearance of a source."""

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
    origin_um: tuple[float, float, float] | None = None
    """Where the centre of the first pixel lies (z, y, x), in a format that has such places."""
    appearance: Appearance = field(default=Appearance())

    @property
    def nbytes(self) -> int:
        """Decoded bytes of everything."""
        pixels = math.prod(self.planes) * self.samples * self.height * self.width
        return pixels * self.dtype.itemsize


class Source(Protocol):
    """One image, open for reading."""

    layout: Layout

    def read(self, t: int, z: int, c: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Part of a plane as stored: (samples, h, w)."""
        ...


@dataclass(frozen=True, slots=True)
class Series:
    """One image of a file, by its header."""

    name: str
    """As the file names it; may be empty."""
    open: Callable[[], Source]
    """Raises ImageError where it cannot be read."""
    home: str = ""
    """Name of the other file of a set that its first plane lies in."""


class ArraySource:
    """An image in memory: (times, slices, channels, samples, H, W)."""

    def __init__(self, pixels: NDArray[Any], **calibration: Any) -> None:
        self._pixels = pixels
        times, slices, channels, samples, height, width = pixels.shape
        self.layout = Layout(
            (times, slices, channels),
            samples,
            height,
            width,
            pixels.dtype,
            (height, width),
            **calibration,
        )

    def read(self, t: int, z: int, c: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Part of a plane as stored: (samples, h, w)."""
        part: NDArray[Any] = self._pixels[t, z, c, :, rows, columns]
        return part


class ColourPlanes:
    """A colour image whose colours are channels."""

    def __init__(self, source: Source) -> None:
        self._source, layout = source, source.layout
        times, slices, channels = layout.planes
        names = ("red", "green", "blue") if layout.samples == 3 else ("",) * layout.samples
        pure = [ramp((255, 0, 0)), ramp((0, 255, 0)), ramp((0, 0, 255))]
        shown = tuple(
            Channel(name, pure[number] if name else None) for number, name in enumerate(names)
        )
        self.layout = replace(
            layout,
            planes=(times, slices, channels * layout.samples),
            samples=1,
            appearance=replace(layout.appearance, channels=shown * channels, labels=()),
        )

    def read(self, t: int, z: int, c: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Part of one colour of a plane: (1, h, w)."""
        channel, colour = divmod(c, self._source.layout.samples)
        return self._source.read(t, z, channel, rows, columns)[colour : colour + 1]


class PlaneSource:
    """An image whose library gives planes, or parts of them; the last plane is kept."""

    def __init__(self, layout: Layout, plane: Callable[[int, int, int], NDArray[Any]]) -> None:
        """Args: the layout, and what gives (samples, H, W) at (t, z, c)."""
        self.layout, self._plane = layout, plane
        self._kept: tuple[tuple[int, int, int], NDArray[Any]] | None = None

    def read(self, t: int, z: int, c: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Part of a plane as stored: (samples, h, w)."""
        if self._kept is None or self._kept[0] != (t, z, c):
            self._kept = None
            with decoding_errors():
                self._kept = (t, z, c), self._plane(t, z, c)
        return self._kept[1][:, rows, columns]


def arrangement(shape: Sequence[int], axes: str) -> tuple[list[int], tuple[int, int, int]]:
    """Order of the axes before Y, X and S that makes them times, slices, channels; their lengths.

    An axis of any other kind is slices if there are none, else times; further ones are slower
    times. So a plain 4-D stack (QQYX) is times of slices, as ImageJ's own are.
    """
    kinds: dict[int, str] = {}
    for index in reversed([i for i, axis in enumerate(axes) if axis not in "YXS"]):
        kind = axes[index] if axes[index] in "TZC" and axes[index] not in kinds.values() else "?"
        if kind == "?":
            taken = {*axes} | {*kinds.values()}
            kind = "Z" if "Z" not in taken and shape[index] > 1 else "T"
        kinds[index] = kind
    order = sorted(kinds, key=lambda index: ("TZC".index(kinds[index]), index))
    lengths = [math.prod(shape[i] for i in kinds if kinds[i] == kind) for kind in "TZC"]
    return order, (lengths[0], lengths[1], lengths[2])


def arranged(pixels: NDArray[Any], axes: str) -> NDArray[Any]:
    """Any axes → (times, slices, channels, samples, H, W)."""
    order, planes = arrangement(pixels.shape, axes)
    inner = [axes.index(axis) for axis in "SYX" if axis in axes]
    sizes = [pixels.shape[index] for index in inner]
    turned: NDArray[Any] = pixels.transpose(*order, *inner)
    return turned.reshape(*planes, *([] if "S" in axes else [1]), *sizes)


def opaque(pixels: NDArray[Any]) -> NDArray[Any]:
    """Colours without their alpha, the last of the last axis.

    Raises:
        ImageError: some pixels are transparent.
    """
    full = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "ui" else 1
    if not (pixels[..., -1] == full).all():
        raise ImageError("has transparent pixels; flatten it, or save it without its alpha channel")
    return pixels[..., :-1]


def native(pixels: NDArray[Any]) -> NDArray[Any]:
    """In this machine's byte order."""
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))


def require_restorable(source: Source) -> Source:
    """The source, if its pixels can be restored.

    Raises:
        ImageError: boolean or complex pixels, or none at all.
    """
    layout = source.layout
    if layout.dtype.kind not in "uif":
        raise ImageError(
            f"its pixels are {layout.dtype}; only integers and real numbers can be restored, "
            "convert it to 16 or 32 bit"
        )
    if layout.nbytes == 0:
        shape = (*layout.planes, layout.height, layout.width)
        raise ImageError(f"holds no pixels, its shape is {shape}")
    return source


@contextmanager
def decoding_errors() -> Iterator[None]:
    """Decoders meet arbitrary bytes and raise whatever those lead to: the file is at fault."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ImageError(f"is damaged or of an unknown kind ({reason})") from None
