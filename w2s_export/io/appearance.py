"""What people see of an image besides its pixels: names, colours, display ranges, labels, text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""


@dataclass(frozen=True, slots=True)
class Channel:
    """How one channel is shown."""

    name: str = ""
    lut: bytes | None = None
    """256 reds, 256 greens, 256 blues."""
    window: tuple[float, float] | None = None
    """Stored values shown black and brightest."""

    @property
    def colour(self) -> Colour | None:
        """The brightest colour of its lookup table."""
        return None if self.lut is None else (self.lut[255], self.lut[511], self.lut[767])


@dataclass(frozen=True, slots=True)
class Appearance:
    """What people see of an image; empty where the file does not say."""

    channels: tuple[Channel, ...] = ()
    labels: tuple[str, ...] = ()
    """One per plane, channels fastest, then slices, then times."""
    text: str = ""
    """What the user, or the microscope, wrote about it: ImageJ's Info, OME's Description."""
    name: str = ""
    mode: str = ""
    """ImageJ's: composite, color or grayscale."""
    overlays: tuple[bytes, ...] = ()
    """What is drawn over it, and"""
    selection: bytes = b""
    """what is selected, as ImageJ stores its regions."""
    left: tuple[str, ...] = ()
    """What the file holds besides, and no output does."""

    def with_windows(self, windows: list[tuple[float, float] | None]) -> Appearance:
        """The same, with one display range per channel."""
        channels = self.channels or (Channel(),) * len(windows)
        pairs = zip(channels, windows, strict=True)
        return replace(self, channels=tuple(replace(c, window=w) for c, w in pairs))


def ramp(colour: Colour) -> bytes:
    """The lookup table from black to a colour, as ImageJ makes it."""
    steps = np.arange(256)
    return b"".join(np.rint(steps * (part / 255)).astype(np.uint8).tobytes() for part in colour)


def luts(channels: tuple[Channel, ...]) -> list[NDArray[Any]] | None:
    """(3, 256) of every channel, grey where none is stated; None where none has any."""
    if not any(channel.lut for channel in channels):
        return None
    grey = ramp((255, 255, 255))
    tables = [np.frombuffer(channel.lut or grey, np.uint8) for channel in channels]
    return [table.reshape(3, 256) for table in tables]
