"""Expected values: by hand, by NumPy, and by bioimageio.core running the rdf step itself."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from w2s_export.config import (
    FixedMeanNormalisation,
    FixedRangeNormalisation,
    NoNormalisation,
    Normalisation,
    PercentileNormalisation,
    ZeroMeanNormalisation,
)
from w2s_export.data.normalise import (
    gain_and_offset,
    normalise,
    parse_normalisation,
    processing_04,
    processing_05,
)
from w2s_export.errors import ConfigError, FlatImageError, ImageError

# Both sides end in float32, whose rounding is 6e-8 of a value around 1. Measured over the offsets
# below: 6e-8. Computed as gain · x + offset in float32 it was 8e-5 on an offset of 60000.
TOLERANCE = 1e-6


def run_in_core(steps: list[dict[str, Any]], image: np.ndarray) -> np.ndarray:
    """Run steps one after the other."""
    for step in steps:
        image = run_step_in_core(step, image)
    return image


def run_step_in_core(step: dict[str, Any], image: np.ndarray) -> np.ndarray:
    """Validate the step with bioimageio.spec, run it with bioimageio.core on (C, H, W)."""
    core = pytest.importorskip("bioimageio.core.proc_ops")
    from bioimageio.core.common import MemberId
    from bioimageio.core.sample import Sample
    from bioimageio.core.stat_calculators import compute_measures
    from bioimageio.core.tensor import Tensor
    from bioimageio.spec.model import v0_4, v0_5

    spec = v0_5 if "id" in step else v0_4
    name = step["id"] if "id" in step else step["name"]
    description, operator = {
        "scale_range": (spec.ScaleRangeDescr, core.ScaleRange),
        "scale_linear": (spec.ScaleLinearDescr, core.ScaleLinear),
        "zero_mean_unit_variance": (
            spec.ZeroMeanUnitVarianceDescr,
            core.ZeroMeanUnitVariance,
        ),
        "clip": (spec.ClipDescr, core.Clip),
    }[name]
    member = MemberId("input")
    operation = operator.from_proc_descr(description.model_validate(step), member)
    tensor = Tensor.from_numpy(image[None].astype(np.float32), dims=("batch", "channel", "y", "x"))
    sample = Sample(members={member: tensor}, stat={}, id="sample")
    sample.stat.update(compute_measures(operation.required_measures, [sample]))
    operation(sample)
    return np.asarray(sample.members[member].data)[0]


def counts(offset: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    shape = (channels, 31, 46)
    return (offset + np.random.default_rng(seed).poisson(300, shape)).astype(np.uint16)


def test_percentiles_by_hand() -> None:
    # 0 … 100 has its p-th percentile at p: (x − 10) / (90 − 10 + eps)
    image = np.arange(101, dtype=np.uint8)
    got = normalise(image, PercentileNormalisation(low=10, high=90))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, (np.arange(101) - 10) / 80.000001, rtol=1e-7)


def test_percentiles_interpolate() -> None:
    # four values: the 50th percentile lies half way between the second and the third
    got = normalise(np.array([0.0, 1, 3, 8]), PercentileNormalisation(low=50, high=100))
    np.testing.assert_allclose(got, np.array([-2.0, -1, 1, 6]) / 6.000001, rtol=1e-7)


def test_fixed_range_by_hand() -> None:
    got = normalise(
        np.array([100, 300, 500], np.uint16), FixedRangeNormalisation(low=100, high=300)
    )
    np.testing.assert_array_equal(got, np.array([0, 1, 2], np.float32))
    assert gain_and_offset(FixedRangeNormalisation(low=100, high=300)) == (0.005, -0.5)


def test_none_only_converts() -> None:
    image = counts(100)
    np.testing.assert_array_equal(normalise(image, None), image.astype(np.float32))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("offset", [0, 100, 10_000, 60_000])
@pytest.mark.parametrize(
    "how",
    [
        PercentileNormalisation(),
        PercentileNormalisation(low=1, high=99.8),
        PercentileNormalisation(low=0, high=100),
        FixedRangeNormalisation(),
        FixedRangeNormalisation(low=-5, high=65535),
        FixedMeanNormalisation(mean=312.5, std=41),
        ZeroMeanNormalisation(),
        PercentileNormalisation(low=2, high=99, clip=(0, 1)),
        ZeroMeanNormalisation(clip=(-1.5, 2)),
    ],
    ids=str,
)
def test_core_normalises_alike(how: Normalisation, offset: int, version: str) -> None:
    image = counts(offset, channels=2)
    steps = processing_05(how) if version == "0.5" else processing_04(how)
    expected = run_in_core(steps, image)
    scale = max(1.0, float(np.abs(expected).max()))
    tolerance = TOLERANCE * scale
    if isinstance(how, ZeroMeanNormalisation):  # core subtracts a mean that it rounds to float32
        tolerance += float(np.spacing(np.float32(offset + 300))) / float(image.std())
    assert np.abs(normalise(image, how) - expected).max() <= tolerance


@settings(max_examples=40, deadline=None)
@given(
    low=st.floats(0, 40),
    high=st.floats(60, 100),
    offset=st.integers(0, 60_000),
    dtype=st.sampled_from(["uint16", "int32", "float32", "float64"]),
    seed=st.integers(0, 99),
)
def test_core_normalises_alike_at_any_percentile(
    low: float, high: float, offset: int, dtype: str, seed: int
) -> None:
    how = PercentileNormalisation(low=low, high=high)
    image = counts(offset, seed=seed).astype(dtype)
    expected = run_in_core(processing_05(how), image)
    scale = max(1.0, float(np.abs(expected).max()))
    assert np.abs(normalise(image, how) - expected).max() <= TOLERANCE * scale


@settings(max_examples=40, deadline=None)
@given(gain=st.floats(1, 100), offset=st.integers(0, 5000))
def test_percentiles_forget_gain_and_offset(gain: float, offset: int) -> None:
    image = counts(0).astype(np.float64)
    how = PercentileNormalisation()
    # float32 holds 5300 to ±2.4e-4, 2e-6 of the smallest range, 107; eps adds less
    np.testing.assert_allclose(
        normalise(gain * image + offset, how), normalise(image, how), atol=1e-5
    )


def test_means_by_hand() -> None:
    # 1, 3, 5, 7 have the mean 4 and the deviation √5
    got = normalise(np.array([1.0, 3, 5, 7]), ZeroMeanNormalisation())
    np.testing.assert_allclose(got, np.array([-3, -1, 1, 3]) / (5**0.5 + 1e-6), rtol=1e-7)
    got = normalise(np.array([1.0, 3, 5, 7]), FixedMeanNormalisation(mean=3, std=2, clip=(-1, 1)))
    np.testing.assert_array_equal(got, np.array([-1, 0, 1, 1], np.float32))


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("percentile:1:99.8", PercentileNormalisation(low=1, high=99.8)),
        ("percentile:3:99:clip", PercentileNormalisation(low=3, high=99, clip=(0, 1))),
        ("range:0:65535", FixedRangeNormalisation(low=0, high=65535)),
        ("mean-std:120.5:33", FixedMeanNormalisation(mean=120.5, std=33)),
        ("mean-std:1,2.5:3,4", FixedMeanNormalisation(mean=(1, 2.5), std=(3, 4))),
        ("mean-std:1,2,3:4", FixedMeanNormalisation(mean=(1, 2, 3), std=4)),
        ("zero-mean", ZeroMeanNormalisation()),
        ("zero-mean:clip:-3:3", ZeroMeanNormalisation(clip=(-3, 3))),
        ("none", NoNormalisation()),
        ("clip:0:255", NoNormalisation(clip=(0, 255))),
    ],
)
def test_what_a_command_line_says(text: str, how: Normalisation) -> None:
    assert parse_normalisation(text) == how


@pytest.mark.parametrize(
    "text",
    [
        "",
        "percent:1:2",
        "mean-std:1,2:3,4,5",
        "mean-std:1,2:3,0",
        "range:1,2:3",
        "percentile:1",
        "mean-std:3:0",
        "zero-mean:1",
        "range:5:1",
        "none:clip:1",
    ],
)
def test_what_a_command_line_cannot_say(text: str) -> None:
    with pytest.raises(ConfigError, match="--normalisation"):
        parse_normalisation(text)


def test_numbers_for_each_channel() -> None:
    image = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    how = FixedMeanNormalisation(mean=(5, 10), std=4, clip=(-1, 2))
    expected = np.stack([(image[0] - 5.0) / 4, (image[1] - 10.0) / 4]).clip(-1, 2)
    np.testing.assert_allclose(normalise(image, how), expected, rtol=1e-6)
    with pytest.raises(ConfigError, match="numbers for 2 channels, the image is"):
        normalise(image[:1], how)
    with pytest.raises(ConfigError, match="part of the network"):
        processing_05(how)


@pytest.mark.parametrize("value", [0, 7, 1e5])
@pytest.mark.parametrize("dtype", [np.uint32, np.float32])
def test_flat_images(value: float, dtype: type) -> None:
    for how in (PercentileNormalisation(), ZeroMeanNormalisation()):
        with pytest.raises(FlatImageError, match=f"{value:g}"):
            normalise(np.full((8, 8), value, dtype), how)


def test_one_bright_pixel_is_still_flat() -> None:
    image = np.zeros((64, 64), np.uint16)
    image[3, 3] = 900
    with pytest.raises(FlatImageError):
        normalise(image, PercentileNormalisation())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("how", [None, PercentileNormalisation(), FixedRangeNormalisation()])
def test_pixels_that_are_no_numbers(bad: float, how: Normalisation | None) -> None:
    image = np.arange(64.0).reshape(8, 8)
    image[2, 3] = image[5, 5] = bad
    with pytest.raises(ImageError, match="2 NaN or infinite"):
        normalise(image, how)


def test_the_input_stays_untouched() -> None:
    image = counts(100).astype(np.float32)
    before = image.copy()
    normalise(image, PercentileNormalisation())[:] = 0
    normalise(image, None)[:] = 0
    np.testing.assert_array_equal(image, before)
