"""The endless stream: what is drawn, the noise it promises, and that each field is one field."""

from __future__ import annotations

import os

import numpy as np
import pytest

from w2s_export.config import PercentileNormalisation
from w2s_export.errors import ConfigError
from w2s_export.simulation.fields import SimulationConfig, detect
from w2s_export.simulation.stream import (
    NOISE,
    W2S_OFFSET,
    W2S_SLOPE,
    SimulatedStream,
    Spread,
    simulated_field,
)
from w2s_export.simulation.workers import FieldPlan, FieldPool

HOW = PercentileNormalisation()


def stream(**values: object) -> SimulatedStream:
    return SimulatedStream.model_validate({"kind": "simulated", "share": 0.5, **values})


def plan(**values: object) -> FieldPlan:
    small = stream(size=16, pool=8, fresh=1.5, **values)
    return FieldPlan(stream=small, seed=3, normalisation=HOW, target_normalisation=HOW)


def test_drawn_values_fill_their_ranges() -> None:
    rng = np.random.default_rng(0)
    drawn = [stream(haze=0.4).draw(rng) for _ in range(600)]
    density = np.log([one.density for one in drawn])
    # By factors: the middle of 0.3 … 3 is √(0.3 · 3), half of the values on either side.
    assert np.median(density) == pytest.approx(np.log(0.9487), abs=0.15)
    assert density.min() == pytest.approx(np.log(0.3), abs=0.05)
    sizes = [one.pixel_size_um for one in drawn]
    assert np.mean(sizes) == pytest.approx(0.07, abs=0.001)
    assert {one.haze for one in drawn} == {0.4}
    assert {one.frames for one in drawn} == {1, 4, 9}
    filaments = np.mean([one.structure == "filaments" for one in drawn])
    assert filaments == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("frames", [1, 4])
def test_w2s_noise_is_what_was_measured(frames: int) -> None:
    """Variance over mean of evenly lit images, scaled so that the brightest is 1 and dark is x₀."""
    camera = NOISE["w2s"]
    dark = -W2S_OFFSET / W2S_SLOPE
    full = camera.photons + camera.background
    config = SimulationConfig(
        background=camera.background, read_noise=0, frames=frames, gain=100, offset=500
    )
    means, variances = [], []
    for part in np.linspace(0, 1, 8):
        light = np.full((300, 300), part * camera.photons)
        counts = detect(config, light, np.random.default_rng(int(100 * part))).astype(float)
        x = dark + (1 - dark) * (counts - 500) / (100 * full)
        means.append(x.mean())
        variances.append(x.var())
    slope, offset = np.polyfit(means, variances, 1)
    assert slope == pytest.approx(0.0322 / frames, rel=0.03)
    assert offset == pytest.approx(-7e-4 / frames, abs=2e-4 / frames)


def test_a_field_depends_on_its_number_and_the_seed_alone() -> None:
    one = stream(size=16)
    low, high = simulated_field(one, 3, 5, HOW, HOW)
    assert (low.shape, high.shape) == ((16, 16, 1), (32, 32, 1))
    assert np.percentile(low, 1) == pytest.approx(0, abs=1e-5)
    assert np.percentile(high, 99.8) == pytest.approx(1, abs=1e-5)
    again, _ = simulated_field(one, 3, 5, HOW, HOW)
    np.testing.assert_array_equal(low, again)
    for seed, number in ((3, 6), (4, 5)):
        assert (simulated_field(one, seed, number, HOW, HOW)[0] != low).any()


def test_processes_make_the_fields_this_one_would_make() -> None:
    here = FieldPool(plan(), 0)
    apart = FieldPool(plan(), 2, ahead=4)
    try:
        assert list(here.window(0)) == list(range(8, 16))
        assert list(here.window(10)) == list(range(23, 31))
        for step, number in ((0, 9), (3, 18), (3, 14)):
            for one, other in zip(here.get(step, number), apart.get(step, number), strict=True):
                np.testing.assert_array_equal(one, other)
    finally:
        here.close()
        apart.close()


def test_fields_without_anything_are_drawn_again_and_then_named() -> None:
    with pytest.raises(ConfigError, match="20 fields in a row show nothing"):
        simulated_field(stream(size=16, density=0.0), 0, 0, HOW, HOW)
    pool = FieldPool(plan(density=0.0), 1)
    with pytest.raises(ConfigError, match="show nothing; raise density"):
        pool.get(0, 8)
    (process,) = pool._processes
    if os.name != "nt":  # what a terminal interrupts are the processes of its session
        assert os.getsid(process.pid) != os.getsid(0)
    pool.close()


def test_ranges_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="low must be below high"):
        Spread(low=2, high=1)
    with pytest.raises(ValueError, match="above 0"):
        Spread(low=0, high=1, by="factors")
    with pytest.raises(ValueError, match="less than or equal to 1.7"):
        stream(numerical_aperture={"low": 1.2, "high": 2.0})
