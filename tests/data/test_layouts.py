"""Layouts as they are published, splits by field, and everything that is wrong about a folder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from w2s_export.config import FixedRangeNormalisation
from w2s_export.data.layouts import DataSource, PairedFolders, W2SFolders
from w2s_export.data.split import assign, read_split
from w2s_export.errors import ConfigError, ImageError

HOW = FixedRangeNormalisation(low=0, high=255)
LEVELS = ("avg1", "avg2", "avg4", "avg8", "avg16", "avg400")


def write(path: Path, seed: tuple[int, ...], side: int) -> None:
    """An image of its own for every seed, the same in every session."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side)).astype(np.uint8)
    if path.suffix == ".npy":
        np.save(path, pixels / 128 - 1.0)  # z-scores: float64, also negative
    else:
        Image.fromarray(pixels).save(path)


def w2s(root: Path, fields: tuple[int, ...], suffix: str) -> None:
    for field in fields:
        for channel in (0, 1, 2):
            name = f"{field:03}_{channel}{suffix}"
            write(root / "sim" / name, (field, channel), 16)
            for level in LEVELS:
                write(root / level / name, (field, channel, int(level[3:])), 8)


@pytest.fixture
def png(tmp_path: Path) -> Path:
    w2s(tmp_path / "train", (1, 2, 80), ".png")
    w2s(tmp_path / "test", (81, 120), ".png")
    # The authors' own folder has one of these.
    (tmp_path / "train" / "avg1" / ".ipynb_checkpoints").mkdir()
    return tmp_path


@pytest.fixture
def npy(tmp_path: Path) -> Path:
    w2s(tmp_path / "normalized", (1, 2, 80, 81, 120), ".npy")
    return tmp_path


def source(**values: object) -> W2SFolders:
    given = {"layout": "w2s", "validation": [80], "test": [81, 120], **values}
    return W2SFolders.model_validate(given)


def test_the_authors_split_is_the_default() -> None:
    """From their data's readme: fields 1 to 80 train, 81 to 120 test, three channels each."""
    held_out = W2SFolders(layout="w2s").held_out()
    assert held_out["test"] == tuple(f"{n:03}" for n in range(81, 121))
    assert len(held_out["test"]) * 3 == 120
    assert set(held_out["validation"]) < {f"{n:03}" for n in range(1, 81)}


def test_png_folders(png: Path) -> None:
    files = assign(source(), png)
    assert [f.name for f in files["training"]] == [
        f"avg1/{field}_{channel}.png" for field in ("001", "002") for channel in (0, 1, 2)
    ]
    assert [f.field for f in files["test"]] == ["081"] * 3 + ["120"] * 3
    assert files["test"][4].low == png / "test" / "avg1" / "120_1.png"
    assert files["test"][4].high == png / "test" / "sim" / "120_1.png"


def test_normalised_arrays(npy: Path) -> None:
    split = read_split(source(noise=[400], channels=[1]), npy, 2, HOW, None)
    assert [pair.name for pair in split.training] == ["avg400/001_1.npy", "avg400/002_1.npy"]
    stored = np.load(npy / "normalized" / "avg400" / "002_1.npy")
    np.testing.assert_allclose(split.training[1].low[..., 0], stored / 255, atol=1e-7)
    stored = np.load(npy / "normalized" / "sim" / "002_1.npy")
    np.testing.assert_allclose(split.training[1].high[..., 0], stored, atol=1e-7)
    inside = assign(source(noise=[400], channels=[1]), npy / "normalized")
    assert inside == assign(source(noise=[400], channels=[1]), npy)


def test_mixed_noise_levels_keep_a_field_in_one_split(npy: Path) -> None:
    split = read_split(source(noise=[1, 16], channels=[0, 2]), npy, 2, HOW, HOW)
    assert [pair.name for pair in split.validation] == [
        f"{level}/080_{channel}.npy" for level in ("avg1", "avg16") for channel in (0, 2)
    ]
    fields = [
        {pair.name[-9:-6] for pair in pairs}
        for pairs in (split.training, split.validation, split.test)
    ]
    assert fields == [{"001", "002"}, {"080"}, {"081", "120"}]
    assert len(split.training) == 2 * 2 * 2
    first, again = (split.training[i] for i in (0, 4))
    assert (first.name, again.name) == ("avg1/001_0.npy", "avg16/001_0.npy")
    assert first.high is again.high  # in memory once
    assert not np.array_equal(first.low, again.low)


