"""What DeepImageJ 3.1 needs of memory: it restores the whole image as one tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from w2s_export.network import Network

LARGEST_TILE = 4096 * 4096 * 3
"""Pixels of a tile, all channels, above which JDLL 0.6.1 plans for ever (its
OPTIMAL_MAX_NUMBER_PIXELS, 50.3 million)."""
LARGEST_OUTPUT = 2**31 - 1
"""Bytes of an output above which it throws."""
MEMORIES_GB = (8, 16, 32)
"""Memory of usual computers."""
_BASE_GB, _SHARE = 0.08, 0.89
"""Measured with ONNX Runtime 1.12.1, which DeepImageJ 3.1 runs: the default network (2,241 bytes
per pixel by its graph) peaks at 0.60 GB for 512², 2.14 for 1024², 4.64 for 1536² and 8.47 for
2048²; 0.08 GB + 0.89 of the graph's bytes gives 0.60, 2.17, 4.79 and 8.45."""
_OTHERS_GB = 2.0
"""Left for the system, Fiji and its images."""


@dataclass(frozen=True, slots=True)
class WholeImageMemory:
    """Memory against the size of the image, in DeepImageJ 3.1."""

    gb_per_megapixel: float
    """Of the input image."""
    largest_megapixels: float
    """Input pixels above which it hangs or throws, however much memory there is."""

    def megapixels(self, memory_gb: float) -> float:
        """The largest input image on a computer of so much memory."""
        free = memory_gb - _OTHERS_GB - _BASE_GB
        return min(self.largest_megapixels, free / self.gb_per_megapixel)

    def largest_image(self, memory_gb: float) -> str:
        """The same in words, for people."""
        return f"{max(0.0, self.megapixels(memory_gb)):.2g} megapixels"

    def gb(self, pixels: float) -> float:
        """What an input image of so many pixels needs."""
        return _BASE_GB + self.gb_per_megapixel * pixels / 1e6


def whole_image_memory(network: Network) -> WholeImageMemory:
    """What this network needs there, by its graph and the measured rule."""
    output_bytes = 4 * network.channels_out * network.scale**2
    pixels = min(LARGEST_TILE / network.channels_in, LARGEST_OUTPUT / output_bytes)
    return WholeImageMemory(_SHARE * network.facts.bytes_per_pixel / 1e3, pixels / 1e6)


@dataclass(frozen=True, slots=True)
class ClientDifference:
    """How far DeepImageJ 3.1's result on the sample is from `sample_output.tif`."""

    border: int
    """Width of what counts as the border, output pixels."""
    inside: float
    """Largest difference away from the border, part of the output's range."""
    at_border: float
    """Largest difference at it."""
