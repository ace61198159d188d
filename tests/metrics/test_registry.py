"""Metrics are found by looking, and everything that scores has all of them."""

from __future__ import annotations

import numpy as np
import pytest

from w2s_export.metrics.registry import metrics
from w2s_export.metrics.scores import score


def test_a_channels_mean_is_the_score_of_an_image() -> None:
    rng = np.random.default_rng(0)
    target = rng.gamma(2.0, 10.0, (2, 40, 40))
    restored = target + rng.normal(0, 5, target.shape)
    both = score(restored, target)
    each = [score(x, y) for x, y in zip(restored, target, strict=True)]
    for key, value in both.items():
        assert value == pytest.approx((each[0][key] + each[1][key]) / 2)
    assert set(both) == {key for key, one in metrics().items() if not one.needs_features}
    assert set(score(restored, target, only=["ssim"])) == {"ssim"}


@pytest.mark.parametrize("key", metrics())
def test_more_noise_is_worse_by_every_metric(key: str) -> None:
    """Feature vectors here are the pixel and its neighbours."""

    def features(image: np.ndarray) -> list[np.ndarray]:
        return [np.stack([image, np.roll(image, 1, 0), np.roll(image, 1, 1), 1 - image], -1)]

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96] / 6
    target = 50 + 20 * np.sin(x) * np.cos(y) + 10 * np.sin(3 * x) * np.cos(2 * y)
    noise = rng.normal(0, 1, target.shape)
    better, worse = (score(target + s * noise, target, features=features)[key] for s in (2, 20))
    assert (better > worse) == metrics()[key].higher_is_better
    assert better != worse


def test_every_metric_says_what_it_is() -> None:
    for key, one in metrics().items():
        assert one.meaning.endswith("."), key
        assert "bicubic" in one.bicubic_key
    assert metrics()["psnr_db"].bicubic_key == "psnr_bicubic_db"
    assert metrics()["ssim_aligned"].bicubic_key == "ssim_aligned_bicubic"
