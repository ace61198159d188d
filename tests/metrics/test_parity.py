from __future__ import annotations

import math

import numpy as np
import pytest

from w2s_export.metrics.parity import compare


def test_measures_a_difference_worked_by_hand() -> None:
    expected = np.array([[0.0, 10.0], [4.0, 6.0]], np.float32)
    actual = np.array([[0.0, 10.0], [4.0, 6.5]], np.float32)
    parity = compare("subject", "case", expected, actual)
    assert parity.max_abs == 0.5
    assert parity.max_relative == 0.05  # 0.5 of a range of 10
    # rms = sqrt(0.25 / 4) = 0.25; 20·log10(10 / 0.25) = 20·log10(40) = 32.0412
    assert parity.psnr_db == pytest.approx(32.0412, abs=1e-4)
    assert (parity.subject, parity.case, parity.shape) == ("subject", "case", (2, 2))


def test_equal_images_are_infinitely_close() -> None:
    image = np.full((3, 3), 2.0, np.float32)
    parity = compare("a", "b", image, image.copy())
    assert (parity.max_abs, parity.max_relative, parity.psnr_db) == (0.0, 0.0, math.inf)


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros((1, 2, 2)), np.zeros((2, 2))),
        (np.array([0.0, 1.0]), np.array([0.0, np.nan])),
        (np.array([0.0, np.nan]), np.array([0.0, np.nan])),
        (np.array([0.0, 1.0]), np.array([0.0, np.inf])),
        (np.zeros((0, 2)), np.zeros((0, 2))),
        (np.zeros(2), np.array([0.0, 1e-9])),
    ],
    ids=["shape", "rank", "nan", "nan in both", "infinity", "empty", "flat"],
)
def test_what_cannot_be_compared_is_infinitely_far(
    expected: np.ndarray, actual: np.ndarray
) -> None:
    parity = compare("a", "b", expected, actual)
    assert parity.max_relative == math.inf
    assert parity.psnr_db == -math.inf


def test_large_values_keep_their_digits() -> None:
    # In float32 the difference of these would be rounded; the range is 2.
    expected = np.array([1e6, 1e6 + 2], np.float64)
    parity = compare("a", "b", expected, np.add(expected, [0.0, 1e-6]))
    assert parity.max_relative == pytest.approx(5e-7, rel=1e-3)
