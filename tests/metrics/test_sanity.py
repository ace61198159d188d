"""Networks that do not restore are found out, those that do are left in peace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from w2s_export.config import GeneratorConfig, PercentileNormalisation
from w2s_export.data.normalise import normalise
from w2s_export.metrics.sanity import contrast, correlation_with_input, details, sanity_warnings
from w2s_export.metrics.scores import bicubic
from w2s_export.networks.rrdbnet import build_generator, set_weights
from w2s_export.simulation.fields import SimulationConfig, simulate_pair
from w2s_export.sources.npz_checkpoint import load_own

MODELS = Path(__file__).resolve().parents[2] / "models"


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


@pytest.mark.parametrize("seed", range(4))
def test_random_weights_are_found_out(seed: int) -> None:
    config = GeneratorConfig(nf=8, gc=4, nb=1)
    image, _ = simulate_pair(SimulationConfig(height=64, width=64), 7)
    low = normalise(image[None], PercentileNormalisation())
    output = np.moveaxis(np.asarray(build_generator(config, seed)(low[..., None]))[0], -1, 0)
    (warning,) = sanity_warnings(low, output)
    assert "does not follow its input" in warning


@pytest.mark.parametrize("photons", [160, 20])
@pytest.mark.parametrize("name", ["wf2sim-microtubules-s", "wf2sim-microtubules-s-gan"])
def test_trained_weights_raise_no_doubt(name: str, photons: float) -> None:
    stored = load_own(MODELS / name / "weights.npz")
    optics = SimulationConfig(height=64, width=64, photons=photons, frames=9 if photons > 20 else 1)
    image, _ = simulate_pair(optics, 7)
    low = normalise(image[None], stored.normalisation)
    model = build_generator(stored.config)
    set_weights(model, stored.config, stored.weights)
    output = np.moveaxis(np.asarray(model(low[..., None]))[0], -1, 0)
    assert sanity_warnings(low, output) == []
    assert sanity_warnings(low, 255 * output + 7) == []  # other units


def test_details_and_contrast_by_hand() -> None:
    """A wave of 6 pixels is a detail, one of 20 is none."""
    y, x = np.mgrid[:60, :60]
    coarse, fine = np.cos(2 * np.pi * x / 20), np.cos(2 * np.pi * y / 6)
    assert details((coarse + fine)[None], (coarse - fine)[None]) == pytest.approx(-1, abs=0.01)
    assert details((coarse + fine)[None], (fine - coarse)[None]) == pytest.approx(1, abs=0.01)
    assert contrast((coarse + fine)[None], 3 - 0.2 * (coarse + fine)[None]) == pytest.approx(-0.2)
    assert details(np.ones((1, 3, 3)), np.ones((1, 3, 3))) == 1


def test_one_that_is_no_better_than_bicubic(pair: tuple[np.ndarray, np.ndarray]) -> None:
    low, high = pair
    enlarged = bicubic(low[0], 2)[None]
    noisy = enlarged + np.random.default_rng(0).normal(0, 0.1 * enlarged.std(), enlarged.shape)
    (warning,) = sanity_warnings(low, noisy, high)
    assert "no nearer to its target than bicubic" in warning
    assert sanity_warnings(low, noisy) == []  # without a target nothing is known
