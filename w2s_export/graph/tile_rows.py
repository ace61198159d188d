"""Where pixels lie in the fast graph, and which pixels each 6×6 window reads.

A feature map is a table of rows, one a pixel, C channels wide. Its 4×4 tiles are numbered along the
image's lines, in blocks of 128, and a block's rows are ordered (pixel of the tile, tile), with 128
rows of zeros at its end: shape (blocks, 17, 128, C). A `Grid` is the graph's own table of row
numbers; padding, sizes that are no multiple of 4 and the change from one resolution to the next are
all a matter of which rows are read. Everything here is computed once, from the image's size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2s_export.graph.winograd import TILE, WINDOW
from w2s_export.graph.writer import GraphWriter, Tensor, integers

BLOCK = 128
"""Tiles of a block: what one step of a layer works on stays in the processor's cache."""
ROWS = TILE**2 + 1
"""Rows of a tile: its pixels, and one of zeros."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Names of tensors that describe one resolution.

    rows: (H, W), the row of each pixel.
    zero: number of a row of zeros.
    height, width: H and W, each of shape (1,).
    """

    rows: str
    zero: int
    height: str
    width: str


def image_grid(writer: GraphWriter, image: str) -> Grid:
    """Pixels of an image (1, C, H, W) as `image_rows` orders them."""
    shape = writer.node("Shape", image)
    height, width = (writer.node("Gather", shape, integers(axis)) for axis in (2, 3))
    numbers = _range(writer, writer.node("Mul", height, width))
    size = writer.node("Concat", height, width, axis=0)
    return Grid(writer.node("Reshape", numbers, size), -1, height, width)


def image_rows(writer: GraphWriter, image: str, channels: int) -> str:
    """Pixels of an image (1, C, H, W) in the order of its lines, then zeros: (H·W + 1, C)."""
    last = writer.node("Transpose", image, perm=[0, 2, 3, 1])
    rows = writer.node("Reshape", last, integers(-1, channels))
    return writer.node("Concat", rows, np.zeros((1, channels), np.float32), axis=0)


def tile_grid(writer: GraphWriter, like: Grid) -> Grid:
    """Pixels of a feature map in tiles, of the size of `like`."""
    down, across = (_tiles(writer, size) for size in (like.height, like.width))
    tile = _range(writer, writer.node("Mul", down, across))
    block = writer.node("Mul", writer.node("Div", tile, integers(BLOCK)), integers(ROWS * BLOCK))
    first = writer.node("Add", block, writer.node("Mod", tile, integers(BLOCK)))
    one = integers(1)
    first = writer.node("Reshape", first, writer.node("Concat", down, one, across, one, axis=0))
    inside = (BLOCK * np.arange(TILE**2)).reshape(1, TILE, 1, TILE)
    covered = [_lines(writer, count) for count in (down, across)]
    rows = writer.node("Add", first, inside)
    rows = writer.node("Reshape", rows, writer.node("Concat", *covered, axis=0))
    size = writer.node("Concat", like.height, like.width, axis=0)
    rows = writer.node("Slice", rows, integers(0, 0), size, integers(0, 1))
    return Grid(rows, TILE**2 * BLOCK, like.height, like.width)


def finer_grid(writer: GraphWriter, grid: Grid, factor: int) -> Grid:
    """Pixels of a feature map `factor` times finer, whose phases are channels of this one.

    A row of factor²·C channels is factor² rows of C channels, ordered (line, column).
    """
    phases = np.arange(factor**2).reshape(1, factor, 1, factor)
    first = writer.node("Unsqueeze", grid.rows, integers(1, 3))
    rows = writer.node("Add", writer.node("Mul", first, integers(factor**2)), phases)
    height, width = (writer.node("Mul", n, integers(factor)) for n in (grid.height, grid.width))
    size = writer.node("Concat", height, width, axis=0)
    return Grid(writer.node("Reshape", rows, size), grid.zero * factor**2, height, width)


def windows(writer: GraphWriter, grid: Grid) -> str:
    """Row of every pixel of every window, (blocks, 36, 128); zeros where there is no pixel."""
    down, across = (_tiles(writer, size) for size in (grid.height, grid.width))
    after = [
        writer.node("Sub", writer.node("Add", _lines(writer, n), integers(1)), size)
        for n, size in ((down, grid.height), (across, grid.width))
    ]
    zero: NDArray[np.int64] = np.array(grid.zero, np.int64)
    pads = writer.node("Concat", integers(1, 1), *after, axis=0)
    rows = writer.node("Pad", grid.rows, pads, zero)
    rows = writer.node("Gather", rows, _window_lines(writer, down), axis=0)
    rows = writer.node("Gather", rows, _window_lines(writer, across), axis=2)
    rows = writer.node("Transpose", rows, perm=[0, 2, 1, 3])  # (down, across, 6, 6)
    rows = writer.node("Reshape", rows, integers(-1, WINDOW**2))
    tiles = writer.node("Mul", down, across)
    missing = writer.node("Mod", writer.node("Neg", tiles), integers(BLOCK))
    pads = writer.node("Concat", integers(0, 0), missing, integers(0), axis=0)
    rows = writer.node("Pad", rows, pads, zero)
    rows = writer.node("Reshape", rows, integers(-1, BLOCK, WINDOW**2))
    return writer.node("Transpose", rows, perm=[0, 2, 1])


def image_from_rows(writer: GraphWriter, rows: str, grid: Grid, channels: int) -> str:
    """A feature map's rows as an image: (1, C, H, W)."""
    table = writer.node("Reshape", rows, integers(-1, channels))
    pixels = writer.node("Unsqueeze", writer.node("Gather", table, grid.rows), integers(0))
    return writer.node("Transpose", pixels, perm=[0, 3, 1, 2])


def _tiles(writer: GraphWriter, size: str) -> str:
    """How many tiles cover a length."""
    return writer.node("Div", writer.node("Add", size, integers(TILE - 1)), integers(TILE))


def _lines(writer: GraphWriter, tiles: str) -> str:
    """How many lines the tiles have."""
    return writer.node("Mul", tiles, integers(TILE))


def _window_lines(writer: GraphWriter, tiles: str) -> str:
    """(tiles, 6): where each line of each window is, after a pixel of padding."""
    first = _lines(writer, writer.node("Unsqueeze", _range(writer, tiles), integers(1)))
    return writer.node("Add", first, np.arange(WINDOW).reshape(1, -1))


def _range(writer: GraphWriter, count: Tensor) -> str:
    """0, 1, … up to a count of shape (1,)."""
    stop = writer.node("Squeeze", count)
    return writer.node("Range", np.array(0, np.int64), stop, np.array(1, np.int64))
