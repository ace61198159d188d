"""What the napari plugin does, without Qt; `nox -s napari` opens the widget itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from tests.inputs import checkpoint
from tests.restore.conftest import box_of
from w2s_export.config import PercentileNormalisation
from w2s_export.errors import ConfigError, ImageError
from w2s_export.restore.network import ReadyNetwork
from w2s_export.viewer.layers import network_of, placed, restore_layer

RNG = np.random.default_rng(0)


@pytest.fixture
def network(box_network: Any) -> Any:
    ready: ReadyNetwork = box_network(PercentileNormalisation(low=1, high=99.8))
    return SimpleNamespace(model=ready.model, open=lambda _: ready)


def run(steps: Any) -> tuple[list[np.ndarray], list[float], list[str]]:
    done: list[float] = []
    bad: list[str] = []
    while True:
        try:
            part, reason = next(steps)
        except StopIteration as stop:
            return stop.value, done, bad
        done.append(part)
        bad += [reason] if reason else []


def expected(plane: np.ndarray) -> np.ndarray:
    low, high = np.percentile(plane.astype(np.float64), [1, 99.8])
    return box_of(((plane - low) / (high - low + 1e-6)).astype(np.float32)[None])


def test_every_plane_of_a_layer(network: Any) -> None:
    stack = RNG.integers(0, 4000, (2, 3, 40, 300)).astype(np.uint16)
    stack[1, 0] = 7
    (result,), done, bad = run(restore_layer([stack, stack[..., ::2, ::2]], network))
    assert result.shape == (2, 3, 80, 600)
    for place in np.ndindex(2, 3):
        wanted = expected(stack[place]) if place != (1, 0) else np.zeros((80, 600))
        np.testing.assert_allclose(result[place], wanted, atol=3e-6)
    assert done == sorted(done)
    assert done[-1] == 1
    (reason,) = bad
    assert "plane (1, 0): the image is flat" in reason


def test_the_spread_of_eight_orientations_is_a_second_layer(network: Any) -> None:
    stack = RNG.integers(0, 4000, (2, 40, 300)).astype(np.uint16)
    stack[1] = 7
    (mean, spread), _, _ = run(restore_layer(stack, network, uncertainty=True))
    np.testing.assert_allclose(mean[0], expected(stack[0]), atol=3e-6)
    # The box is the same in every orientation: only rounding is left.
    assert spread.shape == mean.shape
    assert spread[0].max() < 3e-6
    assert np.isnan(spread[1]).all()


def test_colours_become_channels_and_small_images_are_refused(network: Any) -> None:
    colours = RNG.integers(0, 255, (40, 50, 4)).astype(np.uint8)
    (result,), _, _ = run(restore_layer(colours, network, rgb=True))
    assert result.shape == (3, 80, 100)
    for c in range(3):
        np.testing.assert_allclose(result[c], expected(colours[..., c]), atol=3e-6)
    with pytest.raises(ImageError, match="smallest this network restores"):
        run(restore_layer(colours[:2, :2, 0], network))


def test_the_result_covers_the_same_place() -> None:
    # A pixel of 0.2 µm around 1 µm begins at 0.9; its first half has its centre at 0.95.
    got = placed([1.0, 0.5, 0.2, 0.2], [0.0, 0.0, 1.0, 3.0], 2, new_axis=False)
    assert got["scale"] == pytest.approx([1.0, 0.5, 0.1, 0.1])
    assert got["translate"] == pytest.approx([0.0, 0.0, 0.95, 2.95])
    assert placed([0.2, 0.2], [0, 0], 1, new_axis=True)["scale"] == [1.0, 0.2, 0.2]


def test_networks_by_path(tmp_path: Path) -> None:
    assert network_of(" ").model.scale == 2
    assert network_of(str(checkpoint(tmp_path / "w.npz"))).model.name == "tiny-model"
    with pytest.raises(ConfigError, match="is not there"):
        network_of(str(tmp_path / "none.zip"))


def test_the_manifest_names_what_there_is() -> None:
    folder = Path(__file__).parents[2] / "w2s_export" / "viewer"
    manifest = yaml.safe_load((folder / "napari.yaml").read_text("utf-8"))
    (command,) = manifest["contributions"]["commands"]
    module, _, name = command["python_name"].partition(":")
    assert module == "w2s_export.viewer.widget"
    assert f"class {name}(" in (folder / "widget.py").read_text("utf-8")
    assert manifest["contributions"]["widgets"][0]["command"] == command["id"]
