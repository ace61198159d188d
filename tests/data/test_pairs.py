"""Paired folders: what is read, and every way they can be wrong."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile

from w2s_export.config import FixedRangeNormalisation, Normalisation
from w2s_export.data.pairs import Pair, match_names, read_files, stored_target
from w2s_export.errors import FlatImageError, ImageError

HOW = FixedRangeNormalisation(low=0, high=100)


def read_pairs(low: Path, high: Path, scale: int, *how: Normalisation) -> list[Pair]:
    return read_files(match_names(low, high), scale, *how)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    for name in ("b.tif", "a.tif"):
        for folder, size in (("low", (6, 8)), ("high", (12, 16))):
            (tmp_path / folder).mkdir(exist_ok=True)
            pixels = rng.integers(0, 100, size).astype(np.uint16)
            tifffile.imwrite(tmp_path / folder / name, pixels)
    return tmp_path / "low", tmp_path / "high"


def test_pairs_are_read_sorted_and_normalised(folders: tuple[Path, Path]) -> None:
    pairs = read_pairs(*folders, 2, HOW, HOW)
    assert [pair.name for pair in pairs] == ["a.tif", "b.tif"]
    expected = tifffile.imread(folders[0] / "a.tif")[..., None] / 100
    np.testing.assert_allclose(pairs[0].low, expected, atol=1e-6)
    assert pairs[0].high.shape == (12, 16, 1)
    assert pairs[0].low.dtype == pairs[0].high.dtype == np.float32


def test_an_unpaired_name_is_named(folders: tuple[Path, Path]) -> None:
    (folders[1] / "a.tif").unlink()
    with pytest.raises(ImageError, match=r"no partner for 1 image, first 'a\.tif'.*high"):
        read_pairs(*folders, 2, HOW, HOW)


def test_sizes_must_match_the_scale(folders: tuple[Path, Path]) -> None:
    with pytest.raises(ImageError, match=r"'a\.tif': the target is 12×16, 4× the input is 24×32"):
        read_pairs(*folders, 4, HOW, HOW)


def test_a_constant_image_is_named(folders: tuple[Path, Path]) -> None:
    from w2s_export.config import PercentileNormalisation

    tifffile.imwrite(folders[0] / "b.tif", np.full((6, 8), 7, np.uint16))
    for how in (PercentileNormalisation(), HOW):
        with pytest.raises(FlatImageError, match=r"b\.tif.*flat"):
            read_pairs(*folders, 2, how, HOW)


def test_mixed_channels_are_named(folders: tuple[Path, Path]) -> None:
    colour = np.random.default_rng(1).integers(0, 100, (3, 6, 8)).astype(np.uint16)
    tifffile.imwrite(folders[0] / "b.tif", colour, imagej=True, metadata={"axes": "CYX"})
    with pytest.raises(ImageError, match=r"'b\.tif': its input has 3 channels, .*'a\.tif' 1"):
        read_pairs(*folders, 2, HOW, HOW)


def test_hidden_files_and_folders_are_no_images(folders: tuple[Path, Path]) -> None:
    (folders[0] / ".ipynb_checkpoints").mkdir()
    (folders[0] / "._a.tif").write_bytes(b"what macOS leaves")
    assert [pair.name for pair in read_pairs(*folders, 2, HOW, HOW)] == ["a.tif", "b.tif"]


def test_uneven_stacks_and_missing_or_empty_folders_are_refused(folders: tuple[Path, Path]) -> None:
    stack = np.ones((3, 6, 8), np.uint16)
    tifffile.imwrite(folders[0] / "a.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(ImageError, match="the input has 3 planes, the target 1"):
        read_pairs(*folders, 2, HOW, HOW)
    with pytest.raises(ImageError, match="no such folder"):
        read_pairs(folders[0] / "none", folders[1], 2, HOW, HOW)
    empty = folders[0].parent / "empty"
    empty.mkdir()
    with pytest.raises(ImageError, match="holds no image"):
        read_pairs(empty, folders[1], 2, HOW, HOW)


def test_names_that_differ_in_suffix_pair_up(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for place, name, side in (
        ("lr", "a.tif", 8), ("lr", "b.png", 8), ("hr", "a.png", 16), ("hr", "b.ome.tif", 16)
    ):  # fmt: skip
        (tmp_path / place).mkdir(exist_ok=True)
        pixels = rng.integers(0, 900, (side, side)).astype(np.uint16)
        imageio.imwrite(tmp_path / place / name, pixels)
    files = match_names(tmp_path / "lr", tmp_path / "hr")
    assert [(f.low.name, f.high.name) for f in files] == [
        ("a.tif", "a.png"),
        ("b.png", "b.ome.tif"),
    ]
    # a.tif takes the only a.png; a second a of another kind has nobody left.
    imageio.imwrite(tmp_path / "lr" / "a.png", rng.integers(0, 9, (8, 8)).astype(np.uint16))
    with pytest.raises(ImageError, match="first 'a.tif'"):
        match_names(tmp_path / "lr", tmp_path / "hr")


def test_stacks_are_pairs_plane_by_plane(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    low = rng.integers(0, 900, (3, 8, 10)).astype(np.uint16)
    high = rng.integers(0, 900, (3, 16, 20)).astype(np.uint16)
    for place, pixels in (("lr", low), ("hr", high)):
        (tmp_path / place).mkdir()
        tifffile.imwrite(tmp_path / place / "s.tif", pixels, imagej=True, metadata={"axes": "ZYX"})
    files = match_names(tmp_path / "lr", tmp_path / "hr")
    assert [(f.name, f.field, f.plane) for f in files] == [
        (f"s.tif[{n}]", "s.tif", n) for n in range(3)
    ]
    pairs = read_files(files, 2, None, None)
    for n, pair in enumerate(pairs):
        np.testing.assert_array_equal(pair.low[..., 0], low[n])
        np.testing.assert_array_equal(stored_target(pair)[0], high[n])
    tifffile.imwrite(tmp_path / "hr" / "s.tif", high[:2], imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(ImageError, match="input has 3 planes, the target 2"):
        match_names(tmp_path / "lr", tmp_path / "hr")
