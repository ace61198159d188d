"""Networks that do not restore are found out, those that do are left in peace."""

from __future__ import annotations

import numpy as np
import pytest

from w2s_export.metrics.sanity import correlation_with_input, sanity_warnings
from w2s_export.metrics.scores import bicubic
from w2s_export.simulation.fields import SimulationConfig, simulate_pair


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    low, high = simulate_pair(SimulationConfig(height=48, width=40), 1)
    return low[None], high[None]


def test_the_target_itself_raises_no_doubt(pair: tuple[np.ndarray, np.ndarray]) -> None:
    low, high = pair
    assert sanity_warnings(low, high, high) == []
    assert sanity_warnings(low, 0.001 * high - 7) == []


def test_correlation_is_numpys(pair: tuple[np.ndarray, np.ndarray]) -> None:
    low, high = pair
    expected = np.corrcoef(bicubic(low[0], 2).ravel(), high.ravel())[0, 1]
    assert correlation_with_input(low, high) == pytest.approx(expected)
    colour = np.concatenate([low, low]), np.concatenate([high, high, high])
    assert correlation_with_input(*colour) == pytest.approx(expected)


@pytest.mark.parametrize("made", ["grey", "noise", "inverted", "nearly grey"])
def test_outputs_that_do_not_follow_the_input(
    pair: tuple[np.ndarray, np.ndarray], made: str
) -> None:
    low, high = pair
    output = {
        "grey": np.full(high.shape, 0.3),
        "nearly grey": 0.3 + 1e-9 * high,
        "noise": np.random.default_rng(0).random(high.shape),
        "inverted": -high,
    }[made]
    (warning,) = sanity_warnings(low, output)
    assert "does not follow its input" in warning


def test_one_that_is_no_better_than_bicubic(pair: tuple[np.ndarray, np.ndarray]) -> None:
    low, high = pair
    enlarged = bicubic(low[0], 2)[None]
    noisy = enlarged + np.random.default_rng(0).normal(0, 0.1 * enlarged.std(), enlarged.shape)
    (warning,) = sanity_warnings(low, noisy, high)
    assert "no nearer to its target than bicubic" in warning
    assert sanity_warnings(low, noisy) == []  # without a target nothing is known
