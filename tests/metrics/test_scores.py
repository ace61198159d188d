"""Scores against values worked by hand and against scikit-image, SciPy and Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from w2s_export.metrics.scores import bicubic, fit_intensity, score


@pytest.fixture
def target() -> np.ndarray:
    return np.random.default_rng(0).gamma(2.0, 10.0, (64, 48))


def test_gain_and_offset_cost_nothing(target: np.ndarray) -> None:
    scores = score(0.01 * target - 3, target)
    assert scores["psnr_db"] > 200
    assert scores["ssim"] == pytest.approx(1, abs=1e-9)


def test_psnr_by_hand_and_against_scikit_image(target: np.ndarray) -> None:
    noisy = target + np.random.default_rng(1).normal(0, 3, target.shape)
    slope, offset = np.polyfit(noisy.ravel(), target.ravel(), 1)
    fitted = slope * noisy + offset
    low, high = np.percentile(target, [0.1, 99.9])
    expected = peak_signal_noise_ratio(target, fitted, data_range=high - low)
    scores = score(noisy, target)
    assert scores["psnr_db"] == pytest.approx(expected, abs=1e-9)
    rmse = np.sqrt(((fitted - target) ** 2).mean())
    assert scores["nrmse"] == pytest.approx(rmse / (high - low), rel=1e-9)


def test_blur_costs_resolution(target: np.ndarray) -> None:
    from scipy.ndimage import gaussian_filter

    # A Gaussian of σ px passes half the amplitude at √(ln 2 / 2) / (π σ); correlation alone does
    # not see that, so the detail it loses is replaced by noise.
    noise = np.random.default_rng(2).normal(0, 5, target.shape)
    sharp, blurred = score(target, target), score(gaussian_filter(target, 2) + noise, target)
    assert sharp["resolution_px"] == 2
    assert 4 < blurred["resolution_px"] < 20


def test_a_flat_image_fits_the_mean(target: np.ndarray) -> None:
    np.testing.assert_allclose(fit_intensity(np.ones_like(target), target), target.mean())


def test_bicubic_keeps_a_parabola_and_the_pixel_grid() -> None:
    # Keys's kernel reproduces second-degree polynomials; HR pixel i is centred at (i + ½)/2 − ½.
    x = np.arange(12.0)
    image = x[:, None] ** 2 + 3 * x[None, :]
    fine = (np.arange(24) + 0.5) / 2 - 0.5
    expected = fine[:, None] ** 2 + 3 * fine[None, :]
    np.testing.assert_allclose(bicubic(image, 2)[4:-4, 4:-4], expected[4:-4, 4:-4], atol=1e-9)


def test_bicubic_is_pillows_away_from_the_border(target: np.ndarray) -> None:
    from PIL import Image

    image = target.astype(np.float32)
    # Pillow's bicubic has a = −½ too.
    pillow = np.asarray(Image.fromarray(image).resize((96, 128), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(bicubic(image, 2)[4:-4, 4:-4], pillow[4:-4, 4:-4], atol=1e-4)