def test_noise_levels_of_paired_folders(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        write(tmp_path / "sim" / name, (ord(name[0]),), 16)
        for level in (1, 4):
            write(tmp_path / f"avg{level}" / name, (ord(name[0]), level), 8)
    data = PairedFolders(low=("avg1", "avg4"), high="sim", validation=("c.png",))
    split = read_split(data, tmp_path, 2, HOW, HOW)
    assert [p.name for p in split.training] == [f"avg{n}/{x}.png" for n in (1, 4) for x in "ab"]
    assert [p.name for p in split.validation] == ["avg1/c.png", "avg4/c.png"]


def rename(path: Path, to: str) -> None:
    path.rename(path.with_name(to))


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no partner": (
        lambda root: (root / "test/avg1/081_0.png").unlink(),
        r"no partner for 1 image, first '081_0\.png', missing in .*avg1",
    ),
    "no target": (
        lambda root: (root / "test/sim/081_0.png").unlink(),
        r"'081_0\.png', missing in .*test/sim",
    ),
    "another name": (
        lambda root: rename(root / "train/sim/001_0.png", "cell.png"),
        r"cell\.png: W2S names its images FIELD_CHANNEL",
    ),
    "both splits": (
        lambda root: w2s(root / "train", (81,), ".png"),
        r"field 081 is in train/ and in test/",
    ),
    "no level": (
        lambda root: (root / "train/avg1").rename(root / "train/avg3"),
        r"avg1: no such folder",
    ),
    "neither": (
        lambda root: [(root / split / "sim").rename(root / split / "x") for split in TRAIN_TEST],
        r"give the folder 'data' of W2S",
    ),
}
TRAIN_TEST = ("train", "test")


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(png: Path, fault: str) -> None:
    inflict, words = FAULTS[fault]
    inflict(png)
    with pytest.raises(ImageError, match=words):
        assign(source(), png)


def test_fields_that_are_not_there(png: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.validation lists '079'"):
        assign(source(validation=[79]), png)
    with pytest.raises(ConfigError, match="none is left to train on"):
        read_split(source(validation=[1, 2, 80]), png, 2, HOW, HOW)


def test_a_turned_field_across_the_split_is_refused(
    png: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Image.open(png / "train" / "sim" / "002_1.png") as image:
        image.transpose(Image.Transpose.TRANSVERSE).save(png / "test" / "sim" / "120_0.png")
    with pytest.raises(ImageError, match=r"test .*training.*120_0\.png like .*002_1\.png") as error:
        read_split(source(), png, 2, HOW, HOW)
    assert "1.00" in str(error.value)
    with caplog.at_level(logging.WARNING):
        split = read_split(source(duplicates="warn"), png, 2, HOW, HOW)
    assert len(split.test) == 6
    assert "002_1.png" in caplog.text


def test_twins_within_a_split_are_nobodys_business(png: Path) -> None:
    with Image.open(png / "train" / "sim" / "001_1.png") as image:
        image.rotate(90).save(png / "train" / "sim" / "002_0.png")
    assert len(read_split(source(), png, 2, HOW, HOW).training) == 6


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"layout": "w3s"}, "w3s"),
        ({"layout": "w2s", "noise": [3]}, "noise"),
        ({"layout": "w2s", "noise": []}, "noise"),
        ({"layout": "w2s", "channels": [3]}, "channels"),
        ({"layout": "w2s", "validation": [81]}, "'081' is in validation and in test"),
        ({"validation": ["a.tif"], "test": ["a.tif"]}, "'a.tif' is in validation and in test"),
        ({"noise": [1]}, "noise"),
        ("lr", "dictionary"),
    ],
)
def test_impossible_sections(values: object, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TypeAdapter(DataSource).validate_python(values)
