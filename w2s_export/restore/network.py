"""What restoration needs to know of a network: an ONNX file, and how to feed it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from w2s_export.config import Normalisation
    from w2s_export.network import Network

_FAST_MEMORY = 1.9
"""Working memory of the fast graph, relative to the direct one."""
_FAST_LEAST = 4 << 30
"""Bytes for the process below which the fast graph is not tried."""


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of a network before anything of it is run."""

    name: str
    channels_in: int
    channels_out: int
    scale: int
    """Output pixels per input pixel, along each axis."""
    step: int
    """Sizes the network reads are multiples of this."""
    bytes_per_pixel: float
    """Working memory of ONNX Runtime per input pixel, the memory pattern off."""
    normalisation: Normalisation | None
    fingerprint: str
    """SHA-256 of the file the user gave: tells outputs of one network from those of another."""
    fixed: tuple[int, int] | None = None
    """Height and width of what the network reads, where it reads nothing else."""


def model_of(
    network: Network, name: str, normalisation: Normalisation | None, fingerprint: str
) -> Model:
    """What restoration needs of a network that has been read."""
    return Model(
        name=name,
        channels_in=network.channels_in,
        channels_out=network.channels_out,
        scale=network.scale,
        step=network.step,
        bytes_per_pixel=network.facts.bytes_per_pixel,
        normalisation=normalisation,
        fingerprint=fingerprint,
        fixed=network.fixed,
    )


@dataclass(frozen=True, slots=True)
class ReadyNetwork:
    """A network ready to restore."""

    model: Model
    onnx: Path
    """Normalised float32 (N, C, H, W) in, (N, C', s·H, s·W) out."""
    halo: int
    """Context around a tile, input pixels."""
    minimum: int
    """Smallest height and width, input pixels."""
    memory_factor: float = 1.0
    """Working memory of the ONNX file, relative to the direct graph of the network."""
    seams: float | None = None
    """Largest seam between tiles, part of the range, where no halo makes them exact."""
    foreign: bool = False
    """Whether its graph is of others, which a process of its own runs: no RRDBNet."""
    fast: Callable[[], Path] | None = None
    """Gives the same network as the graph of `graph.cpu_fast`, where there may be one."""

    def by_cpu_fast(self, onnx: Path) -> ReadyNetwork:
        """The same network by the graph of `graph.cpu_fast`.

        Measured with 1.32.0 in processes of their own: 1.45 to 1.84 of the direct graph's memory at
        512² (default model 3966 bytes a pixel, 64 features 7808, ×4 22303, unshuffled 7724, ×1
        2400). Smaller tiles are not faster: the gain over the direct graph is the same from 128² to
        256².
        """
        return replace(self, onnx=onnx, memory_factor=_FAST_MEMORY)

    def for_other_engines(self, memory: int) -> ReadyNetwork:
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
        return self.model.scale

    @property
    def step(self) -> int:
        """Sizes the network reads are multiples of this."""
        return self.model.step

    @property
    def fixed(self) -> tuple[int, int] | None:
        """Height and width of what the network reads, where it reads nothing else."""
        return self.model.fixed

    @property
    def bytes_per_pixel(self) -> float:
        """Working memory per input pixel that ONNX Runtime takes, the memory pattern off."""
        return self.model.bytes_per_pixel * self.memory_factor


class OpenableNetwork(Protocol):
    """A network of a package or of weights, read but not yet unpacked or written."""

    @property
    def model(self) -> Model:
        """Its description."""
        ...

    def open(self, folder: Path) -> ReadyNetwork:
        """Make it ready to run, its files in the folder."""
        ...
