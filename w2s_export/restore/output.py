"""Where one restored image goes: claimed, written beside its place, moved there when complete."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import OutputError
from w2s_export.io.appearance import Appearance, Channel, luts, ramp
from w2s_export.io.files import hidden_beside, write_error
from w2s_export.io.images import density
from w2s_export.io.source import Layout
from w2s_export.io.units import PixelSize
from w2s_export.restore.record import Record
from w2s_export.restore.regions import drawn_in_words
from w2s_export.restore.scaling import Scaling

LARGEST_IMAGEJ = 4 * 10**9
"""Bytes of pixels beyond which a TIFF needs 64-bit offsets, which ImageJ's own format has not."""


@dataclass(frozen=True, slots=True)
class OutputLayout:
    """Shape, calibration and origin of a restored image."""

    times: int
    slices: int
    channels: int
    height: int
    width: int
    scaling: Scaling
    record: Record
    pixel_size_um: PixelSize | None = None
    z_step_um: float | None = None
    interval_s: float | None = None
    origin_um: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Where the centre of the first pixel lies (z, y, x); in OME-Zarr alone."""
    appearance: Appearance = field(default=Appearance())

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """(T, Z, C, H, W)."""
        return self.times, self.slices, self.channels, self.height, self.width

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.scaling.dtype).itemsize


@contextmanager
def claimed(target: Path) -> Iterator[Path]:
    """Claim an output for this process; gives the hidden path beside it to write to.

    The name is always the same, so that a run finds what a killed one left. Where the system has
    file locks, a second run on the same folder leaves this output alone.

    Raises:
        OutputError: the folder cannot be written, or another run is at work on this output.
    """
    lock = hidden_beside(target, ".lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _locked(lock)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES) and lock.exists():
            raise OutputError(f"{target}: another run is writing it") from None
        raise write_error(target, error) from None
    try:
        yield hidden_beside(target, ".part")
    finally:
        with suppress(OSError):  # on Windows, an open file stays
            lock.unlink()
        os.close(descriptor)


def _locked(lock: Path) -> int:
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            import fcntl
        except ImportError:  # Windows
            return descriptor
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it may have removed it since it was opened here.
            if lock.exists() and os.path.samestat(os.fstat(descriptor), lock.stat()):
                return descriptor
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.ENOTSUP, errno.ENOLCK):  # a file system without locks
                return os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
            raise
        os.close(descriptor)


def publish(part: Path, target: Path) -> None:
    """Move what is complete into place, replacing an older output."""
    if target.is_dir():
        old = hidden_beside(target, ".old")
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
        part.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        part.replace(target)


def discard(part: Path) -> None:
    """Remove what is incomplete."""
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        with suppress(OSError):
            part.unlink()


def require_space(target: Path, nbytes: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        OutputError: says how much is needed and how much there is.
    """
    free = shutil.disk_usage(target.parent).free
    if nbytes > free:
        raise OutputError(
            f"{target}: needs {nbytes / 1e6:.1f} MB, the disk has {free / 1e6:.1f} MB left; free "
            "some, choose another --output, or write 16 bit with --dtype uint16"
        )


class TiffOutput:
    """A plain TIFF written tile by tile: the header first, then each row of a tile in its place.

    Threads may write tiles at the same time.

    ImageJ's format where it fits, OME BigTIFF otherwise or on request.
    """

    def __init__(self, part: Path, layout: OutputLayout, *, ome: bool) -> None:
        import tifffile

        self._layout = layout
        self._dtype = np.dtype(layout.scaling.dtype).newbyteorder("<" if ome else ">")
        pixel = layout.pixel_size_um
        metadata = _ome(layout) if ome else _imagej(layout)
        place = tifffile.imwrite(
            part,
            shape=layout.shape,
            dtype=self._dtype,
            byteorder="<" if ome else ">",
            ome=ome,
            imagej=not ome,
            bigtiff=ome,
            photometric="minisblack",
            resolution=_resolution(pixel, ome) if pixel else None,
            resolutionunit=("CENTIMETER" if ome else "NONE") if pixel else None,
            software=False,
            metadata=metadata,
            extratags=() if ome else _colormap(layout),
            returnoffset=True,
        )
        self._start = place[0]
        self._stream = part.open("r+b", buffering=0)
        self._lock = threading.Lock()

    def write(self, t: int, z: int, c: int, y: int, x: int, block: NDArray[Any]) -> None:
        """Write part of consecutive channels: block (channels, h, w) at (y, x)."""
        _, slices, channels, height, width = self._layout.shape
        stored = np.ascontiguousarray(block, self._dtype)
        for channel, plane in enumerate(stored, c):
            first = ((t * slices + z) * channels + channel) * height + y
            lines = plane if plane.shape[1] < width else plane.reshape(1, -1)
            with self._lock:
                for row, pixels in enumerate(lines, first):
                    self._stream.seek(self._start + (row * width + x) * self._dtype.itemsize)
                    left = memoryview(pixels.tobytes())
                    while left:  # a full disk takes a part, then fails
                        left = left[self._stream.write(left) :]

    def synchronise(self) -> None:
        """Have everything on the disk before the file takes its place."""
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def unwritten(layout: Layout, form: str) -> list[str]:
    """What the input shows and this format has no place for."""
    look = layout.appearance
    placed = ["the image's place"] if any(layout.origin_um or ()) and form != "ome-zarr" else []
    if form == "tiff":
        return placed + (["the image's name"] if look.name else [])
    plain = [ramp(channel.colour) == channel.lut for channel in look.channels if channel.colour]
    left = drawn_in_words(look) + (["slice labels"] if look.labels else [])
    if form == "ome-tiff" and any(channel.window for channel in look.channels):
        left.append("display ranges")
    return [*placed, *left] + ([] if all(plain) else ["lookup tables but their brightest colour"])


