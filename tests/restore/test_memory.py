"""Budgets, and tiles that fit them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from w2s_export.errors import ConfigError
from w2s_export.io.source import Layout
from w2s_export.restore.memory import (
    LARGEST_TILE,
    even_tiles,
    largest_tile,
    parse_bytes,
)
from w2s_export.restore.network import Model, ReadyNetwork


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2GB", 2e9),
        ("500 MB", 5e8),
        ("1.5GiB", 1.5 * 2**30),
        ("64k", 64000),
        ("1234567", 1234567),
    ],
)
def test_amounts(text: str, expected: float) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(
    "text", ["", "much", "-2GB", "0", "2XB", "GB", "1e9", "2", "9" * 400, "9999999999GB"]
)
def test_no_amount(text: str) -> None:
    with pytest.raises(ConfigError, match="2GB"):
        parse_bytes(text)


@pytest.fixture
def network(box_onnx: Callable[[int], Path]) -> ReadyNetwork:
    model = Model("default", 1, 1, 2, 1, 2330.0, None, "")
    return ReadyNetwork(model, box_onnx(1), halo=13, minimum=27)


def layout(size: int, block: tuple[int, int] | None = None) -> Layout:
    return Layout((1, 1, 1), 1, size, size, np.dtype("u2"), block or (1, size))


def test_more_memory_larger_tiles_up_to_where_they_save_nothing(network: ReadyNetwork) -> None:
    def side(megabytes: int, size: int = 20000) -> int:
        return largest_tile(network, megabytes * 10**6, layout(size), 2, 64)

    sides = [side(megabytes) for megabytes in (400, 600, 800, 1000, 2000, 5000, 50000)]
    assert sides == sorted(sides)
    assert sides[0] % 64 == 0
    assert sides[-1] == sides[-2] == 832  # 64 halos of 13
    # 2146 bytes a pixel were measured for this network: the tile and its halo must fit
    assert (side(1000) + 26) ** 2 * 2146 < 1e9
    assert side(1000) >= 448
    with pytest.raises(ConfigError, match="smallest tile, 64 pixels"):
        side(100)


def test_tiles_that_show_seams_are_as_few_as_memory_allows(network: ReadyNetwork) -> None:
    seen = replace(network, seams=1e-2)
    assert largest_tile(seen, 50 * 10**9, layout(20000), 2, 64) == LARGEST_TILE
    assert largest_tile(seen, 10**9, layout(20000), 2, 64) < 832


def test_blocks_that_are_decoded_whole_count(network: ReadyNetwork) -> None:
    free = largest_tile(network, 10**9, layout(10000), 2, 64)
    assert largest_tile(network, 10**9, layout(10000, (5000, 10000)), 2, 64) < free


@pytest.mark.parametrize(
    ("size", "largest", "unit", "expected"),
    [(600, 512, 4, 300), (600, 600, 64, 640), (513, 512, 256, 512), (100, 832, 64, 128)],
)
def test_even_tiles(size: int, largest: int, unit: int, expected: int) -> None:
    assert even_tiles(size, largest, unit) == expected
