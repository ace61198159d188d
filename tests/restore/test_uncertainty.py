"""`--uncertainty`: mean and spread of eight orientations, against scipy with the kernel turned."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import tifffile
from onnx import numpy_helper
from scipy.ndimage import correlate

from tests.factories import Opener
from tests.restore.conftest import MakeNetwork
from w2s_export.config import PercentileNormalisation
from w2s_export.options import ImageOptions
from w2s_export.restore.arrays import restore_array
from w2s_export.restore.batch import Outcome, Status, restore_files
from w2s_export.restore.inputs import find
from w2s_export.restore.network import ReadyNetwork
from w2s_export.restore.orientations import OrientationsRuntime

KERNEL = np.arange(9, dtype=np.float32).reshape(3, 3) ** 2 / 100
TURNED = [np.rot90(one, turns) for one in (KERNEL, KERNEL[:, ::-1]) for turns in range(4)]
IMAGE = np.random.default_rng(3).integers(100, 4000, (100, 150)).astype(np.uint16)


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    from w2s_export.restore import memory

    monkeypatch.setattr(memory, "_needed", lambda *_: 0)
    monkeypatch.setattr(memory, "LARGEST_TILE", 64)


@pytest.fixture
def network(
    box_network: MakeNetwork, box_onnx: Callable[[int], Path], tmp_path: Path
) -> ReadyNetwork:
    """Weighs the 3 × 3 neighbours differently in every orientation."""
    model = onnx.load(box_onnx(1))
    stored = next(one for one in model.graph.initializer if one.name == "kernel")
    stored.CopyFrom(numpy_helper.from_array(KERNEL[None, None], "kernel"))
    onnx.save(model, tmp_path / "skewed.onnx")
    how = PercentileNormalisation(low=1, high=99.8)
    return replace(box_network(how), onnx=tmp_path / "skewed.onnx")


def restore(
    network: ReadyNetwork, images: list[Path], output: Path, **how: object
) -> list[Outcome]:
    chosen = ImageOptions(**{"engine": "cpu", "threads": 1, "uncertainty": True, **how})  # type: ignore[arg-type]
    found = find([str(path) for path in images], output)
    return restore_files(found.images, output, Opener(network.model, lambda _: network), chosen)


def expected(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Mean and spread of the normalised image; its low percentile and the width of the range."""
    low, high = np.percentile(image.astype(np.float64), [1, 99.8])
    plane = (image - low) / (high - low + 1e-6)
    eight = np.stack([correlate(plane, kernel, mode="reflect") for kernel in TURNED])
    mean, spread = (part.repeat(2, 0).repeat(2, 1) for part in (eight.mean(0), eight.std(0)))
    return mean, spread, low, high - low


@pytest.mark.parametrize("form", ["tiff", "ome-tiff", "ome-zarr"])
@pytest.mark.parametrize(
    ("dtype", "keep"), [("float32", False), ("uint16", False), ("uint16", True)]
)
def test_mean_and_spread(
    network: ReadyNetwork, tmp_path: Path, form: str, dtype: str, keep: bool
) -> None:
    tifffile.imwrite(
        tmp_path / "i.tif", IMAGE, imagej=True, resolution=(5, 5), metadata={"unit": "um"}
    )
    (outcome,) = restore(network, [tmp_path / "i.tif"], tmp_path / "o", format=form, dtype=dtype,
                         keep_intensity=keep)  # fmt: skip
    assert outcome.restored
    mean, spread, low, width = expected(IMAGE)
    if keep:
        mean, spread = mean * width + low, spread * width
    ending = {"tiff": ".tif", "ome-tiff": ".ome.tif", "ome-zarr": ".ome.zarr"}[form]
    found = {path.name for path in (tmp_path / "o").iterdir()}
    assert found == {f"i{ending}", f"i_spread{ending}"}
    got, uncertain, sizes = [], tmp_path / "o" / f"i_spread{ending}", []
    for path in (tmp_path / "o" / f"i{ending}", uncertain):
        if form == "ome-zarr":
            zarr = pytest.importorskip("zarr", reason="zarr is not installed")
            got.append(zarr.open_array(str(path / "0"))[0, 0, 0])
            attributes = json.loads((path / "zarr.json").read_text("utf-8"))["attributes"]
            first = attributes["ome"]["multiscales"][0]["datasets"][0]
            sizes.append(first["coordinateTransformations"][0]["scale"][-2:])
        else:
            with tifffile.TiffFile(path) as tif:
                got.append(tif.asarray())
                numerator, denominator = tif.pages[0].tags["XResolution"].value
                per_um = numerator / denominator / (1 if form == "tiff" else 1e4)
                sizes.append([1 / per_um, 1 / per_um])
    np.testing.assert_allclose(sizes, [[0.1, 0.1]] * 2, rtol=1e-6)
    assert got[1].dtype == np.float32
    assert spread.max() > 0.1 * (width if keep else 1)  # there is something to find
    # float32 sums of nine values, relative to the largest: 4e-7 measured
    np.testing.assert_allclose(got[1], spread, atol=2e-6 * mean.max(), rtol=0)
    assert got[0].dtype == dtype
    values = got[0] if dtype == "float32" or keep else got[0] * 1e-4 - 1
    step = {"float32": 4e-6, "uint16": 0.5 if keep else 5e-5}[dtype]
    np.testing.assert_allclose(values, mean, atol=step * 1.01 + 2e-6 * mean.max(), rtol=0)


