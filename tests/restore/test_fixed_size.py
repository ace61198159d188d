"""A network that reads images of one size alone restores any image, in tiles of that size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from tests.factories import network
from w2s_export.config import GeneratorConfig
from w2s_export.errors import ImageError
from w2s_export.network import Network
from w2s_export.restore.halo import SEAM_TOLERANCE, measure_halo
from w2s_export.restore.tiling import restore_tiled

READ = (24, 32)
noise = np.random.default_rng(5).random((1, 70, 45), np.float32)


class Filter:
    """A mean over 5×5 pixels, zero padded, of images of one size; then pixels twice as large."""

    name = "filter"

    def __init__(self, place: float = 0.0) -> None:
        self.place = place * np.linspace(0, 1, READ[1])

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        assert batch.shape[2:] == READ
        mean = uniform_filter(batch, (1, 1, 5, 5), mode="constant") + self.place
        return mean.astype(np.float32).repeat(2, 2).repeat(2, 3)


def fixed() -> Network:
    return replace(network(GeneratorConfig(nf=8, gc=4, nb=1)), fixed=READ)


@pytest.mark.parametrize("size", [(70, 45), READ, (24, 33), (7, 5)])
def test_any_image_is_restored_as_if_at_once(size: tuple[int, int]) -> None:
    image = noise[:, : size[0], : size[1]]
    made = restore_tiled(Filter(), image, scale=2, halo=2, tile=512, fixed=READ)
    whole = uniform_filter(image, (1, 5, 5), mode="reflect").repeat(2, 1).repeat(2, 2)
    np.testing.assert_allclose(made, whole, atol=1e-6)


def test_a_halo_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ImageError, match="a halo of 12 pixels leaves nothing of tiles of 24"):
        restore_tiled(Filter(), noise, scale=2, halo=12, tile=512, fixed=READ)


@pytest.mark.parametrize("image", [noise, noise[:, :9, :9]], ids=["larger", "smaller"])
def test_the_halo_is_what_the_filter_sees(image: np.ndarray) -> None:
    measured = measure_halo(Filter(), image, fixed())
    assert (measured.halo, measured.minimum, measured.tolerance) == (2, 32, SEAM_TOLERANCE)


def test_seams_of_a_network_that_knows_places_are_told(caplog: pytest.LogCaptureFixture) -> None:
    knows = Filter(place=0.5)
    measured = measure_halo(knows, noise, fixed())
    assert measured.halo == 6
    # The second tile fills columns from 20 on, and reads from column 14 on; places are of 31.
    whole = knows(noise[np.newaxis, :, : READ[0], : READ[1]])[0, :, 12:-12, 12:-12]
    assert measured.visible is not None
    assert measured.visible * np.ptp(whole) == pytest.approx(0.5 * 14 / 31, rel=1e-5)
    assert 0.05 < dict(measured.seams)[6] < measured.visible < measured.tolerance
    assert "differ from the whole image by up to 0." in caplog.text
