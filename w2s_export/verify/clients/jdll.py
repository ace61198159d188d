"""What DeepImageJ 3.1 does with an image: plans tiles, mirrors, runs, and puts the pieces together.

A model of JDLL 0.6.1 (github.com/bioimage-io/JDLL, tag dl-modelrunner-0.6.1), faults included, to
say before anybody starts Fiji whether a package runs there, how large the output is and which
pixels it has. Follows `bioimageio.tiling`: TileCalculator (sizes of tiles), TileMaker (checks,
padding, mirrored reading) and TileGrid (places).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.counting import counted
from w2s_export.errors import PackageError
from w2s_export.rdf.reading import at
from w2s_export.rdf.whole_image import LARGEST_OUTPUT, LARGEST_TILE
from w2s_export.verify.clients.jdll_axes import (
    Failure,
    JdllAxis,
    JdllError,
    JdllModel,
    JdllTensor,
    check_fields,
    java_cast,
    java_int,
    read_model,
    throws,
)
from w2s_export.verify.clients.jdll_processing import apply_steps, read_steps

OUTPUT_TYPES = (
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "float32",
    "float64",
)
"""Types that JDLL can hold an output in."""
_BYTES = {"16": 2, "32": 4, "64": 8}
_EXCLUSIVE = (("b", "t"), ("z", "i", "r"))
"""Axes of which a tensor may have one."""


@dataclass(frozen=True, slots=True)
class AxisTiles:
    """How one axis is cut: tiles of `tile` pixels of which the middle `kept` count."""

    letter: str
    size: int
    """Pixels of the whole image."""
    tile: int
    before: int
    """Pixels of a tile in front of those that are kept."""
    after: int
    count: int
    """Tiles along the axis."""

    @property
    def kept(self) -> int:
        """Pixels of a tile that end up in the result."""
        return self.tile - self.before - self.after

    def start(self, index: int) -> int:
        """Where the kept pixels of a tile belong; the last tile is moved back into the image."""
        return min(self.kept * index, self.size - self.kept)


@dataclass(frozen=True, slots=True)
class JdllPlan:
    """The tiles of an image and of its result, axis by axis in the tensors' order."""

    input: tuple[AxisTiles, ...]
    outputs: tuple[tuple[AxisTiles, ...], ...]

    @property
    def output(self) -> tuple[AxisTiles, ...]:
        """Tiles of the first output."""
        return self.outputs[0]

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of the whole result."""
        return tuple(axis.size for axis in self.output)

    @property
    def output_tile_shape(self) -> tuple[int, ...]:
        """Of what the network should return for a tile."""
        return tuple(axis.tile for axis in self.output)

    @property
    def tiles(self) -> int:
        """How often the network runs."""
        return math.prod(axis.count for axis in self.input)


def plan(rdf: Mapping[str, Any], shape: Sequence[int]) -> JdllPlan:
    """Plan as JDLL does.

    Args:
        rdf: a description of one input, format 0.4 or 0.5.
        shape: of the image, in the order of the input's axes.

    Raises:
        JdllError: JDLL drops the model, throws or hangs.
        PackageError: several inputs, or another number of axes than the input has.
    """
    model = read_model(rdf)
    source = model.input
    for tensor in (source, *model.outputs):
        _check_letters(tensor)
    if len(shape) != len(source.axes):
        raise PackageError(f"an image of shape {tuple(shape)} has no axes {source.letters}")
    image = dict(zip(source.letters, shape, strict=True))
    if "t" in image:  # TileCalculator.getOptimalTileSize looks T up where it has written B
        raise throws("an axis of time is not found in the image")
    tile = {axis.letter: _tile(model, axis, image[axis.letter]) for axis in source.axes}
    if model.tiling and any(axis.step for axis in source.axes):
        _check_sizes(model, tile)
    _check_tile(source, image, tile)
    sizes = [_output_sizes(model, tensor, image, tile) for tensor in model.outputs]
    for tensor, (_, part) in zip(model.outputs, sizes, strict=True):
        for axis in tensor.axes:
            if part[axis.letter] - 2 * axis.halo <= 0:
                size = f"{part[axis.letter]} output pixels along {axis.letter}"
                raise throws(f"the halo of {axis.halo} leaves nothing of {size}")
    if "c" not in image:  # TileMaker.validateTileVsImageChannel
        raise throws("the input has no axis of channels")
    if image["c"] != tile["c"]:
        raise throws(
            f"the image has {counted(image['c'], 'channel')}, the network takes {tile['c']}"
        )
    return JdllPlan(
        input=tuple(_cut(model, axis, image, tile) for axis in source.axes),
        outputs=tuple(
            tuple(_cut(model, axis, whole, part) for axis in tensor.axes)
            for tensor, (whole, part) in zip(model.outputs, sizes, strict=True)
        ),
    )


def _check_letters(tensor: JdllTensor) -> None:
    """Tensor.build and convertToTensorDimOrder, which makes one text of all the axes."""
    if tensor.name is None:
        raise throws("a tensor has no id")
    letters = tensor.letters.lower()
    if set(letters) - set("birtzcyx") or len(letters) != len(tensor.axes):
        raise throws(f"'{tensor.letters}' are no axes to it")
    if len(set(letters)) < len(letters) or any(
        len(set(letters) & set(some)) > 1 for some in _EXCLUSIVE
    ):
        raise throws(f"the axes '{tensor.letters}' exclude each other")


def restore(
    rdf: Mapping[str, Any],
    image: NDArray[Any],
    runtime: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """The pixels that DeepImageJ 3.1 gives.

    Args:
        rdf: as for `plan`.
        image: in the order of the input's axes, detector counts.
        runtime: runs the network on a tile of the same order.

    Raises:
        JdllError: JDLL drops the model, throws or hangs; also where the network does not return
            what the description promises.
        PackageError: several inputs or outputs, or postprocessing, which this does not model.
    """
    tiles = plan(rdf, image.shape)
    if len(tiles.outputs) > 1 or at(rdf, "outputs", 0, "postprocessing"):
        raise PackageError("has several outputs or postprocessing, which is not modelled here")
    normalised = normalise_as_jdll(image, rdf)
    result = np.zeros(tiles.output_shape, np.float32)
    grid, grid_out = (tuple(axis.count for axis in side) for side in (tiles.input, tiles.output))
    for number in range(tiles.tiles):
        if number >= math.prod(grid_out):
            raise throws(
                f"the input has {counted(tiles.tiles, 'tile')}, the output {math.prod(grid_out)}"
            )
        tile = normalised
        for position, index in enumerate(np.unravel_index(number, grid)):
            tile = _mirrored(tile, position, tiles.input[position], int(index))
        piece = runtime(np.ascontiguousarray(tile, np.float32))
        if piece.shape != tiles.output_tile_shape:
            raise throws(f"the network gives {piece.shape}, planned is {tiles.output_tile_shape}")
        places = list(zip(tiles.output, np.unravel_index(number, grid_out), strict=True))
        target = tuple(slice(a.start(int(i)), a.start(int(i)) + a.kept) for a, i in places)
        kept = tuple(slice(axis.before, axis.before + axis.kept) for axis in tiles.output)
        result[target] = piece[kept]
    return result


def normalise_as_jdll(image: NDArray[Any], rdf: Mapping[str, Any]) -> NDArray[np.float32]:
    """The rdf's preprocessing as JDLL runs it, over the whole image and before any tile is cut.

    The image is detector counts, in the order of the input's axes.

    Raises:
        JdllError: JDLL drops the model, or a step throws.
    """
    source = read_model(rdf).input
    return apply_steps(read_steps(source), image.astype(np.float32), source.letters)


def check_run(rdf: Mapping[str, Any], shape: Sequence[int]) -> None:
    """Read, plan and process as JDLL does, with zeros for the image and the network's outputs.

    The shape is the image's, in the order of the input's axes.

    Raises:
        JdllError: JDLL drops the model, throws or hangs.
        PackageError: several inputs, or another number of axes than the input has.
    """
    check_fields(rdf)
    model = read_model(rdf)
    planned = plan(rdf, shape)
    steps = [read_steps(tensor) for tensor in (model.input, *model.outputs)]
    apply_steps(steps[0], np.zeros(shape, np.float32), model.input.letters)
    for tensor, tiles, after in zip(model.outputs, planned.outputs, steps[1:], strict=True):
        if tensor.data_type not in OUTPUT_TYPES:  # CommonUtils.getImgLib2DataType
            raise throws(f"it has no type {tensor.data_type} for an output")
        zeros = np.zeros([axis.size for axis in tiles], tensor.data_type)
        apply_steps(after, zeros, tensor.letters)


def _tile(model: JdllModel, axis: JdllAxis, size: int) -> int:
    """TileCalculator.getOptimalTileSize: the whole image and its halo, or the only size there is.

    Sizes are cut, not rounded up, to the step: the Java code divides whole numbers before `ceil`.
    """
    if not axis.step:
        return size if axis.minimum == -1 else axis.minimum
    if not model.tiling:
        return -1
    tile = int(java_int(size + 2 * axis.halo) / axis.step) * axis.step
    if tile > 3 * size and tile - axis.step >= axis.minimum:
        tile -= axis.step
    rounded = -(-size // axis.step) * axis.step
    return rounded if tile > 3 * size and rounded >= axis.minimum else tile


def _check_sizes(model: JdllModel, tile: Mapping[str, int]) -> None:
    """TileCalculator.checkOutputSize: whatever is too large never becomes small enough."""
    pixels = math.prod(tile.values())
    output = 0
    for tensor in model.outputs:
        if not any(axis.tensor is not None for axis in tensor.axes):
            continue
        sizes = []
        for axis in tensor.axes:
            if axis.tensor is not None:
                size = _reference(model, axis, tile) * axis.scale + 2 * axis.offset
                sizes.append(java_cast(size))
            elif axis.minimum or axis.letter in tile:
                sizes.append(axis.minimum or tile[axis.letter])
            else:
                raise throws(f"the output has no size along {axis.letter}")
        width = _BYTES.get(tensor.data_type.lower()[-2:], 1)
        output = max(output, math.prod(sizes) * width)
    if pixels <= LARGEST_TILE and output <= LARGEST_OUTPUT:
        return
    if not _shrinks(model.input.axes, tile):
        raise JdllError(
            Failure.hangs, f"a tile of {pixels} pixels is above {LARGEST_TILE} and never shrinks"
        )
    # Afterwards it computes the size of the output from nothing at all.
    raise throws(f"a tile of {pixels} pixels, {output} bytes of output, is too large")


def _shrinks(axes: Sequence[JdllAxis], tile: Mapping[str, int]) -> bool:
    """Whether the loop of checkOutputSize ends: it changes the first axis only, whichever it is."""
    first, total = next(iter(tile.values())), math.prod(tile.values())
    seen = set()
    while total > LARGEST_TILE:
        if (first, total) in seen:
            return False
        seen.add((first, total))
        for axis in axes:
            if not axis.step:
                continue
            rest, wanted = total // first, first * LARGEST_TILE / total
            if wanted < axis.minimum:
                first = -(-100 // axis.step) * axis.step if axis.minimum > 1 else axis.minimum
            else:
                first = int((wanted - axis.minimum) // axis.step) * axis.step + axis.minimum
            total = rest * first
    return True


def _check_tile(source: JdllTensor, image: Mapping[str, int], tile: Mapping[str, int]) -> None:
    """TileMaker.validateTileVsImageSize and validateStepMin."""
    for axis in source.axes:
        size, length = image[axis.letter], tile[axis.letter]
        if 3 * size < length:
            raise throws(f"{size} pixels along {axis.letter} are under a third of a tile: {length}")
        if axis.step and (length - axis.minimum) % axis.step:
            grid = f"{axis.minimum} + n · {axis.step}"
            raise throws(f"a tile of {length} pixels along {axis.letter} is not {grid}")


def _output_sizes(
    model: JdllModel, tensor: JdllTensor, image: Mapping[str, int], tile: Mapping[str, int]
) -> tuple[dict[str, int], dict[str, int]]:
    """TileMaker.getOutputTiles: size of the whole result and of a tile of it."""
    whole, part = {}, {}
    for axis in tensor.axes:
        letter = axis.letter
        if not model.tiling:
            if axis.step:
                raise throws(f"without tiling the output has no size along {letter}")
            whole[letter] = part[letter] = axis.minimum
        elif axis.step == 0 and axis.minimum != 0 and axis.tensor is None:
            if not {"x", "y"} <= set(image):
                raise throws("no input is an image")
            ratio = image[letter] / tile[letter] if tile.get(letter) else 1.0
            if letter in image and not tile[letter]:
                raise throws(f"a tile has no size along {letter}")
            if (axis.minimum * ratio) % 1:
                raise throws(f"{axis.minimum} output pixels a tile are no whole number an image")
            whole[letter], part[letter] = java_cast(axis.minimum * ratio), axis.minimum
        elif axis.tensor is None:
            raise throws(f"the output has no size along {letter}")
        else:
            own = tuple(_reference(model, axis, sizes) for sizes in (image, tile))
            own = (own[0], own[0]) if own[1] == -1 else own
            whole[letter], part[letter] = (
                java_cast(size * axis.scale + 2 * axis.offset) for size in own
            )
    return whole, part


def _reference(model: JdllModel, axis: JdllAxis, sizes: Mapping[str, int]) -> int:
    """Size of the axis that an axis of an output refers to, by the abbreviation as written."""
    if axis.axis is None or axis.tensor != model.input.name or axis.axis not in sizes:
        raise throws(f"the output refers to {axis.tensor}.{axis.axis}, which is not there")
    return sizes[axis.axis]


def _cut(
    model: JdllModel, axis: JdllAxis, image: Mapping[str, int], tile: Mapping[str, int]
) -> AxisTiles:
    """TileMaker.computePatchSpecs."""
    size, length = image[axis.letter], tile[axis.letter]
    halo = axis.halo if model.tiling and not model.pyramidal else 0
    count = 1
    if model.tiling:
        if length - 2 * axis.halo <= 0:
            raise throws(f"the halo of {axis.halo} leaves nothing of a tile of {length}")
        count = math.ceil(size / (length - 2 * axis.halo))
    before = max(halo, math.ceil((length - size) / 2))
    return AxisTiles(axis.letter, size, length, before, max(halo, length - size - before), count)


def _mirrored(
    values: NDArray[np.float32], position: int, axis: AxisTiles, index: int
) -> NDArray[np.float32]:
    """A tile along one axis, from the image mirrored without end (Views.extendMirrorDouble)."""
    places = np.arange(axis.tile) + axis.start(index) - axis.before
    places %= 2 * axis.size
    return values.take(np.minimum(places, 2 * axis.size - 1 - places), axis=position)
