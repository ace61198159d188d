"""Duplicates in every orientation are found; different places are not."""

from __future__ import annotations

import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from w2s_export.data.duplicates import ALIKE, find_duplicates, thumbnail
from w2s_export.io.images import read_image
from w2s_export.simulation.fields import SimulationConfig, simulate_pair

DATA = Path(
    os.environ.get("W2S_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data")
)
KINDS = ("filaments", "vesicles", "mitochondria")
TURNS = {
    "as it is": lambda x: x,
    "90°": lambda x: np.rot90(x, 1),
    "180°": lambda x: np.rot90(x, 2),
    "270°": lambda x: np.rot90(x, 3),
    "flipped": lambda x: x[::-1],
    "mirrored": lambda x: x[:, ::-1],
    "transposed": lambda x: x.T,
    "anti-transposed": lambda x: np.rot90(x, 2).T,
}


@pytest.fixture(scope="module")
def fields() -> dict[str, np.ndarray]:
    return {
        f"{kind} {seed}": simulate_pair(
            SimulationConfig(structure=kind, height=96, width=120), seed
        )[1]
        for kind in KINDS
        for seed in range(2)
    }


@pytest.mark.parametrize("turn", TURNS)
def test_a_duplicate_is_found_in_every_orientation(
    fields: dict[str, np.ndarray], turn: str
) -> None:
    rng = np.random.default_rng(0)
    seen = {
        name: 3 * TURNS[turn](image) + rng.normal(0, 3 * image.std(), TURNS[turn](image).shape) - 7
        for name, image in fields.items()
    }
    found = find_duplicates(fields, seen)
    assert sorted((pair.first, pair.second) for pair in found) == [(n, n) for n in sorted(fields)]


def test_different_places_are_not_alike(fields: dict[str, np.ndarray]) -> None:
    for (a, first), (b, second) in combinations(fields.items(), 2):
        assert find_duplicates({a: first}, {b: second}) == [], (a, b)


def test_a_thumbnail_is_the_mean_of_its_squares() -> None:
    image = np.random.default_rng(1).normal(size=(64, 96))
    small = image.reshape(32, 2, 32, 3).mean(axis=(1, 3))
    blocks = small.reshape(8, 4, 8, 4)
    detail = (blocks - blocks.mean(axis=(1, 3), keepdims=True)).reshape(32, 32)
    np.testing.assert_allclose(thumbnail(image), detail / np.linalg.norm(detail), atol=1e-12)


def test_fields_smaller_than_a_thumbnail_and_flat_ones() -> None:
    small = np.random.default_rng(2).normal(size=(11, 17))
    assert len(find_duplicates({"a": small}, {"b": np.rot90(small)})) == 1
    flat = np.full((40, 40), 0.1)
    assert not find_duplicates({"a": flat}, {"b": flat})
    assert not find_duplicates({}, {"b": small})


@pytest.mark.skipif(
    not (DATA / "biosr_mt").is_dir(), reason="needs the BioSR pairs in ../shared/data/biosr_mt"
)
def test_no_false_alarm_on_biosr() -> None:
    paths = sorted((DATA / "biosr_mt" / "hr").iterdir())
    images = {path.name: read_image(path).pixels[0, 0] for path in paths}
    found = find_duplicates(images, images)
    assert sorted(pair.first for pair in found) == sorted(images)
    assert all(pair.first == pair.second for pair in found)
    small = np.stack([thumbnail(image).ravel() for image in images.values()])
    alike = small @ small.T - np.eye(len(small))
    assert alike.max() < ALIKE - 0.4  # measured: 0.32, in the best orientation
