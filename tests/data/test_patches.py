"""Patches: the grid by hand, pairs that stay pairs, draws that depend on (seed, step) alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2s_export.data.pairs import Pair
from w2s_export.data.patches import PatchSampler, augment, grid
from w2s_export.errors import ImageError


def _pair(name: str, height: int, width: int, first: int = 0) -> Pair:
    low = np.arange(first, first + height * width, dtype=np.float32).reshape(height, width, 1)
    return Pair(name, low, low.repeat(2, 0).repeat(2, 1))


def test_half_overlapping_grid_by_hand() -> None:
    assert grid(128, 64) == [0, 32, 64]
    assert grid(100, 64) == [0, 32, 36]
    assert grid(64, 64) == [0]


def test_an_epoch_shows_every_patch_once() -> None:
    sampler = PatchSampler([_pair("a", 16, 16), _pair("b", 16, 16, 1000)], 8, 3, 2, seed=1)
    assert sampler.steps_per_epoch == 6  # 2 images of 3 × 3 patches in batches of 3
    seen = [patch.min() for step in range(6) for patch in sampler.batch(step).low]
    expected = [f + 16 * t + x for f in (0, 1000) for t in (0, 4, 8) for x in (0, 4, 8)]
    assert sorted(seen) == expected


def test_pairs_stay_registered_through_augmentation() -> None:
    sampler = PatchSampler([_pair("a", 20, 31)], 8, 5, 2, seed=2)
    for step in range(8):
        batch = sampler.batch(step)
        assert batch.low.shape == (5, 8, 8, 1)
        np.testing.assert_array_equal(batch.low.repeat(2, 1).repeat(2, 2), batch.high)


def test_a_step_depends_on_seed_and_step_alone() -> None:
    pairs = [_pair("a", 20, 31)]
    first = PatchSampler(pairs, 8, 4, 2, seed=3)
    for step in range(5):
        first.batch(step)
    late = PatchSampler(pairs, 8, 4, 2, seed=3).batch(5)
    np.testing.assert_array_equal(first.batch(5).low, late.low)
    assert not np.array_equal(late.low, PatchSampler(pairs, 8, 4, 2, seed=4).batch(5).low)


def test_augmentation_reaches_all_eight_orientations_at_the_stated_rates() -> None:
    image = np.arange(4, dtype=np.float32).reshape(2, 2, 1)
    rng = np.random.default_rng(0)
    draws = [augment(image, image, rng)[0].tobytes() for _ in range(8000)]
    rates = {d: draws.count(d) / 8000 for d in set(draws)}
    assert len(rates) == 8
    # Identity: ½ untouched + ½·⅛; every other orientation ½·⅛. Standard error 0.006 and 0.003.
    assert rates[image.tobytes()] == pytest.approx(9 / 16, abs=0.02)
    others = [rate for d, rate in rates.items() if d != image.tobytes()]
    assert others == pytest.approx([1 / 16] * 7, abs=0.012)


@given(length=st.integers(1, 300), patch=st.integers(1, 300))
def test_grid_covers_everything_inside(length: int, patch: int) -> None:
    if patch > length:
        return
    starts = grid(length, patch)
    covered = set().union(*(range(s, s + patch) for s in starts))
    assert covered == set(range(length))


def test_a_patch_larger_than_an_image_is_named() -> None:
    with pytest.raises(ImageError, match="'b' is 7×40, smaller than the patch of 8"):
        PatchSampler([_pair("a", 20, 20), _pair("b", 7, 40)], 8, 1, 2, seed=0)
    with pytest.raises(ImageError, match="no training pairs"):
        PatchSampler([], 8, 1, 2, seed=0)
