"""Registration by a part of a pixel, against shifts that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as moved

from w2s_export.metrics.registered.aligned import aligned, shift
from w2s_export.metrics.scores import compared, score


@pytest.fixture
def target() -> np.ndarray:
    return gaussian_filter(np.random.default_rng(0).gamma(2.0, 10.0, (96, 80)), 1.5)


@pytest.mark.parametrize("by", [(0.0, 0.0), (0.4, -0.7), (-1.25, 0.5)])
def test_a_known_shift_is_found_and_undone(target: np.ndarray, by: tuple[float, float]) -> None:
    seen = moved(target, by, order=5, mode="mirror")
    images = compared(seen, target)
    np.testing.assert_allclose(shift(images), np.negative(by), atol=0.051)
    scores = score(seen, target)
    assert scores["psnr_aligned_db"] > 36
    assert scores["ssim_aligned"] > 0.99
    if any(by):
        assert scores["psnr_db"] < 30


def test_what_is_no_misregistration_is_not_undone(target: np.ndarray) -> None:
    seen = moved(target, (0, 9), order=5, mode="mirror")
    scores = score(seen, target)
    assert scores["psnr_aligned_db"] == pytest.approx(scores["psnr_db"], abs=0.5)


def test_the_range_stays_the_whole_targets(target: np.ndarray) -> None:
    images = compared(target, target)
    inner = aligned(images)
    assert inner.width == images.width
    assert inner.target.shape == (92, 76)
