from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.factories import network
from w2s_export.config import GeneratorConfig
from w2s_export.errors import ImageError
from w2s_export.restore.halo import (
    MoreImageNeededError,
    fixed_tiles,
    four_tiles,
    measure_halo,
)
from w2s_export.restore.tiling import restore_tiled


class Rows:
    """A separable filter, zero padded, with known weights by distance; then pixels repeated."""

    name = "filter"

    def __init__(self, *by_distance: float, scale: int = 2) -> None:
        self.kernel = np.array([*by_distance[:0:-1], *by_distance])
        self.scale = scale
        self.sizes: list[int] = []

    def __call__(self, batch):
        from scipy.ndimage import correlate1d

        self.sizes.append(batch.shape[2])
        result = correlate1d(batch.astype(np.float64), self.kernel, axis=2, mode="constant")
        result = correlate1d(result, self.kernel, axis=3, mode="constant")
        return result.astype(np.float32).repeat(self.scale, 2).repeat(self.scale, 3)


SMALL = network(GeneratorConfig(nf=8, gc=4, nb=1))  # radius 18
LARGER = network(GeneratorConfig(nf=8, gc=4, nb=3))
noise = np.random.default_rng(5).random((1, 90, 110), np.float32)


@pytest.mark.parametrize("radius", [0, 1, 2, 7])
def test_the_halo_of_a_flat_filter_is_its_radius(radius):
    assert measure_halo(Rows(*[1.0] * (radius + 1)), noise, SMALL).halo == radius


def test_a_weight_below_the_tolerance_needs_no_context():
    # range of the output: about 1; the weight at distance 3 moves it by less than 1e-5 · 2
    faint = Rows(1.0, 0.2, 0.0, 1e-5)
    assert measure_halo(faint, noise, SMALL, tolerance=1e-4).halo == 1
    assert measure_halo(faint, noise, SMALL, tolerance=1e-7).halo == 3


def test_seams_are_what_tiles_show():
    runtime = Rows(*0.5 ** np.arange(11))
    measured = measure_halo(runtime, noise, SMALL, tolerance=1e-2)
    seams = dict(measured.seams)
    assert seams[0] > 0.1
    assert sorted(seams.values(), reverse=True) == list(seams.values())
    assert seams[measured.halo] <= 1e-2
    for halo, fits in ((measured.halo, True), (measured.halo - 1, False)):
        whole, tiled = (
            restore_tiled(runtime, noise, scale=2, halo=halo, tile=t) for t in (110, 55)
        )
        assert (np.abs(tiled - whole).max() <= 1e-2 * np.ptp(whole)) == fits


def test_the_square_grows_until_a_halo_is_enough():
    far = Rows(*[1.0] * 41)
    measured = measure_halo(far, noise, LARGER)
    assert measured.halo == 40
    assert far.sizes[:6] == [64, 48, 48, 128, 96, 96]  # a square and its two cuts, then doubled


def test_the_radius_is_the_upper_bound():
    assert measure_halo(Rows(*[1.0] * 31), noise, SMALL).halo == 18


@pytest.mark.parametrize(("radius", "halo", "minimum"), [(3, 4, 12), (4, 4, 12), (5, 8, 20)])
def test_halo_and_minimum_are_multiples_of_the_step(radius, halo, minimum):
    config = network(GeneratorConfig(nf=8, gc=4, nb=1, scale=1, pixel_unshuffle=4))
    measured = measure_halo(Rows(*[1.0] * (radius + 1), scale=1), noise, config)
    assert (measured.halo, measured.minimum) == (halo, minimum)


def test_every_size_is_a_multiple_of_the_step():
    """Of a step that 64 is no multiple of, such as pooling over 3 pixels."""
    runtime = Rows(*[1.0] * 5)
    measured = measure_halo(runtime, noise, replace(SMALL, step=3))
    assert (measured.halo, measured.minimum) == (6, 15)
    assert {size % 3 for size in runtime.sizes} == {0}


class Pooled(Rows):
    """The filter, and the mean square of the whole image: no halo makes tiles of it exact."""

    def __call__(self, batch):
        square = np.square(batch, dtype=np.float64).mean((1, 2, 3), keepdims=True)
        return (super().__call__(batch) + 0.5 * square).astype(np.float32)


def test_seams_that_no_halo_removes_are_told(caplog: pytest.LogCaptureFixture):
    sees_all = replace(SMALL, facts=replace(SMALL.facts, receptive_radius=None))
    measured = measure_halo(Pooled(1.0, 0.5, 0.25), noise, sees_all)
    assert 2 <= measured.halo <= 32
    runtime = Pooled(1.0, 0.5, 0.25)
    whole, tiled = four_tiles(runtime, noise, scale=2, halo=measured.halo, step=1)
    shown = np.abs(tiled - whole).max() / np.ptp(whole)
    assert 5e-4 < shown <= measured.visible < measured.tolerance < 0.1
    assert "more context changes little" in caplog.text


