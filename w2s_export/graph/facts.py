"""What a network's graph tells by itself: scale, step, how far it sees, and what it costs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from fractions import Fraction
from math import lcm, prod

import onnx

from w2s_export.counting import counted
from w2s_export.errors import W2SExportError
from w2s_export.graph.reach import radius as radius_of
from w2s_export.graph.tensors import Tensor, length
from w2s_export.graph.tracing import GraphError
from w2s_export.graph.walk import HEIGHT, WIDTH, Step, walk
from w2s_export.graph.working_memory import working_memory

_log = logging.getLogger(__name__)
_SIDE = 256
_MOST_ELEMENTS = 1 << 20
"""Elements per pixel of one tensor; beyond, it grows faster than the image."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a graph tells without being run. Pixels are those of the input."""

    scale: int
    """Output pixels per input pixel, along each axis."""
    step: int
    """Heights and widths must be multiples of it, and tiles begin at multiples of it."""
    receptive_radius: int | None
    """How far beyond its own cell of `step` pixels an output pixel can see; None: everything, or
    the graph does something with the image that is not followed."""
    multiplications: float
    """Per pixel, of convolutions and matrix products. Where all pixels attend to each other it
    grows with the image: then this and the next are those of 256×256 pixels."""
    bytes_per_pixel: float
    """Working memory of ONNX Runtime per pixel, its memory pattern off."""
    operators: frozenset[str]
    """Kinds of operations in the graph."""


def read_facts(graph: onnx.ModelProto) -> Facts:
    """Read off what restoration and packaging must know.

    Args:
        graph: opset 17, one input (N, C, H, W) and one output (N, C', s·H, s·W).

    Raises:
        GraphError: another kind of graph: names what was found.
    """
    traced = walk(graph)
    output = traced.output
    if len(output.axes) != 4:
        raise GraphError(
            f"the output has {counted(len(output.axes), 'axis', 'axes')}, a restored image has four"
        )
    scales = [
        Fraction(size, whole) for size, whole in zip(output.shape[2:], (HEIGHT, WIDTH), strict=True)
    ]
    step = lcm(*(reach.step for reach in output.reach if reach is not None))
    for size, whole in zip(output.shape[2:], (HEIGHT, WIDTH), strict=True):
        scale = round(Fraction(size, whole))
        if scale < 1 or size != scale * whole or scale != round(scales[0]):
            raise GraphError(
                f"the output is {float(scales[0]):.6g} times as high and {float(scales[1]):.6g} "
                "times as wide as the input; a whole number, the same for both, is needed "
                f"(rows are {size - scale * whole:+d} pixels off a factor of {scale})"
            )
    radius, pixels = _radius(output, step), HEIGHT * WIDTH
    if any(t.elements > _MOST_ELEMENTS * pixels for item in traced.steps for t in item.outputs):
        side = -(-_SIDE // step) * step
        traced, pixels = walk(graph, side, side), side**2
    return Facts(
        scale=int(scales[0]),
        step=step,
        receptive_radius=radius,
        multiplications=float(Fraction(sum(map(_multiplications, traced.steps)), pixels)),
        bytes_per_pixel=working_memory(traced.steps, traced.output_name) / pixels,
        operators=frozenset(node.op_type for node in graph.graph.node),
    )


def _radius(output: Tensor, step: int) -> int | None:
    farthest = 0
    for image, reach in enumerate(output.reach):
        if reach is None:
            continue
        if [mark for _, mark in output.axes[2 + image]] != [image]:
            return None
        far = radius_of(reach, step)
        if far is None:
            return None
        farthest = max(farthest, far)
    return farthest


def _multiplications(step: Step) -> int:
    node, output = step.node, step.outputs[0]
    if node.kind == "Conv":
        kernel = node.input(1).shape
        taps = node.input(1).elements // kernel[0]
        if taps == 1 and node.attributes.get("group", 1) == kernel[0]:
            return 0  # a factor per channel: no more than any other product
        return output.elements * taps
    if node.kind == "ConvTranspose":
        kernel = node.input(1).shape
        return node.first.elements * (node.input(1).elements // kernel[0])
    if node.kind in ("MatMul", "Gemm"):
        between = node.first.axes[-2 if node.attributes.get("transA") else -1]
        return output.elements * length(between)
    return 0


def facts_of_any(graph: onnx.ModelProto, *, scale: int, step: int) -> Facts:
    """As `read_facts`, of a graph that may do something with the image that is not followed.

    Then the costs are guesses: every weight once for each pixel, and room for 64 features 80 times.

    Args:
        graph: as there.
        scale: output pixels per input pixel, found by running it.
        step: sizes are multiples of it, found so too.
    """
    try:
        return read_facts(graph)
    except W2SExportError as error:
        _log.info("how far it looks is measured, not read off its graph: %s", error)
        return Facts(
            scale=scale,
            step=step,
            receptive_radius=None,
            multiplications=float(sum(prod(tensor.dims) for tensor in graph.graph.initializer)),
            bytes_per_pixel=20_000.0,
            operators=frozenset(node.op_type for node in graph.graph.node),
        )
