"""Ring correlation against sums written out, hand-worked cases and band limits that are known."""

from __future__ import annotations

import numpy as np
import pytest

from w2s_export.metrics.registered.resolution import AGREES, resolution_px, ring_correlation

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("shape", [(8, 8), (9, 12), (12, 7)])
def test_it_is_the_sum_over_all_frequencies(shape: tuple[int, int]) -> None:
    a, b = RNG.normal(size=(2, *shape))
    f, g = np.fft.fft2(a), np.fft.fft2(b)
    shorter = min(shape)
    sums = np.zeros((3, shorter // 2 + 1))
    for y, row in enumerate(np.fft.fftfreq(shape[0])):
        for x, column in enumerate(np.fft.fftfreq(shape[1])):
            ring = round(float(np.hypot(row, column)) * shorter)
            if 0 < ring <= shorter // 2:
                cross = f[y, x] * np.conj(g[y, x])
                sums[:, ring] += (cross.real, abs(f[y, x]) ** 2, abs(g[y, x]) ** 2)
    expected = sums[0, 1:] / np.sqrt(sums[1, 1:] * sums[2, 1:])
    curve = ring_correlation(a, b)
    np.testing.assert_allclose(curve.correlation, expected, atol=1e-12)
    np.testing.assert_allclose(curve.frequency, np.arange(1, shorter // 2 + 1) / shorter)


def test_by_hand() -> None:
    """Ring 3 holds two waves of one strength in `a`, one of them in `b`: 1 / √(2 · 1)."""
    y, x = np.mgrid[:16, :16]
    along, across = np.cos(2 * np.pi * 3 * x / 16), np.cos(2 * np.pi * 3 * y / 16)
    correlation = ring_correlation(along + across, 7 - 2 * along).correlation
    assert correlation[2] == pytest.approx(-1 / np.sqrt(2))
    # The other rings hold rounding alone.
    assert ring_correlation(along, across).correlation[2] == pytest.approx(0, abs=1e-12)


def test_noise_as_strong_as_the_signal_costs_what_it_should() -> None:
    signal, noise = RNG.normal(size=(2, 256, 256))
    curve = ring_correlation(signal + noise, signal)
    # 1 / √(1 + 1) of every ring; a ring of n coefficients strays by about √(0.5 / n), n ≥ 100 here
    np.testing.assert_allclose(curve.correlation[20:].mean(), np.sqrt(0.5), atol=0.01)
    assert np.abs(curve.correlation[20:] - np.sqrt(0.5)).max() < 0.25


@pytest.mark.parametrize("period", [2.5, 4, 8])
def test_a_band_limit_is_found(period: float) -> None:
    """Shared detail down to a period, detail of its own beyond."""
    shape = (160, 192)
    target, own = RNG.normal(size=(2, *shape))
    radius = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    mixed = np.where(radius < 1 / period, np.fft.rfft2(target), np.fft.rfft2(own))
    restored = np.fft.irfft2(mixed, s=shape)
    # within two rings of 1/160
    assert 1 / resolution_px(restored, target) == pytest.approx(1 / period, abs=2 / 160)
    assert resolution_px(40 * restored + 7, target) == pytest.approx(
        resolution_px(restored, target), rel=1e-9
    )


def test_the_ends() -> None:
    target, other = RNG.normal(size=(2, 48, 64))
    assert resolution_px(target, target) == 2
    assert resolution_px(-target, target) == 48
    assert resolution_px(np.ones((48, 64)), target) == 48
    with pytest.raises(ValueError, match="one shape"):
        ring_correlation(target, other[:40])


def test_the_threshold_is_the_one_seventh_of_two_noisy_images() -> None:
    """Noise 6 times the signal: two images correlate 1/(1+6) = 1/7, their mean 1/√(1+3) = ½."""
    signal, first, second = RNG.normal(size=(3, 512, 512))
    images = signal + np.sqrt(6) * first, signal + np.sqrt(6) * second
    between = ring_correlation(*images).correlation[30:].mean()
    with_truth = ring_correlation((images[0] + images[1]) / 2, signal).correlation[30:].mean()
    # means over 226 rings of 200 or more coefficients: strays of 1/√(2·10⁵) = 0.002
    assert between == pytest.approx(1 / 7, abs=0.01)
    assert with_truth == pytest.approx(AGREES, abs=0.01)
