"""What restoration needs to know of a network: an ONNX file, and how to feed it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from w2s_export.config import GeneratorConfig, Normalisation

_FAST_MEMORY = 1.9
"""Working memory of the fast graph, relative to the direct one."""
_FAST_LEAST = 4 << 30
"""Bytes for the process below which the fast graph is not tried."""
_BLOCK = 16
"""ONNX Runtime pads channels to the width of a vector register: 8 or 16 floats."""


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of a network before anything of it is run."""

    name: str
    config: GeneratorConfig
    normalisation: Normalisation | None
    fingerprint: str
    """SHA-256 of the file the user gave: tells outputs of one network from those of another."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network ready to restore."""

    model: Model
    onnx: Path
    """Normalised float32 (N, C, H, W) in, (N, C', s·H, s·W) out."""
    halo: int
    """Context around a tile, input pixels."""
    minimum: int
    """Smallest height and width, input pixels."""
    memory_factor: float = 1.0
    """Working memory of the ONNX file, relative to the direct graph of `convert.onnx`."""
    fast: Callable[[], Path] | None = None
    """Gives the same network as the graph of `graph.cpu_fast`, where there may be one."""

    def by_cpu_fast(self, onnx: Path) -> Network:
        """The same network by the graph of `convert.cpu_fast`.

        Measured with 1.32.0 in processes of their own: 1.45 to 1.84 of `bytes_per_pixel` at 512²
        (default model 3966 bytes a pixel, 64 features 7808, ×4 22303, unshuffled 7724, ×1 2400).
        Smaller tiles are not faster: the gain over the direct graph is the same from 128² to 256².
        """
        return replace(self, onnx=onnx, memory_factor=_FAST_MEMORY)

    def for_other_engines(self, memory: int) -> Network:
        """The network with room for the engines that are tried besides ONNX Runtime.

        OpenVINO takes 1.08 to 1.15 of `bytes_per_pixel`, measured at 512² and 160². Where memory is
        short, larger tiles are worth more than the fast graph.
        """
        if self.fast is None or memory < _FAST_LEAST:
            return replace(self, fast=None, memory_factor=max(self.memory_factor, 1.2))
        return replace(self, memory_factor=_FAST_MEMORY)

    @property
    def scale(self) -> int:
        """Output pixels per input pixel, along each axis."""
        return self.model.config.scale

    @property
    def step(self) -> int:
        """Sizes the network reads are multiples of this."""
        return self.model.config.pixel_unshuffle

    @property
    def bytes_per_pixel(self) -> float:
        """Working memory per input pixel that ONNX Runtime takes, the memory pattern off.

        After upsampling four copies of the features live at once: the enlarged ones, those of
        `conv_hr`, and both in the blocked layout of the kernels. In the trunk, a dense block's
        input with all its growth, twice, and the three long skips. Measured with 1.32.0: default
        model 2146 bytes at 512² (this: 2330), 64 features 4329 (4660), ×4 8563 (9320), unshuffled
        2148 (2330), 4 features 540 (1165).
        """
        config = self.model.config
        features = -(-config.nf // _BLOCK) * _BLOCK
        growth = -(-config.gc // _BLOCK) * _BLOCK
        enlarged = 4 * features * config.scale**2
        trunk = (5 * features + 8 * growth) / config.pixel_unshuffle**2
        both_images = config.in_nc + 2 * config.out_nc * config.scale**2
        return 4 * 1.1 * (max(enlarged, trunk) + both_images) * self.memory_factor