def test_a_plane_that_cannot_be_restored_has_no_spread(
    network: ReadyNetwork, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "s.tif", np.stack([IMAGE, np.full_like(IMAGE, 9)]), imagej=True)
    restore(network, [tmp_path / "s.tif"], tmp_path / "o")
    assert not tifffile.imread(tmp_path / "o" / "s.tif")[1].any()
    spread = tifffile.imread(tmp_path / "o" / "s_spread.tif")
    assert np.isfinite(spread[0]).all()
    assert np.isnan(spread[1]).all()


@pytest.mark.parametrize("form", ["tiff", "ome-zarr"])
def test_what_is_finished_is_not_made_again(
    network: ReadyNetwork, tmp_path: Path, form: str
) -> None:
    import shutil

    tifffile.imwrite(tmp_path / "i.tif", IMAGE)
    ending = ".tif" if form == "tiff" else ".ome.zarr"
    spread = tmp_path / "o" / f"i_spread{ending}"

    def run(**how: object) -> Status:
        (outcome,) = restore(network, [tmp_path / "i.tif"], tmp_path / "o", format=form, **how)
        return outcome.status

    assert run() is Status.restored
    assert run() is Status.skipped
    if spread.is_dir():
        shutil.rmtree(spread)
    else:
        spread.unlink()
    assert run() is Status.restored
    assert spread.exists()
    assert run(uncertainty=False) is Status.failed  # the mean of eight is another image
    assert run(uncertainty=False, overwrite=True) is Status.restored
    assert run() is Status.failed


def test_an_image_named_as_the_spread_of_another(network: ReadyNetwork, tmp_path: Path) -> None:
    for name in ("i.tif", "i_spread.tif"):
        tifffile.imwrite(tmp_path / name, IMAGE)
    outcomes = restore(network, sorted(tmp_path.glob("*.tif")), tmp_path / "o")
    assert [outcome.status for outcome in outcomes] == [Status.failed] * 2
    assert not (tmp_path / "o").exists()


def test_quarter_turns_are_left_out_where_they_do_not_fit() -> None:
    class Fixed:
        name = "reads 4 × 6 alone"

        def __call__(self, batch: np.ndarray) -> np.ndarray:
            assert batch.shape == (1, 1, 4, 6)
            return batch * np.arange(24, dtype=np.float32).reshape(4, 6)

    batch = np.random.default_rng(0).random((1, 1, 4, 6), np.float32)
    mean, spread = OrientationsRuntime(Fixed(), (4, 6))(batch)[0]
    weights = np.arange(24).reshape(4, 6)
    four = np.stack([weights, weights[::-1], weights[:, ::-1], weights[::-1, ::-1]])
    np.testing.assert_allclose(mean, batch[0, 0] * four.mean(0), rtol=1e-5)
    np.testing.assert_allclose(spread, batch[0, 0] * four.std(0), rtol=1e-5)


def test_arrays(network: ReadyNetwork) -> None:
    made = restore_array(IMAGE, Opener(network.model, lambda _: network), uncertainty=True)
    for got, wanted in zip(made, expected(IMAGE)[:2], strict=True):
        assert got.shape == (200, 300)
        np.testing.assert_allclose(got, wanted, atol=1e-5)
