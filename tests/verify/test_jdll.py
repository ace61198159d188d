"""The model of DeepImageJ 3.1, against what was seen of the real one and worked by hand.

"Seen" are facts observed by running JDLL 0.6.1; "Java" are sums done by hand along its source.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve

from tests import factories
from w2s_export.errors import PackageError
from w2s_export.export import default_weights
from w2s_export.network import HaloMeasurement
from w2s_export.rdf.description import Sample
from w2s_export.rdf.v04 import rdf_04
from w2s_export.rdf.v05 import rdf_05
from w2s_export.sources.load import load_network
from w2s_export.verify.clients.jdll import normalise_as_jdll, plan, restore
from w2s_export.verify.clients.jdll_axes import Failure, JdllError

from .conftest import MISSING, put_at

HALO, MINIMUM = 14, 29  # of the default model, measured; the enlargement is 2


def default_rdfs(tmp: Any) -> dict[str, dict[str, Any]]:
    """Both descriptions of the default model; the weights in them are any bytes."""
    network = load_network(default_weights())
    description = factories.description(
        network,
        factories.any_artifacts(tmp / "weights"),
        Sample(np.zeros((1, 64, 64)), np.zeros((1, 128, 128), np.float32), None, ""),
        name="the-default",
        halo=HaloMeasurement(HALO, MINIMUM, 1e-4, ()),
    )
    hashes = defaultdict(str)
    return {"0.4": rdf_04(description, hashes), "0.5": rdf_05(description, hashes)}


@pytest.fixture(scope="module")
def defaults(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return default_rdfs(tmp_path_factory.mktemp("default"))


def dynamic_05(**changes: Any) -> dict[str, Any]:
    """A format 0.5 description of y and x alone, enlarging twice as JDLL reads it."""
    fields = {"min": 8, "step": 1, "in": 4.0, "out": 2.0, "halo": 4, "offset": 0} | changes
    size = {"min": fields["min"], "step": fields["step"]}
    referring = {"tensor_id": "in", "offset": fields["offset"]}
    fixed = [{"type": "batch"}, {"type": "channel", "channel_names": ["c"]}]
    space = {"type": "space"}
    return {
        "format_version": "0.5.10",
        "inputs": [
            {
                "id": "in",
                "axes": fixed
                + [{**space, "id": a, "size": size, "scale": fields["in"]} for a in "yx"],
            }
        ],
        "outputs": [
            {
                "id": "out",
                "axes": fixed
                + [
                    {
                        **space,
                        "id": a,
                        "size": {**referring, "axis_id": a},
                        "scale": fields["out"],
                        "halo": fields["halo"],
                    }
                    for a in "yx"
                ],
            }
        ],
    }


def shape_04(source: Any, target: Any, halo: int = 0, **config: Any) -> dict[str, Any]:
    """A format 0.4 description with these shapes, and a halo on y and x."""
    return {
        "format_version": "0.4.10",
        "inputs": [{"name": "in", "axes": "bcyx", "shape": source}],
        "outputs": [{"name": "out", "axes": "bcyx", "shape": target, "halo": [0, 0, halo, halo]}],
        **({"config": {"deepimagej": config}} if config else {}),
    }


TWICE = {"reference_tensor": "in", "scale": [1, 1, 2, 2], "offset": [0, 0, 0, 0]}


def fixed_04(tile: int, halo: int = 0) -> dict[str, Any]:
    return shape_04([1, 1, tile, tile], TWICE, halo)


def enlarge(tile: np.ndarray) -> np.ndarray:
    return tile.repeat(2, axis=2).repeat(2, axis=3)


KERNEL = np.array([[1.0, 2.0, 0.5], [3.0, 4.0, -1.0], [0.25, -2.0, 1.5]])


def two_convolutions(tile: np.ndarray) -> np.ndarray:
    """A network that looks two pixels far: zeros around a tile, as convolutions pad."""
    kernel = KERNEL[np.newaxis, np.newaxis]
    return enlarge(convolve(convolve(tile, kernel, mode="constant"), kernel, mode="constant"))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).random((1, 1, height, width), np.float32)


# ---- whether it plans, and the size of the output


@settings(max_examples=300, deadline=None)
@given(st.integers(MINIMUM, 7000), st.integers(MINIMUM, 7000), st.sampled_from(["0.4", "0.5"]))
@example(MINIMUM, MINIMUM, "0.4")
@example(MINIMUM, 7000, "0.5")
@example(7000, 7000, "0.4")
def test_the_default_plans_at_every_accepted_size(
    defaults: dict[str, Any], height: int, width: int, version: str
) -> None:
    planned = plan(defaults[version], (1, 1, height, width))
    assert planned.output_shape == (1, 1, 2 * height, 2 * width)
    assert planned.tiles == 1  # seen: one tile covers the whole image
    assert tuple(axis.tile for axis in planned.input) == (1, 1, height + 2 * HALO, width + 2 * HALO)
    for axis, cut in zip("bcyx", planned.output, strict=True):
        halo = 2 * HALO if axis in "yx" else 0
        assert (cut.before, cut.after, cut.kept) == (halo, halo, cut.size)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_default_below_its_minimum(defaults: dict[str, Any], version: str) -> None:
    # Java: nothing asks for the minimum. 14 + 28 = 42 are three times 14; 13 + 28 = 41, less one
    # step 40, are more than three times 13.
    assert plan(defaults[version], (1, 1, 14, 14)).output_shape == (1, 1, 28, 28)
    for size in (10, 13):
        with pytest.raises(JdllError, match="under a third") as caught:
            plan(defaults[version], (1, 1, size, size))
        assert caught.value.failure is Failure.throws


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_beyond_50_megapixels_it_hangs(defaults: dict[str, Any], version: str) -> None:
    # Seen: 7000² plans, 8000² hangs. Java: (7066 + 28)² = 50,324,836 ≤ 3 · 4096² < (7067 + 28)².
    assert plan(defaults[version], (1, 1, 7066, 7066)).tiles == 1
    for size in (7067, 8000):
        with pytest.raises(JdllError, match="never shrinks") as caught:
            plan(defaults[version], (1, 1, size, size))
        assert caught.value.failure is Failure.hangs


def test_an_output_above_2_gigabytes_throws() -> None:
    # Java: 4 bytes · 4² · n² > 2³¹ − 1 from n = 5793 on, while the input is small enough.
    quadruple = {**TWICE, "scale": [1, 1, 4, 4]}
    rdf = shape_04({"min": [1, 1, 8, 8], "step": [0, 0, 1, 1]}, quadruple)
    assert plan(rdf, (1, 1, 5792, 5792)).output_shape[2:] == (23168, 23168)
    with pytest.raises(JdllError) as caught:
        plan(rdf, (1, 1, 5793, 5793))
    assert caught.value.failure is Failure.throws


def test_a_planner_that_shrinks_throws_afterwards() -> None:
    # Java: the first axis is y here, so the loop ends, and then reads a list that is null.
    rdf = shape_04({"min": [8, 8], "step": [1, 1]}, {**TWICE, "scale": [2, 2], "offset": [0, 0]})
    rdf["inputs"][0]["axes"] = rdf["outputs"][0]["axes"] = "yx"
    rdf["outputs"][0]["halo"] = [0, 0]
    with pytest.raises(JdllError) as caught:
        plan(rdf, (8000, 8000))
    assert caught.value.failure is Failure.throws


def test_the_output_axis_scale_multiplies() -> None:
    # Seen: a spec-correct 1.0 → 0.5 plans half the size; 4 → 2 plans twice.
    spec = dynamic_05(**{"in": 1.0, "out": 0.5, "halo": 0})
    assert plan(spec, (1, 1, 40, 44)).output_shape[2:] == (20, 22)
    assert plan(dynamic_05(), (1, 1, 40, 44)).output_shape[2:] == (80, 88)


def test_sizes_are_cut_to_whole_numbers() -> None:
    # 43 · 0.05 = 2.15; and 10 · 2.1 + 2 · 0.7 = 22.4: the offset counts twice.
    assert plan(dynamic_05(out=0.05, halo=0), (1, 1, 43, 43)).output_shape[2:] == (2, 2)
    assert plan(dynamic_05(out=2.1, halo=0, offset=0.7), (1, 1, 10, 10)).output_shape[2:] == (
        22,
        22,
    )


def test_a_spec_correct_scale_throws_when_run() -> None:
    rdf = dynamic_05(**{"in": 1.0, "out": 0.5, "halo": 0})
    with pytest.raises(JdllError, match=r"gives \(1, 1, 80, 80\), planned is \(1, 1, 20, 20\)"):
        restore(rdf, noise(40, 40), enlarge)


@pytest.mark.parametrize(("size", "plans"), [(21, False), (22, True), (64, True), (100, True)])
def test_a_fixed_tile_needs_a_third_of_itself(size: int, plans: bool) -> None:
    # Seen: images under a third of the tile throw. 3 · 21 = 63 < 64.
    if plans:
        assert plan(fixed_04(64), (1, 1, size, size)).output_shape[2:] == (2 * size, 2 * size)
    else:
        with pytest.raises(JdllError, match="under a third"):
            plan(fixed_04(64), (1, 1, size, size))


def test_steps_are_cut_not_rounded() -> None:
    # Java: whole numbers are divided before ceil: (21 + 0) / 4 · 4 = 20, so 21 pixels take 2 tiles.
    rdf = shape_04({"min": [1, 1, 8, 8], "step": [0, 0, 4, 4]}, TWICE)
    planned = plan(rdf, (1, 1, 21, 20))
    assert tuple(axis.tile for axis in planned.input) == (1, 1, 20, 20)
    assert planned.tiles == 2
    assert planned.input[2].start(1) == 1  # the last tile is moved back: 21 − 20


def test_a_minimum_that_is_no_multiple_of_the_step_throws() -> None:
    # Seen: `min` a multiple of `step`. Java: 24 − 10 = 14 is no multiple of 4.
    rdf = shape_04({"min": [1, 1, 10, 10], "step": [0, 0, 4, 4]}, TWICE)
    with pytest.raises(JdllError, match=r"10 \+ n · 4"):
        plan(rdf, (1, 1, 24, 24))
    assert plan(fixed_04(24), (1, 1, 24, 24)).tiles == 1


def test_without_tiling_every_reference_breaks() -> None:
    # Seen: allow_tiling absent or false breaks every model whose output refers to its input.
    shape = {"min": [1, 1, 8, 8], "step": [0, 0, 1, 1]}
    for config in ({"pyramidal_model": False}, {"allow_tiling": False}):
        with pytest.raises(JdllError) as caught:
            plan(shape_04(shape, TWICE, **config), (1, 1, 40, 40))
        assert caught.value.failure is Failure.throws
    assert plan(shape_04(shape, TWICE, allow_tiling=True), (1, 1, 40, 40)).tiles == 1


def test_another_number_of_channels_throws(defaults: dict[str, Any]) -> None:
    with pytest.raises(JdllError, match="3 channels, the network takes 1"):
        plan(defaults["0.5"], (1, 3, 40, 40))


# Many more were asked of the compiled classes: test_jdll_compiled.
DROPPED = {
    "no scale": ("0.4", "outputs.0.shape.scale", MISSING),
    "no reference": ("0.4", "outputs.0.shape.reference_tensor", MISSING),
    "no step": ("0.4", "inputs.0.shape.step", MISSING),
    "an axis without id": ("0.5", "outputs.0.axes.2.id", MISSING),
}


@pytest.mark.parametrize(("version", "path", "value"), DROPPED.values(), ids=DROPPED)
def test_what_cannot_be_read_drops_the_model(
    version: str, path: str, value: Any, tmp_path: Any
) -> None:
    rdf = default_rdfs(tmp_path)[version]
    assert plan(rdf, (1, 1, 40, 40)).tiles == 1
    put_at(rdf, path, value)
    with pytest.raises(JdllError) as caught:
        plan(rdf, (1, 1, 40, 40))
    assert caught.value.failure is Failure.drops


def test_what_is_not_modelled_is_said() -> None:
    rdf = fixed_04(64)
    with pytest.raises(PackageError, match="2 inputs"):
        plan({**rdf, "inputs": rdf["inputs"] * 2}, (1, 1, 64, 64))
    with pytest.raises(PackageError, match="no axes bcyx"):
        plan(rdf, (64, 64))


# ---- the pixels


@pytest.mark.parametrize(("height", "width"), [(29, 29), (40, 33), (14, 50)])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_one_tile_is_the_mirrored_image_cropped(
    defaults: dict[str, Any], version: str, height: int, width: int
) -> None:
    # Seen: mirrored by the halo even where one tile covers the image.
    image = noise(height, width) * 1000
    padding = [(0, 0), (0, 0), (HALO, HALO), (HALO, HALO)]
    padded = np.pad(normalise_as_jdll(image, defaults[version]), padding, "symmetric")
    expected = two_convolutions(padded)[..., 2 * HALO : -2 * HALO, 2 * HALO : -2 * HALO]
    actual = restore(defaults[version], image, two_convolutions)
    np.testing.assert_array_equal(actual, expected)
    plain = two_convolutions(normalise_as_jdll(image, defaults[version]))
    assert abs(actual - plain).max() > 0.1  # only the border, but there
    np.testing.assert_allclose(actual[..., 4:-4, 4:-4], plain[..., 4:-4, 4:-4], rtol=1e-5)


def test_a_tile_of_other_parity_shifts_the_output_by_one() -> None:
    # Seen: when (tile − image) is odd the output is shifted by one pixel.
    for size, shift in ((64, 0), (62, 0), (61, 1), (63, 1)):
        image = noise(size, size)
        result = restore(fixed_04(64), image, enlarge)
        end = 2 * size - shift
        np.testing.assert_array_equal(result[..., shift:, shift:], enlarge(image)[..., :end, :end])
        assert np.array_equal(result, enlarge(image)) == (shift == 0)


@pytest.mark.parametrize(("halo", "seen"), [(0, True), (1, True), (2, False), (3, False)])
def test_too_small_a_halo_leaves_seams(halo: int, seen: bool) -> None:
    # Seen: 4.7 / 1.2 / 0 inside for an input halo of 0 / 1 / 2 on a network of two convolutions.
    image = noise(100, 90)
    result = restore(fixed_04(32, 2 * halo), image, two_convolutions)
    inside = (..., slice(8, -8), slice(8, -8))
    difference = abs(result[inside] - two_convolutions(image)[inside]).max()
    assert (difference > 1) if seen else (difference < 1e-4)


def test_a_halo_of_half_input_pixels_moves_the_image() -> None:
    # Java: an output halo of 3 is an input halo of 1. The tile is 42 wide, its output 84; 3 are cut
    # on each side, so 78 of the 80 pixels are kept, one too far right, and the rest stays 0.
    rdf = shape_04({"min": [1, 1, 8, 8], "step": [0, 0, 1, 1]}, TWICE, halo=3)
    image = noise(40, 40) + 1
    result = restore(rdf, image, enlarge)
    np.testing.assert_array_equal(result[..., :78, :78], enlarge(image)[..., 1:79, 1:79])
    assert not result[..., 78:, :].any()


def test_a_fixed_output_passes_its_halo_to_the_first_axis_only() -> None:
    # Java: the search for halos returns at the first axis that refers to nothing.
    planned = plan(shape_04([1, 1, 32, 32], [1, 1, 64, 64], halo=4), (1, 1, 32, 32))
    assert [axis.count for axis in planned.input] == [1, 1, 2, 1]
    assert [axis.count for axis in planned.output] == [1, 1, 2, 2]


def test_percentiles_are_values_of_the_image() -> None:
    # Java: rank ⌊n · p⌋ of the sorted pixels: of 0…99, 1 % is 1 and 99.8 % is 99.
    rdf = fixed_04(10)
    kwargs = {"min_percentile": 1, "max_percentile": 99.8, "axes": "cyx", "eps": 0.5}
    rdf["inputs"][0]["preprocessing"] = [{"name": "scale_range", "kwargs": kwargs}]
    image = np.arange(100, dtype=np.uint16).reshape(1, 1, 10, 10)
    expected = ((image - 1.0) / (99 - 1 + 0.5)).astype(np.float32)
    np.testing.assert_array_equal(normalise_as_jdll(image, rdf), expected)
    pair = np.concatenate([image, 10 * image])
    np.testing.assert_array_equal(normalise_as_jdll(pair, rdf)[:1], expected)  # one by one


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_its_normalisation_is_near_numpys(defaults: dict[str, Any], version: str) -> None:
    # Seen: nearest rank is within 5e-4 of numpy.
    image = np.random.default_rng(0).poisson(40, (1, 1, 256, 256)).astype(np.uint16)
    how = load_network(default_weights()).normalisation
    low, high = np.percentile(image, [how.low, how.high])
    difference = normalise_as_jdll(image, defaults[version]) - (image - low) / (high - low + 1e-6)
    assert abs(difference).max() < 5e-4


def test_of_several_gains_the_first_counts_and_the_unknown_throws() -> None:
    rdf = fixed_04(4)
    step = {"name": "scale_linear", "kwargs": {"gain": [2.0, 9.0], "offset": [1.0, 9.0]}}
    rdf["inputs"][0]["preprocessing"] = [{"id": "ensure_dtype"}, step]
    image = np.full((1, 1, 4, 4), 3)
    with pytest.raises(JdllError, match="list of offsets"):  # seen
        normalise_as_jdll(image, rdf)
    step["kwargs"]["axes"] = "yx"
    assert (normalise_as_jdll(image, rdf) == 7).all()
    step["kwargs"] = {"gain": [2.0, 9.0], "offset": 1.0}
    assert (normalise_as_jdll(image, rdf) == 4).all()  # seen: a list without axes is gain 1
    rdf["inputs"][0]["preprocessing"] = [{"name": "magic"}]
    with pytest.raises(JdllError, match="no step 'magic'"):
        normalise_as_jdll(image, rdf)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1e308, 0.0])
@pytest.mark.parametrize("field", ["in", "out", "offset"])
def test_a_scale_that_is_no_number_is_cast_as_java_does(field: str, number: float) -> None:
    """`(int) NaN` is 0 there and infinity the largest int; nothing is thrown by the cast itself."""
    sizes: list[int] = []
    with suppress(JdllError):
        planned = plan(dynamic_05(**{field: number}), (1, 1, 64, 64))
        sizes = [axis.size for output in planned.outputs for axis in output]
    assert all(isinstance(size, int) for size in sizes)
