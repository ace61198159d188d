"""Expected values by hand, from the specification's formulas."""

from __future__ import annotations

import numpy as np
import pytest

from w2s_export.errors import PackageError
from w2s_export.verify.clients.core_processing import preprocess

COUNTS = np.arange(101, dtype=np.float32).reshape(1, 1, 1, 101)


def run(image, *steps):
    return preprocess(image, {"preprocessing": list(steps)})


def test_nothing_to_do():
    np.testing.assert_array_equal(preprocess(COUNTS, {}), COUNTS)


@pytest.mark.parametrize(
    "step",
    [
        {"id": "scale_range", "kwargs": {"axes": ["channel", "y", "x"]}},
        {"name": "scale_range", "kwargs": {"axes": "cyx", "mode": "per_sample"}},
    ],
)
def test_scale_range(step):
    # of 0…100 the 10 % and 90 % percentiles are 10 and 90; 50 is in the middle
    step["kwargs"] |= {"min_percentile": 10, "max_percentile": 90, "eps": 1e-6}
    scaled = run(COUNTS, step)[0, 0, 0]
    np.testing.assert_allclose(scaled[[10, 50, 90]], [0, 0.5, 1], atol=1e-7)


def test_scale_range_keeps_images_of_a_batch_apart():
    batch = np.concatenate([COUNTS, 1000 + 7 * COUNTS])
    first, second = run(batch, {"id": "scale_range", "kwargs": {"axes": ["channel", "y", "x"]}})
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_scale_linear():
    step = {"id": "scale_linear", "kwargs": {"gain": 0.5, "offset": -1}}
    assert run(COUNTS, step)[0, 0, 0, 10] == 4


def test_scale_linear_for_each_channel():
    step = {"id": "scale_linear", "kwargs": {"gain": [1, 10], "offset": [0, 1], "axis": "channel"}}
    image = np.ones((1, 2, 1, 1), np.float32)
    assert run(image, step).ravel().tolist() == [1, 11]


def test_zero_mean():
    result = run(COUNTS, {"id": "zero_mean_unit_variance"})
    assert abs(result.mean()) < 1e-6
    assert abs(result.std() - 1) < 1e-6


def test_steps_run_in_their_order():
    steps = (
        {"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": 50, "std": 10}},
        {"id": "clip", "kwargs": {"min": -1, "max": 1}},
        {"id": "scale_linear", "kwargs": {"gain": 100}},
        {"id": "sigmoid"},
        {"id": "binarize", "kwargs": {"threshold": 0.7}},
        {"id": "ensure_dtype", "kwargs": {"dtype": "uint8"}},
    )
    assert run(COUNTS, *steps)[0, 0, 0, [0, 50, 51, 100]].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "step",
    [
        {"id": "magic"},
        {"id": ["scale_range"]},
        "scale_range",
        {"id": "scale_range", "kwargs": {"axes": ["t"]}},
        {"id": "scale_range", "kwargs": {"min_percentile": 200}},
        {"id": "clip", "kwargs": {}},
    ],
)
def test_what_cannot_be_run_is_refused(step):
    with pytest.raises(PackageError, match="cannot be run"):
        run(COUNTS, step)
