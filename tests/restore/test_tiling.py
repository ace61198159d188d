"""Tiles against exact local filters: integer arithmetic, so equal means equal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from w2s_export.errors import ImageError
from w2s_export.restore.tiling import restore_tiled, spans


class BoxSum:
    """Sums a (2·radius + 1)² box, zeros outside as a network pads, then repeats pixels."""

    name = "box sum"

    def __init__(self, radius: int, scale: int) -> None:
        self.radius, self.scale = radius, scale
        self.largest = 0

    def __call__(self, batch):
        self.largest = max(self.largest, *batch.shape[2:])
        return np.stack(
            [
                [enlarge(box(plane, self.radius, "constant"), self.scale) for plane in image]
                for image in batch
            ]
        )


def box(plane, radius, mode):
    from scipy.ndimage import correlate

    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.float32)
    return correlate(plane, kernel, mode=mode)


def enlarge(plane, scale):
    return plane.repeat(scale, 0).repeat(scale, 1)


def counts(shape, seed=0):
    return np.random.default_rng(seed).integers(1, 100, shape).astype(np.float32)


sizes = st.integers(1, 40)


@settings(max_examples=100, deadline=None)
@given(
    sizes,
    sizes,
    st.integers(1, 2),
    st.integers(1, 45),
    st.integers(0, 4),
    st.integers(0, 50),
    st.sampled_from([1, 2, 4]),
)
def test_tiles_equal_the_mirrored_whole(height, width, channels, tile, radius, more, scale):
    image = counts((channels, height, width))
    restored = restore_tiled(
        BoxSum(radius, scale), image, scale=scale, halo=radius + more, tile=tile
    )
    # scipy's "reflect" is numpy's "symmetric", repeated as often as the kernel needs it
    expected = np.stack([enlarge(box(plane, radius, "reflect"), scale) for plane in image])
    np.testing.assert_array_equal(restored, expected)


@settings(max_examples=100, deadline=None)
@given(sizes, sizes, st.integers(1, 45), st.integers(1, 4), st.data())
def test_a_halo_below_the_radius_is_seen(height, width, tile, radius, data):
    halo = data.draw(st.integers(0, radius - 1))
    image = counts((1, height, width))
    restored = restore_tiled(BoxSum(radius, 2), image, scale=2, halo=halo, tile=tile)
    # every pixel is positive, so every missing one lowers the sum at a tile's corner
    expected = enlarge(box(image[0], radius, "reflect"), 2)
    assert (restored[0] <= expected).all()
    assert restored[0, 0, 0] < expected[0, 0]


class BlockSum:
    """Sums blocks of step × step; refuses other sizes, and a shifted grid gives other sums."""

    name = "block sum"

    def __init__(self, step: int, scale: int) -> None:
        self.step, self.scale = step, scale

    def __call__(self, batch):
        assert batch.shape[2] % self.step == 0
        assert batch.shape[3] % self.step == 0
        return np.stack(
            [
                [enlarge(blocks(plane, self.step), self.step * self.scale) for plane in image]
                for image in batch
            ]
        )


def blocks(plane, step):
    height, width = plane.shape
    return plane.reshape(height // step, step, width // step, step).sum((1, 3))


@settings(max_examples=100, deadline=None)
@given(
    sizes,
    sizes,
    st.integers(1, 45),
    st.integers(0, 50),
    st.sampled_from([2, 4]),
    st.sampled_from([1, 2]),
)
def test_tiles_keep_the_grid_of_a_network_with_a_step(height, width, tile, halo, step, scale):
    image = counts((1, height, width))
    restored = restore_tiled(
        BlockSum(step, scale), image, scale=scale, halo=halo, tile=tile, step=step
    )
    padded = np.pad(image[0], ((0, -height % step), (0, -width % step)), mode="symmetric")
    expected = enlarge(blocks(padded, step), step * scale)[: scale * height, : scale * width]
    np.testing.assert_array_equal(restored[0], expected)


def test_by_hand():
    # one row 1 2 3, mirrored 1 1 2 3 3 above, below and beside; sums of 3×3
    image = np.array([[[1, 2, 3]]], np.float32)
    restored = restore_tiled(BoxSum(1, 1), image, scale=1, halo=1, tile=2)
    np.testing.assert_array_equal(restored, [[[12, 18, 24]]])


def test_no_tile_is_larger_than_asked():
    runtime = BoxSum(1, 2)
    restore_tiled(runtime, counts((1, 100, 90)), scale=2, halo=3, tile=20)
    assert runtime.largest == 26


def test_only_the_tile_is_read():
    class Lazy:
        shape = (1, 1000, 900)
        largest = 0

        def __getitem__(self, key):
            block = np.ones(self.shape, np.float32)[key]
            self.largest = max(self.largest, *block.shape)
            return block

    image = Lazy()
    restored = restore_tiled(BoxSum(0, 1), image, scale=1, halo=7, tile=250)
    assert restored.shape == (1, 1000, 900)
    assert image.largest == 264


def test_spans_cover_the_axis_once():
    kept = [span.target(2) for span in spans(10, halo=1, tile=4)]
    assert kept == [slice(0, 8), slice(8, 16), slice(16, 20)]


def test_the_wrong_scale_is_refused():
    with pytest.raises(ImageError, match="scaling by 4"):
        restore_tiled(BoxSum(1, 2), counts((1, 8, 8)), scale=4, halo=1, tile=8)


@pytest.mark.parametrize("shape", [(8, 8), (1, 0, 8), (1, 1, 8, 8)])
def test_the_wrong_shape_is_refused(shape):
    with pytest.raises(ImageError, match="channels, height, width"):
        restore_tiled(BoxSum(1, 2), np.ones(shape, np.float32), scale=2, halo=1, tile=8)


@pytest.mark.parametrize("fault", [{"halo": -1}, {"tile": 0}, {"step": 0}])
def test_impossible_tiles_are_refused(fault):
    with pytest.raises(ValueError, match="must be"):
        restore_tiled(BoxSum(1, 2), counts((1, 8, 8)), **{"scale": 2, "halo": 1, "tile": 8} | fault)
