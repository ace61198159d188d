"""What DeepImageJ 3.1 does with an image: plans tiles, mirrors, runs, and puts the pieces together.

A model of JDLL 0.6.1 (github.com/bioimage-io/JDLL, tag dl-modelrunner-0.6.1), faults included, to
say before anybody starts Fiji whether a package runs there, how large the output is and which
pixels it has. Follows `bioimageio.tiling`: TileCalculator (sizes of tiles), TileMaker (checks,
padding, mirrored reading) and TileGrid (places), and ScaleRangeTransformation (percentiles).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import PackageError
from w2s_export.rdf.stated import at
from w2s_export.verify.clients.core_processing import preprocess
from w2s_export.verify.clients.jdll_axes import (
    Failure,
    JdllAxis,
    JdllError,
    JdllModel,
    JdllTensor,
    read_model,
)

LARGEST_TILE = 4096 * 4096 * 3
"""Pixels of a tile above which the planner tries to shrink it (OPTIMAL_MAX_NUMBER_PIXELS)."""
LARGEST_OUTPUT = 2**31 - 1
"""Bytes of an output tile above which it does."""

_BYTES = {"16": 2, "32": 4, "64": 8}
PROCESSING = (
    "scale_range",
    "scale_linear",
    "zero_mean_unit_variance",
    "fixed_zero_mean_unit_variance",
    "clip",
    "binarize",
    "sigmoid",
)
"""Steps that JDLL knows; any other throws at run time."""


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
    output: tuple[AxisTiles, ...]

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of the whole result."""
        return tuple(axis.size for axis in self.output)

    @property
    def tile_shape(self) -> tuple[int, ...]:
        """Of what the network gets at once."""
        return tuple(axis.tile for axis in self.input)

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
        rdf: a description, format 0.4 or 0.5, of one input and one output.
        shape: of the image, in the order of the input's axes.

    Raises:
        JdllError: JDLL drops the model, throws or hangs.
        PackageError: several inputs or outputs, or another number of axes than the input has.
    """
    model = read_model(rdf)
    for axis in model.output.axes:
        if axis.tensor is not None and not _refers(axis, model.input):
            raise _throws(f"the output refers to {axis.tensor}.{axis.axis}, which is not there")
    if len(shape) != len(model.input.axes):
        raise PackageError(f"an image of shape {tuple(shape)} has no axes {model.input.letters}")
    image = dict(zip(model.input.letters, shape, strict=True))
    tile = {axis.letter: _tile(model, axis, image[axis.letter]) for axis in model.input.axes}
    if model.tiling and any(axis.step for axis in model.input.axes):
        _check_sizes(model, tile)
    _check_tile(model.input, image, tile)
    whole_out, tile_out = _output_sizes(model, image, tile)
    for axis in model.output.axes:
        if tile_out[axis.letter] - 2 * axis.halo <= 0:
            size = f"{tile_out[axis.letter]} output pixels along {axis.letter}"
            raise _throws(f"the halo of {axis.halo} leaves nothing of {size}")
    channels = [(image[letter], tile[letter]) for letter in image if letter == "c"]
    if any(given != taken for given, taken in channels):
        raise _throws(
            f"the image has {channels[0][0]} channels, the network takes {channels[0][1]}"
        )
    return JdllPlan(
        input=tuple(_cut(model, axis, image, tile) for axis in model.input.axes),
        output=tuple(_cut(model, axis, whole_out, tile_out) for axis in model.output.axes),
    )


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
    if at(rdf, "outputs", 0, "postprocessing"):
        raise PackageError("has postprocessing, which the model of JDLL does not know")
    normalised = normalise_as_jdll(image, rdf)
    result = np.zeros(tiles.output_shape, np.float32)
    grid, grid_out = (tuple(axis.count for axis in side) for side in (tiles.input, tiles.output))
    for number in range(tiles.tiles):
        if number >= math.prod(grid_out):
            raise _throws(f"there are {tiles.tiles} tiles, but {math.prod(grid_out)} of the output")
        tile = normalised
        for position, index in enumerate(np.unravel_index(number, grid)):
            tile = _mirrored(tile, position, tiles.input[position], int(index))
        piece = runtime(np.ascontiguousarray(tile, np.float32))
        if piece.shape != tiles.output_tile_shape:
            raise _throws(f"the network gives {piece.shape}, planned is {tiles.output_tile_shape}")
        places = list(zip(tiles.output, np.unravel_index(number, grid_out), strict=True))
        target = tuple(slice(a.start(int(i)), a.start(int(i)) + a.kept) for a, i in places)
        kept = tuple(slice(axis.before, axis.before + axis.kept) for axis in tiles.output)
        result[target] = piece[kept]
    return result


def normalise_as_jdll(image: NDArray[Any], rdf: Mapping[str, Any]) -> NDArray[np.float32]:
    """The rdf's preprocessing as JDLL runs it, over the whole image and before any tile is cut.

    A percentile is the value of rank ⌊n·p⌋, not interpolated; of several gains or offsets only the
    first counts.

    Args:
        image: in the order of the input's axes, detector counts.
        rdf: a description of one input.

    Raises:
        JdllError: a step that JDLL does not know.
        PackageError: a step whose arguments make no sense.
    """
    letters = read_model(rdf).input.letters
    values = image.astype(np.float32)
    for step in at(rdf, "inputs", 0, "preprocessing") or ():
        name, kwargs = at(step, "id") or at(step, "name"), at(step, "kwargs") or {}
        if name == "ensure_dtype":
            continue  # left out when the description is read
        if name not in PROCESSING:
            raise _throws(f"preprocessing '{name}' is unknown to it")
        if name == "scale_range":
            values = _scale_range(values, letters, kwargs)
        else:
            firsts = {k: v[0] if isinstance(v, list) else v for k, v in kwargs.items()}
            values = preprocess(values, {"preprocessing": [{"id": name, "kwargs": firsts}]})
    return values


def _scale_range(
    values: NDArray[np.float32], letters: str, kwargs: Mapping[str, Any]
) -> NDArray[np.float32]:
    named = kwargs.get("axes")
    own = letters if named is None else "".join("c" if a == "channel" else a for a in named)
    axes = tuple(i for i, letter in enumerate(letters) if letter in own) or None
    count = values.size if axes is None else math.prod(values.shape[i] for i in axes)
    bounds = [kwargs.get("min_percentile", 0), kwargs.get("max_percentile", 100)]
    ranks = [min(int(count * (percent / 100)), count - 1) for percent in bounds]
    quantiles = [rank / max(1, count - 1) for rank in ranks]
    low, high = np.quantile(values, quantiles, axis=axes, keepdims=True, method="nearest")
    low, high = low.astype(np.float64), high.astype(np.float64)
    return np.asarray((values - low) / (high - low + kwargs.get("eps", 1e-6)), np.float32)


def _refers(axis: JdllAxis, source: JdllTensor) -> bool:
    return axis.tensor == source.name and str(axis.axis) in source.letters


def _tile(model: JdllModel, axis: JdllAxis, size: int) -> int:
    """TileCalculator.getOptimalTileSize: the whole image and its halo, or the only size there is.

    Sizes are cut, not rounded up, to the step: the Java code divides whole numbers before `ceil`.
    """
    if not axis.step:
        return axis.minimum
    if not model.tiling:
        return -1
    tile = (size + 2 * axis.halo) // axis.step * axis.step
    if tile > 3 * size and tile - axis.step >= axis.minimum:
        tile -= axis.step
    rounded = -(-size // axis.step) * axis.step
    return rounded if tile > 3 * size and rounded >= axis.minimum else tile


def _check_sizes(model: JdllModel, tile: Mapping[str, int]) -> None:
    """TileCalculator.checkOutputSize: whatever is too large never becomes small enough."""
    pixels = math.prod(tile.values())
    sizes = []
    for axis in model.output.axes:
        if axis.tensor is not None:
            sizes.append(int(tile[str(axis.axis)] * axis.scale + 2 * axis.offset))
        else:
            sizes.append(axis.minimum or tile[axis.letter])
    refers = any(axis.tensor is not None for axis in model.output.axes)
    width = _BYTES.get(model.output.data_type.lower()[-2:], 1)
    output = math.prod(sizes) * width if refers else 0
    if pixels <= LARGEST_TILE and output <= LARGEST_OUTPUT:
        return
    if not _shrinks(model.input.axes, tile):
        raise JdllError(
            Failure.hangs, f"a tile of {pixels} pixels is above {LARGEST_TILE} and never shrinks"
        )
    # Afterwards it computes the size of the output from nothing at all.
    raise _throws(f"a tile of {pixels} pixels, {output} bytes of output, is too large")


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
            raise _throws(
                f"{size} pixels along {axis.letter} are under a third of a tile: {length}"
            )
        if axis.step and (length - axis.minimum) % axis.step:
            grid = f"{axis.minimum} + n · {axis.step}"
            raise _throws(f"a tile of {length} pixels along {axis.letter} is not {grid}")


def _output_sizes(
    model: JdllModel, image: Mapping[str, int], tile: Mapping[str, int]
) -> tuple[dict[str, int], dict[str, int]]:
    """TileMaker.getOutputTiles: size of the whole result and of a tile of it."""
    whole, part = {}, {}
    for axis in model.output.axes:
        if not model.tiling:
            whole[axis.letter] = part[axis.letter] = axis.minimum
        elif axis.tensor is not None:
            whole[axis.letter], part[axis.letter] = (
                int(sizes[str(axis.axis)] * axis.scale + 2 * axis.offset) for sizes in (image, tile)
            )
        elif axis.minimum == 0 or tile.get(axis.letter) == 0:
            raise _throws(f"the output has no size along {axis.letter}")
        else:
            ratio = image[axis.letter] / tile[axis.letter] if axis.letter in image else 1.0
            if (axis.minimum * ratio) % 1:
                raise _throws(f"{axis.minimum} output pixels a tile are no whole number an image")
            whole[axis.letter], part[axis.letter] = int(axis.minimum * ratio), axis.minimum
    return whole, part


def _cut(
    model: JdllModel, axis: JdllAxis, image: Mapping[str, int], tile: Mapping[str, int]
) -> AxisTiles:
    """TileMaker.computePatchSpecs."""
    size, length = image[axis.letter], tile[axis.letter]
    halo = axis.halo if model.tiling and not model.pyramidal else 0
    count = 1
    if model.tiling:
        if length - 2 * axis.halo <= 0:
            raise _throws(f"the halo of {axis.halo} leaves nothing of a tile of {length}")
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


def _throws(reason: str) -> JdllError:
    return JdllError(Failure.throws, reason)
