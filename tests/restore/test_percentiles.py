"""Streamed percentiles against numpy's on the whole image: the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from w2s_export.errors import ImageError
from w2s_export.restore.percentiles import exact_percentiles

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)
DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float64"]


def streamed(pixels: np.ndarray, percents: list[float], parts: int = 3) -> list[float]:
    return exact_percentiles(lambda: np.array_split(pixels.ravel(), parts), percents)


@settings(max_examples=150, deadline=None)
@given(
    arrays(np.float32, st.integers(1, 200), elements=FLOATS),
    st.lists(st.floats(0, 100), min_size=1, max_size=4),
    st.integers(1, 5),
)
def test_any_floats(pixels: np.ndarray, percents: list[float], parts: int) -> None:
    expected = np.percentile(pixels.astype(np.float64), percents)
    np.testing.assert_array_equal(streamed(pixels, percents, parts), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_stored_type(dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = (rng.normal(40, 30, 5000 + seed) * (1 if "8" in dtype else 100)).astype(dtype)
    percents = [0, 1, 33.3, 50, 99.8, 100]
    expected = np.percentile(pixels.astype(np.float32).astype(np.float64), percents)
    np.testing.assert_array_equal(streamed(pixels, percents), expected)


def test_values_that_share_their_upper_half() -> None:
    # 1 + k/2^20 differ in the lower 16 bits alone: the second reading has to tell them apart
    pixels = (1 + np.arange(999)[::-1] / 2**20).astype(np.float32)
    np.testing.assert_array_equal(streamed(pixels, [10, 50]), np.percentile(pixels * 1.0, [10, 50]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_unusable_pixels_are_counted(bad: float) -> None:
    pixels = np.ones(100, np.float32)
    pixels[[3, 70]] = bad
    with pytest.raises(ImageError, match="2 NaN or infinite"):
        streamed(pixels, [1])
