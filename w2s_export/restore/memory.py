"""How much memory a run may take, and how large a tile fits into it."""

from __future__ import annotations

import re
import sys

from w2s_export.errors import ConfigError
from w2s_export.io.memory import free_bytes
from w2s_export.io.source import Layout
from w2s_export.options import ImageOptions
from w2s_export.restore.network import ReadyNetwork

SMALLEST_TILE = 64
LARGEST_TILE = 4096
_PROCESS_BYTES = 260 << 20
"""Python, numpy, tifffile, ONNX Runtime and zarr themselves: 130 to 240 MB measured."""
_APART_BYTES = 100 << 20
"""Python, numpy and ONNX Runtime once more, in the process that runs a graph of others."""
_FEWEST_BARE = 10**6
"""Bytes below which a number without a unit is an oversight."""
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}


def parse_bytes(text: str) -> int:
    """`2GB`, `500 MB`, `1.5GiB` or a plain number of bytes from a million on.

    Raises:
        ConfigError: anything else, or nothing at all.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", text.lower())
    amount = float(found[1]) * {**_UNITS, **_BINARY}[found[2] or ""] if found else 0
    if amount > sys.maxsize:  # no machine has it, and infinity has no number of bytes
        amount = 0
    if found and not found[2] and 1 <= amount < _FEWEST_BARE:
        raise ConfigError(
            f"--memory {text}: is {amount:g} bytes; write {found[1]}GB, with its unit"
        )
    if amount < 1:
        raise ConfigError(f"--memory {text}: write an amount as 2GB, 500MB or 1.5GiB")
    return int(amount)


def memory_budget(options: ImageOptions) -> int:
    """Bytes that a run may take, by the option or half of what is free.

    Raises:
        ConfigError: an amount that cannot be read.
    """
    given = options.memory
    return parse_bytes(given) if isinstance(given, str) else given or free_bytes() // 2


def largest_tile(
    network: ReadyNetwork, budget: int, layout: Layout, itemsize: int, unit: int
) -> int:
    """The largest side of a tile, input pixels, that restores within the budget.

    Beyond 64 halos a larger tile saves under 7 % of the work, and only delays progress; where tiles
    show seams, the fewer the better.

    Args:
        network: what restores.
        budget: bytes the whole process may take.
        layout: of the image; what is decoded together is in memory together.
        itemsize: bytes of a pixel as stored, all channels.
        unit: the side is a multiple of this.

    Raises:
        ConfigError: not even the smallest tile fits.
    """
    limit = min(max(64 * network.halo, 512), LARGEST_TILE)
    if network.seams is not None:
        limit = LARGEST_TILE
    side = max(limit // unit, 1) * unit
    while side > unit and _needed(network, side, layout, itemsize) > budget:
        side -= unit
    needed = _needed(network, side, layout, itemsize)
    if needed > budget:
        raise ConfigError(
            f"--memory {budget / 1e6:.0f}MB: the smallest tile, {side} pixels, takes about "
            f"{needed / 1e6:.0f} MB with this network; allow more"
        )
    return side


def even_tiles(size: int, largest: int, unit: int) -> int:
    """Side of equal tiles that cover `size` pixels: 600 by tiles of 512 is 2 × 300."""
    count = -(-size // largest)
    return -(-size // (count * unit)) * unit


def _needed(network: ReadyNetwork, side: int, layout: Layout, itemsize: int) -> float:
    halo = 2 * network.halo
    rows, columns = (side + halo + block for block in layout.block)
    stored = 2 * rows * min(columns, layout.width + halo) * itemsize
    pixels = min(side + halo, layout.height + halo) * min(side + halo, layout.width + halo)
    weights = (
        4 * network.onnx.stat().st_size
    )  # loaded: 2.2 to 2.7 of it measured, some while loading
    processes = _PROCESS_BYTES + network.foreign * _APART_BYTES
    # 24: the tile in float64 and float32, twice, while it is normalised and mirrored.
    return processes + weights + stored + pixels * (network.bytes_per_pixel + 24)