def _colormap(layout: OutputLayout) -> list[Any]:
    """The lookup table of a single channel, where ImageJ keeps it: in TIFF's tag 320."""
    lut = layout.appearance.channels[0].lut if layout.appearance.channels else None
    if lut is None or layout.channels > 1:
        return []
    return [(320, 3, 768, tuple(value << 8 for value in lut), True)]


def _imagej(layout: OutputLayout) -> dict[str, Any]:
    look, scaling = layout.appearance, layout.scaling
    info = "\n".join(part for part in (look.text, layout.record.as_text()) if part)
    metadata: dict[str, Any] = {"axes": "TZCYX", "Info": info}
    if layout.pixel_size_um:
        metadata["unit"] = "micron"
    if layout.z_step_um:
        metadata["spacing"] = layout.z_step_um
    if layout.interval_s:
        metadata["finterval"] = layout.interval_s
    if scaling.step != 1:  # ImageJ's calibration function 0: a straight line
        metadata.update(cf=0, c0=scaling.offset, c1=scaling.step, vunit="normalised")
    windows = [channel.window or (0.0, 1.0) for channel in look.channels]
    if windows and any(channel.window for channel in look.channels):
        metadata.update(min=windows[0][0], max=windows[0][1])
        if layout.channels > 1:
            metadata["Ranges"] = tuple(limit for window in windows for limit in window)
    if layout.channels > 1:
        metadata["mode"] = look.mode or "composite"
    if layout.channels > 1 and (tables := luts(look.channels)) is not None:
        metadata["LUTs"] = tables
    if look.overlays:
        metadata["Overlays"] = list(look.overlays)
    if look.selection:
        metadata["ROI"] = look.selection
    names = [channel.name for channel in look.channels]
    if look.labels:
        metadata["Labels"] = list(look.labels)
    elif any(names):  # ImageJ has no names of channels; Bio-Formats labels the slices so, too
        metadata["Labels"] = names * (layout.times * layout.slices)
    return metadata


def _ome(layout: OutputLayout) -> dict[str, Any]:
    look = layout.appearance
    text = "\n".join(part for part in (look.text, layout.record.as_text()) if part)
    metadata: dict[str, Any] = {"axes": "TZCYX", "Description": text}
    if look.name:
        metadata["Name"] = look.name
    channels = [_ome_channel(channel) for channel in look.channels]
    if any(channels):
        metadata["Channel"] = channels
    if layout.pixel_size_um:
        y, x = layout.pixel_size_um
        metadata.update(
            PhysicalSizeY=y, PhysicalSizeYUnit="µm", PhysicalSizeX=x, PhysicalSizeXUnit="µm"
        )
    if layout.z_step_um:
        metadata.update(PhysicalSizeZ=layout.z_step_um, PhysicalSizeZUnit="µm")
    if layout.interval_s:
        metadata.update(TimeIncrement=layout.interval_s, TimeIncrementUnit="s")
    return metadata


def _ome_channel(channel: Channel) -> dict[str, Any]:
    stated: dict[str, Any] = {"Name": channel.name} if channel.name else {}
    if channel.colour:
        red, green, blue = channel.colour
        packed = red << 24 | green << 16 | blue << 8 | 255
        stated["Color"] = packed - (1 << 32) if packed >> 31 else packed
    return stated


def _resolution(pixel_size_um: PixelSize, ome: bool) -> Any:
    """(x, y): pixels per micron for ImageJ; per centimetre, as plain TIFF says it, for OME."""
    y, x = pixel_size_um
    return (1e4 / x, 1e4 / y) if ome else density(pixel_size_um)
