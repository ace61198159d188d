"""Arrays in memory, of any order of axes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.factories import Opener
from tests.restore.conftest import MakeNetwork, box_of
from w2s_export.errors import ImageError
from w2s_export.restore import arrays
from w2s_export.restore.arrays import restore_array

rng = np.random.default_rng(4)


@pytest.mark.parametrize(
    ("axes", "channels", "shape"),
    [
        (None, 1, (9, 13)),
        ("WH", 1, (13, 9)),
        (None, 3, (3, 9, 13)),
        ("HWC", 3, (9, 13, 3)),
        ("NHW", 1, (2, 9, 13)),
        (None, 3, (2, 3, 9, 13)),
        ("HWCN", 3, (9, 13, 3, 2)),
    ],
)
def test_axes_stay_where_they_are(
    box_network: MakeNetwork, axes: str | None, channels: int, shape: tuple[int, ...]
) -> None:
    network = box_network(channels=channels)
    image = rng.integers(0, 50, shape).astype(np.uint16)
    result = restore_array(image, Opener(network.model, lambda _: network), axes)
    named = axes or {2: "HW", 3: "CHW", 4: "NCHW"}[image.ndim]
    at = {letter: named.index(letter) for letter in named}
    assert result.dtype == np.float32
    # the box network gives one channel of twice the size
    expected = list(shape)
    expected[at["H"]] *= 2
    expected[at["W"]] *= 2
    if "C" in at:
        expected[at["C"]] = 1
    assert list(result.shape) == expected
    first: dict[int, int] = {at["N"]: 0} if "N" in at else {}
    one = image[tuple(first.get(axis, slice(None)) for axis in range(image.ndim))]
    letters = [letter for letter in named if letter != "N"]
    planes = one.transpose([letters.index(letter) for letter in "CHW" if letter in letters])
    got = result[tuple(first.get(axis, slice(None)) for axis in range(result.ndim))]
    got = got.transpose([letters.index(letter) for letter in "CHW" if letter in letters])
    np.testing.assert_allclose(got.reshape(18, 26), box_of(planes.reshape(channels, 9, 13)))


def test_the_engine_is_chosen_for_all_images_together(
    box_network: MakeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def opened(ready: Any, engine: str, *how: Any) -> Any:
        asked.append((engine, how[-1]))
        return open_engines(ready, engine, *how)

    open_engines = arrays.open_engines
    monkeypatch.setattr(arrays, "open_engines", opened)
    network = box_network()
    restore_array(rng.random((3, 9, 13)), Opener(network.model, lambda _: network), "NHW")
    assert asked == [("auto", 3 * 9 * 13)]


@pytest.mark.parametrize(
    ("shape", "axes"), [((4, 5), "CHW"), ((4, 5, 6, 7, 8), None), ((4, 5), "HH"), ((2, 9, 9), None)]
)
def test_axes_that_do_not_fit_are_named(
    box_network: MakeNetwork, shape: tuple[int, ...], axes: str | None
) -> None:
    network = box_network()
    with pytest.raises(ImageError, match="axes"):
        restore_array(np.zeros(shape), Opener(network.model, lambda _: network), axes)


@pytest.mark.parametrize(
    ("images", "named"),
    [
        (np.ma.masked_greater(np.arange(63.0).reshape(7, 9), 60), "2 masked"),
        (np.ones((7, 9), np.complex64), "complex64"),
        (np.full((7, 9), "3"), "<U1"),
        (np.zeros((7, 9), "M8[s]"), "datetime64"),
        (np.zeros((7, 9), object), "object"),
        (np.zeros((0, 9)), r"\(0, 9\)"),
        (np.zeros((0, 1, 7, 9)), r"\(0, 1, 7, 9\)"),
    ],
)
def test_what_holds_no_valid_numbers_is_refused(
    box_network: MakeNetwork, images: Any, named: str
) -> None:
    network = box_network()
    with pytest.raises(ImageError, match=named):
        restore_array(images, Opener(network.model, lambda _: network))


@pytest.mark.parametrize("kind", ["?", "u1", ">u2", "<i4", "u8", "f2", ">f4", "f8", "g", "masked"])
def test_every_type_of_number_counts_alike(box_network: MakeNetwork, kind: str) -> None:
    network = box_network()
    image = rng.integers(0, 2, (7, 9))
    given = np.ma.masked_array(image, False) if kind == "masked" else image.astype(kind)
    result = restore_array(given, Opener(network.model, lambda _: network))
    np.testing.assert_allclose(result, box_of(image[np.newaxis]))


def test_where_memory_is_short_tiles_are_smaller(
    box_network: MakeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def tiled(*given: Any, tile: int, **how: Any) -> Any:
        asked.append(tile)
        return restore_tiled(*given, tile=tile, **how)

    restore_tiled = arrays.restore_tiled
    monkeypatch.setattr(arrays, "restore_tiled", tiled)
    network = box_network()
    # as the default model, with which 2146 bytes a pixel were measured
    model = replace(network.model, bytes_per_pixel=2330.0)
    network = replace(network, model=model)
    large = rng.integers(0, 50, (600, 600))
    results = []
    for megabytes in (8000, 700, 1):
        monkeypatch.setattr(arrays, "free_bytes", lambda free=megabytes: free * 10**6)
        results.append(restore_array(large, Opener(model, lambda _: network)))
    assert asked[0] == 512
    assert 64 < asked[1] < 512
    assert 2146 * asked[1] ** 2 < 700e6 - 200e6  # 200 MB: Python and ONNX Runtime, as measured
    assert asked[2] == 64
    for result in results:
        np.testing.assert_allclose(result, box_of(large[np.newaxis]), rtol=1e-6)
