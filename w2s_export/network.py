"""The house's common language: a network as one ONNX graph, and what must be known to use it.

A source is a function to a `Network` (`sources`), a format a function of it (`formats`). Every
stage after reading takes it; none asks which family of architectures it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from w2s_export.config import Provenance

if TYPE_CHECKING:
    import onnx

    from w2s_export.config import Normalisation
    from w2s_export.graph.facts import Facts
    from w2s_export.runtime.protocol import Runtime
    from w2s_export.sources.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """An image-to-image network, whatever file it came from."""

    graph: onnx.ModelProto
    """Opset 17, IR 8, float32; (N, C, H, W) `input` to (N, C', scale·H, scale·W) `output`."""
    architecture: str
    """What it is, for people, e.g. `RRDBNet, 23 blocks of 64 features`."""
    channels_in: int
    channels_out: int
    scale: int
    """Output pixels per input pixel, along each axis."""
    facts: Facts
    """What the graph tells of itself: how far it looks, what it costs."""
    reference: Callable[[], Runtime] = field(repr=False)
    """Opens the witness: a runtime of the framework that the weights came from."""
    step: int = 1
    """Heights and widths are multiples of it, input pixels."""
    minimum: int = 1
    """Smallest height and width that it computes, input pixels."""
    fixed: tuple[int, int] | None = None
    """Height and width, where it computes images of that size alone."""
    normalisation: Normalisation | None = None
    """How its training images were normalised; None where its source does not record it."""
    postprocessing: tuple[str, ...] = ()
    """What was put behind it as a part of its graph, in words: scaling back, a clip."""
    provenance: Provenance = field(default_factory=Provenance)
    source_format: str = "onnx"
    """Format it was read from, e.g. `pytorch`."""
    chosen: str = ""
    """What was taken of a file that holds more than the network, and what was left aside."""
    assumed: tuple[str, ...] = ()
    """What its source does not show and was set to the usual value."""
    checkpoint: Checkpoint | None = field(default=None, repr=False)
    """Weights by name, for RRDBNet alone: to train on, and for the fast CPU graph."""


@dataclass(frozen=True, slots=True)
class HaloMeasurement:
    """The halo a package declares, with the measurement behind it.

    `minimum` is the smallest height and width that clients should accept: the specification asks
    for `minimum − 2·halo ≥ 1`, and it is the smallest such multiple of the network's step.
    """

    halo: int
    """Context on each side of a tile, input pixels; a multiple of the network's step."""
    minimum: int
    """Smallest accepted input height and width, input pixels."""
    tolerance: float
    """Largest seam allowed, part of the output's range."""
    seams: tuple[tuple[int, float], ...]
    """(halo in input pixels, largest seam as a part of the output's range), from halo 0 up."""
    visible: float | None = None
    """Largest seam that tiles of this halo show, where no halo keeps within `SEAM_TOLERANCE`."""


def seams_in_words(halo: int, visible: float) -> str:
    """What tiles of a network show that no halo makes exact."""
    return (
        f"tiles with {halo} pixels of context differ from the whole image by up to {visible:.1g} "
        "of the range, and more context changes little: the network looks at the whole image, or "
        "at where in it a pixel lies"
    )
