"""The sample image that travels in a package: read, checked, cut to a size worth shipping."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.counting import counted
from w2s_export.errors import ImageError
from w2s_export.io.images import read_image

if TYPE_CHECKING:
    from w2s_export.network import Network
    from w2s_export.simulation.fields import Structure

logger = logging.getLogger(__name__)

SMALLEST = 32
SIMULATED = "a simulated image of microtubules"
"""Name of the sample where none is given."""
_LARGEST = 256
# An export runs the network on as many pixels as fifteen samples have; this many multiplications a
# sample keep a run near a second on two cores: 64 × 64 pixels for the 23 blocks of the default.
_WORK = 7e10


@dataclass(frozen=True, slots=True)
class RawSample:
    """One plane as the camera gave it: `pixels` (C, H, W), stored dtype."""

    pixels: NDArray[Any]
    pixel_size_um: float | None
    name: str

    def cut(self, network: Network, least: int = 0) -> RawSample:
        """The busiest part of it, of a size worth shipping.

        Args:
            network: the larger it is, the smaller the part.
            least: height and width it should have at least, as far as the image has them.
        """
        if network.fixed is not None:
            return self._cut(*network.fixed)
        step = network.step
        side = int(np.sqrt(_WORK / network.facts.multiplications)) // 32 * 32
        side = max(SMALLEST, min(_LARGEST, side), -(-max(least, network.minimum) // 32) * 32)
        _, height, width = self.pixels.shape
        h, w = (min(length, side) // step * step for length in (height, width))
        return self._cut(h, w)

    def _cut(self, h: int, w: int) -> RawSample:
        """The busiest part of that height and width."""
        _, height, width = self.pixels.shape
        if height < h or width < w:
            raise ImageError(
                f"is {height}×{width} pixels; the network takes images of {h}×{w} alone"
            )
        corners = [
            (top, left)
            for top in {*range(0, height - h + 1, max(1, h // 2)), height - h}
            for left in {*range(0, width - w + 1, max(1, w // 2)), width - w}
        ]
        top, left = max(
            sorted(corners),
            key=lambda at: float(self.pixels[:, at[0] : at[0] + h, at[1] : at[1] + w].std()),
        )
        part = self.pixels[:, top : top + h, left : left + w]
        logger.debug("the sample is %d×%d pixels at (%d, %d)", h, w, top, left)
        return replace(self, pixels=np.ascontiguousarray(part))


def read_sample(
    path: Path,
    channels: int,
    *,
    plane: int | None = None,
    channel: int | None = None,
    repeat_channels: bool = False,
) -> RawSample:
    """Read one plane and check that it fits the network.

    Args:
        path: TIFF or PNG.
        channels: of the network's input.
        plane: which plane of a stack, counted from 0.
        channel: which channel, or colour, alone, counted from 0.
        repeat_channels: give a grey image to each channel of a colour network.

    Raises:
        ImageError: unreadable, channels other than the network's, several planes and none chosen,
            NaN or infinite pixels, constant, or smaller than 32 pixels.
    """
    image = read_image(path)
    planes, found, height, width = image.pixels.shape
    if channel is not None:
        if not 0 <= channel < found:
            raise ImageError(f"{path}: has channels 0…{found - 1}, got --channel {channel}")
        image = replace(image, pixels=image.pixels[:, channel : channel + 1])
        found = 1
    if found == 1 and repeat_channels:
        found = channels
    if found != channels:
        advice = (
            f"choose one with --channel 0…{found - 1}"
            if channels == 1
            else "give a --sample with as many, or use --repeat-channels with a grey one"
        )
        raise ImageError(
            f"{path}: has {counted(found, 'channel')}, the network takes {channels}; {advice}"
        )
    if plane is None and planes > 1:
        raise ImageError(
            f"{path}: holds {counted(planes, 'plane')}; choose one with --plane 0…{planes - 1}"
        )
    if plane is not None and not 0 <= plane < planes:
        raise ImageError(f"{path}: has planes 0…{planes - 1}, got --plane {plane}")
    if min(height, width) < SMALLEST:
        raise ImageError(
            f"{path}: is {height}×{width} pixels; a sample needs at least {SMALLEST}×{SMALLEST}"
        )
    pixels = np.broadcast_to(image.pixels[plane or 0], (channels, height, width))
    if not np.isfinite(pixels).all():
        raise ImageError(f"{path}: has NaN or infinite pixels; replace them first")
    if pixels.min() == pixels.max():
        raise ImageError(
            f"{path}: every pixel is {pixels.flat[0]}; give an image with structure in it"
        )
    size = image.pixel_size_um
    if size is not None and abs(size[0] - size[1]) > 1e-3 * size[0]:
        logger.warning("%s: pixels are not square (%g × %g µm)", path, *size)
    return RawSample(pixels, size[0] if size else None, image.name)


def simulated_sample(channels: int, least: int = 0) -> RawSample:
    """A simulated widefield image of as many channels, each with structures of its own.

    Args:
        channels: of the network's input.
        least: height and width at least.
    """
    from w2s_export.simulation.fields import SimulationConfig, simulate_pair

    side = min(1024, -(-max(_LARGEST, least) // 32) * 32)
    kinds: tuple[Structure, ...] = ("filaments", "vesicles", "mitochondria")
    planes = [
        simulate_pair(
            SimulationConfig(structure=kinds[number % 3], height=side, width=side), seed=number
        )[0]
        for number in range(min(channels, 4))
    ]
    pixels = np.stack([planes[number % len(planes)] for number in range(channels)])
    return RawSample(pixels, SimulationConfig().pixel_size_um, SIMULATED)