class Windowed(Rows):
    """The filter over the means of windows of 8 pixels, of which the description says nothing."""

    def __call__(self, batch):
        n, c, height, width = batch.shape
        padded = np.pad(batch, ((0, 0), (0, 0), (0, -height % 8), (0, -width % 8)))
        tall, wide = (size // 8 for size in padded.shape[2:])
        means = padded.reshape(n, c, tall, 8, wide, 8).mean((3, 5)).repeat(8, 2).repeat(8, 3)
        return super().__call__(means[:, :, :height, :width].astype(np.float32))


@pytest.mark.parametrize(("step", "shown"), [(1, True), (8, False)])
def test_windows_that_nobody_told_of_are_seen(step: int, shown: bool):
    """Half of 64 pixels is a whole number of windows: tiles of that size would look right."""
    facts = replace(SMALL.facts, receptive_radius=None)
    measured = measure_halo(
        Windowed(1.0), noise[:, :64, :64], replace(SMALL, facts=facts, step=step)
    )
    assert (measured.visible is not None and measured.visible > 0.1) == shown


def test_a_network_without_a_radius_gets_what_is_enough():
    sees_all = replace(SMALL, facts=replace(SMALL.facts, receptive_radius=None))
    measured = measure_halo(Rows(1.0, 0.5, 0.25), noise, sees_all)
    assert (measured.halo, measured.visible, measured.tolerance) == (2, None, 1e-4)


def test_tiles_of_the_only_size_decide_too():
    """Two images that overlap show little with 9 pixels, tiles with mirrored edges more."""
    image, filtered = noise[:, :32, :32], Rows(*0.6 ** np.arange(11))
    measured = measure_halo(filtered, image, replace(SMALL, fixed=(32, 32)), tolerance=5e-3)
    assert dict(measured.seams)[9] <= 5e-3
    whole, tiled = fixed_tiles(filtered, image, scale=2, halo=9, fixed=(32, 32))
    assert np.abs(tiled - whole).max() > 5e-3 * np.ptp(whole)
    assert (measured.halo, measured.visible) == (10, None)


def test_minimum_leaves_one_pixel():
    assert measure_halo(Rows(1.0, 1.0), noise, SMALL).minimum == 3


def test_a_small_image_is_mirrored():
    assert measure_halo(Rows(1.0, 1.0, 1.0), noise[:, :5, :9], SMALL).halo == 2


@pytest.mark.parametrize(
    ("radius", "side", "pixels"),
    [(20, 50, None), (20, 40, 41), (40, 64, 128)],
    ids=["enough", "less_than_two_halos", "less_than_a_square"],
)
def test_a_part_too_small_asks_for_more(radius, side, pixels):
    far, config = Rows(*[1.0] * (radius + 1)), LARGER
    part = np.random.default_rng(5).random((1, side, side + 9), np.float32)
    if pixels is None:
        assert measure_halo(far, part, config, part=True).minimum == 41
        return
    with pytest.raises(MoreImageNeededError) as needed:
        measure_halo(far, part, config, part=True)
    assert needed.value.pixels == pixels
    assert max(far.sizes) <= 64  # nothing large was restored to find that out


def test_the_busiest_part_is_measured():
    image = np.zeros((1, 64, 300), np.float32)
    image[:, :, 200:260] = noise[:, :64, :60]
    assert measure_halo(Rows(1.0, 1.0, 1.0), image, SMALL).halo == 2


def test_a_constant_network_needs_no_halo():
    assert measure_halo(Rows(0.0), noise, SMALL).halo == 0


def test_the_wrong_shape_is_refused():
    with pytest.raises(ImageError, match="channels, height, width"):
        measure_halo(Rows(1.0), noise[0], SMALL)


@pytest.mark.parametrize(
    ("config", "radius"),
    [
        ({"nb": 1}, 18),
        ({"nb": 1, "scale": 1}, 19),
        ({"nb": 1, "scale": 4}, 18),
        ({"nb": 1, "scale": 2, "upsampling": "conv"}, 19),
        ({"nb": 1, "scale": 4, "upsampling": "conv"}, 19),
        ({"nb": 1, "scale": 2, "pixel_unshuffle": 2, "upsampling": "conv"}, 38),
    ],
)
def test_receptive_radius_is_where_an_impulse_ends(config, radius):
    """Positive weights cancel nothing: the response to one pixel is the receptive field."""
    from w2s_export.networks.rrdbnet import build_generator

    config = GeneratorConfig(nf=2, gc=2, **config)
    model = build_generator(config)
    for weight in model.weights:
        weight.assign(np.full(weight.shape, 0.1 if len(weight.shape) == 4 else 0.0, np.float32))
    step, middle = config.pixel_unshuffle, 48
    image = np.zeros((1, step, 2 * middle, 1), np.float32)
    image[0, 0, middle] = 1
    seen = np.flatnonzero(model(image).numpy()[0, 0, :, 0])
    first, last = seen.min() // config.scale, seen.max() // config.scale
    # in whole steps: tiles start on the network's grid
    assert step * (middle // step - first // step) == radius
    assert step * (last // step - middle // step) == radius
    assert network(config).facts.receptive_radius == radius


def test_receptive_radius_of_the_default():
    # 23 blocks of 15 convolutions, conv_first, conv_body, and two at twice the resolution
    tall = GeneratorConfig(nf=8, gc=4)
    assert network(tall).facts.receptive_radius == 23 * 15 + 2 + 1


def test_the_whole_image_decides_not_only_its_busiest_square():
    # The square of 64 pixels holds the noise; a faint far weight shows only at the tiles' border.
    image = np.zeros((1, 200, 200), np.float32)
    image[:, :64, :64] = noise[:, :64, :64]
    image[:, 95:105, 95:105] = 50.0 * np.eye(10, dtype=np.float32)
    runtime = Rows(*0.5 ** np.arange(11))
    measured = measure_halo(runtime, image, SMALL, tolerance=1e-3)
    whole, tiled = four_tiles(runtime, image, scale=2, halo=measured.halo, step=1)
    assert np.abs(tiled - whole).max() <= 1e-3 * np.ptp(whole)
    less = four_tiles(runtime, image, scale=2, halo=measured.halo - 1, step=1)
    assert np.abs(less[1] - less[0]).max() > 1e-3 * np.ptp(less[0])
