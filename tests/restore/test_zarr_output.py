"""OME-Zarr out: pixels, pyramid and metadata, and what an interrupted run leaves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.factories import Opener
from tests.restore.conftest import MakeNetwork, box_of
from tests.restore.test_sources import ome_zarr
from w2s_export.config import PercentileNormalisation
from w2s_export.errors import DiskError, ImageError
from w2s_export.options import ImageOptions
from w2s_export.restore import zarr_job, zarr_output
from w2s_export.restore.batch import Outcome, Status, restore_files
from w2s_export.restore.inputs import find
from w2s_export.restore.network import ReadyNetwork
from w2s_export.restore.tiles import Tile
from w2s_export.runtime.protocol import Runtime

zarr = pytest.importorskip("zarr", reason="zarr is not installed")
PERCENTILES = PercentileNormalisation(low=1, high=99.8)
RNG = np.random.default_rng(0)
STACK = RNG.integers(1, 4000, (1, 2, 2, 300, 610)).astype(np.uint16)  # (T, C, Z, H, W)


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """One chunk a tile, whatever the budget."""
    from w2s_export.restore import memory

    monkeypatch.setattr(memory, "_needed", lambda *_: 0)
    monkeypatch.setattr(memory, "LARGEST_TILE", 256)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    ome_zarr(tmp_path / "s.ome.zarr", STACK, "tczyx", "0.4", chunk=100)
    return tmp_path / "s.ome.zarr"


def restore(network: ReadyNetwork, path: Path, output: Path, **options: object) -> Outcome:
    chosen = ImageOptions(**{"engine": "cpu", "threads": 1, **options})  # type: ignore[arg-type]
    found = find([str(path)], output)
    (outcome,) = restore_files(
        found.images, output, Opener(network.model, lambda _: network), chosen
    )
    return outcome


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def means(pixels: np.ndarray) -> np.ndarray:
    """2 × 2 means one by one, of the pixels there are."""
    height, width = pixels.shape
    return np.array(
        [
            [pixels[y : y + 2, x : x + 2].mean(dtype=np.float64) for x in range(0, width, 2)]
            for y in range(0, height, 2)
        ]
    )


def test_pixels_pyramid_and_metadata(
    box_network: MakeNetwork, source: Path, tmp_path: Path
) -> None:
    import yaozarrs

    outcome = restore(box_network(PERCENTILES), source, tmp_path / "o")
    assert outcome.status is Status.restored
    target = tmp_path / "o" / "s.ome.zarr"
    yaozarrs.validate_zarr_store(str(target))
    group = zarr.open_group(str(target), mode="r")
    assert [group[level].shape for level in "012"] == [
        (1, 2, 2, 600, 1220),
        (1, 2, 2, 300, 610),
        (1, 2, 2, 150, 305),
    ]
    assert group["0"].chunks == (1, 1, 1, 512, 512)
    for c, z in np.ndindex(2, 2):
        image = STACK[0, c, z]
        low, high = np.percentile(image.astype(np.float64), [1, 99.8])
        expected = box_of(((image - low) / (high - low + 1e-6)).astype(np.float32)[None])
        np.testing.assert_allclose(group["0"][0, c, z], expected, atol=3e-6, rtol=0)
    np.testing.assert_allclose(group["2"][0, 1, 0], means(group["1"][0, 1, 0]), atol=1e-6)
    image = group.attrs["ome"]["multiscales"][0]
    assert [axis["name"] for axis in image["axes"]] == list("tczyx")
    first, second = (item["coordinateTransformations"] for item in image["datasets"][:2])
    assert first[0]["scale"] == pytest.approx([0.5, 1, 0.3, 0.0325, 0.0325])  # source: 65 nm
    assert second[0]["scale"] == pytest.approx([0.5, 1, 0.3, 0.065, 0.065])
    # The input's first pixel has its centre at 0, and so has the first of this level.
    assert first[1]["translation"] == pytest.approx([0, 0, 0, -0.01625, -0.01625])
    assert len(second) == 1
    assert restore(box_network(PERCENTILES), source, tmp_path / "o").status is Status.skipped
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["s.ome.zarr"]


def test_odd_sides_and_rounding() -> None:
    counts = RNG.integers(0, 65535, (7, 5)).astype(np.uint16)
    np.testing.assert_array_equal(zarr_output.halved(counts), np.rint(means(counts)))


def test_tiff_to_zarr_equals_tiff_to_tiff(box_network: MakeNetwork, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK[0, 0, 0])
    network = box_network(PERCENTILES)
    for form in ("tiff", "ome-zarr"):
        restore(network, tmp_path / "a.tif", tmp_path / "o", format=form, dtype="uint16")
    stored = zarr.open_array(str(tmp_path / "o" / "a.ome.zarr" / "0"), mode="r")
    np.testing.assert_array_equal(stored[0, 0, 0], tifffile.imread(tmp_path / "o" / "a.tif"))


def test_a_restart_does_only_what_is_missing(
    box_network: MakeNetwork, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = box_network(PERCENTILES)
    restore(network, source, tmp_path / "undisturbed")
    done: list[Tile] = []
    restore_one = zarr_job.restore_one

    def counted(job: zarr_job.TileJob, tile: Tile, runtime: Runtime) -> int:
        done.append(tile)
        if len(done) > 5:
            raise KeyboardInterrupt
        return restore_one(job, tile, runtime)

    def again(job: zarr_job.TileJob, tile: Tile, runtime: Runtime) -> int:
        done.append(tile)
        return restore_one(job, tile, runtime)

    with monkeypatch.context() as patched:
        patched.setattr(zarr_job, "restore_one", counted)
        with pytest.raises(KeyboardInterrupt):
            restore(network, source, tmp_path / "o")
        part = tmp_path / "o" / ".s.ome.zarr.part"
        assert not (tmp_path / "o" / "s.ome.zarr").exists()
        chunk = part / "0" / "c" / "0" / "0" / "0" / "0" / "0"
        chunk.with_suffix(".1234.partial").write_bytes(b"killed here")
        chunk.unlink()
        kept = sum(path.is_file() and path.suffix == "" for path in (part / "0" / "c").rglob("*"))
        assert 2 <= kept <= 4  # of five begun: what waited for the engine gave up
        done.clear()
        patched.setattr(zarr_job, "restore_one", again)
        patched.setattr(zarr_job, "percentile_ranges", None)  # known from the first run
        assert restore(network, source, tmp_path / "o").status is Status.restored
    assert len(done) == 4 * 6 - kept  # four planes of 2 × 3 tiles, each one chunk
    assert contents(tmp_path / "o") == contents(tmp_path / "undisturbed")


def test_what_another_run_left_is_not_continued(
    box_network: MakeNetwork, source: Path, tmp_path: Path
) -> None:
    part = tmp_path / "o" / ".s.ome.zarr.part"
    network = box_network(PERCENTILES)
    restore(network, source, tmp_path / "undisturbed")
    restore(network, source, tmp_path / "o", dtype="uint16")
    (tmp_path / "o" / "s.ome.zarr").rename(part)  # as if interrupted at the very end
    restore(network, source, tmp_path / "o")
    assert contents(tmp_path / "o") == contents(tmp_path / "undisturbed")


def test_black_chunks_are_stored_and_so_finished(box_network: MakeNetwork, tmp_path: Path) -> None:
    image = np.zeros((300, 300), np.uint8)
    image[0, 0] = 1
    tifffile.imwrite(tmp_path / "a.tif", image)
    restore(box_network(), tmp_path / "a.tif", tmp_path / "o", format="ome-zarr")
    chunks = [p for p in (tmp_path / "o" / "a.ome.zarr" / "0" / "c").rglob("*") if p.is_file()]
    assert len(chunks) == 4


def test_a_missing_chunk_is_refused_unless_allowed(
    box_network: MakeNetwork, source: Path, tmp_path: Path
) -> None:
    (source / "0" / "0" / "1" / "0" / "2" / "6").unlink()
    network = box_network(PERCENTILES)
    outcome = restore(network, source, tmp_path / "o")
    assert outcome.status is Status.failed
    assert "1 of its chunks are missing, the first at (0, 1, 0, 2, 6)" in outcome.reason
    assert not (tmp_path / "o").exists()
    assert restore(network, source, tmp_path / "o", missing_chunks=True).status is Status.restored


def test_a_damaged_chunk_costs_its_plane(
    box_network: MakeNetwork, source: Path, tmp_path: Path
) -> None:
    network = box_network(PERCENTILES)
    restore(network, source, tmp_path / "undisturbed")
    (source / "0" / "0" / "1" / "0" / "2" / "6").write_bytes(b"damaged")
    outcome = restore(network, source, tmp_path / "o")
    assert outcome.restored
    (reason,) = outcome.restored.bad
    assert reason.startswith("plane t=0 z=0 c=1: a chunk in rows")
    got, wanted = (
        zarr.open_array(str(tmp_path / name / "s.ome.zarr" / "0"), mode="r")[:]
        for name in ("o", "undisturbed")
    )
    assert np.isnan(got[0, 1, 0]).all()
    wanted[0, 1, 0] = np.nan
    np.testing.assert_array_equal(got, wanted)


def test_damage_of_every_plane_leaves_nothing(
    box_network: MakeNetwork, source: Path, tmp_path: Path
) -> None:
    for chunk in (source / "0").rglob("*"):
        if chunk.is_file() and not chunk.name.startswith("."):
            chunk.write_bytes(b"damaged")
    outcome = restore(box_network(PERCENTILES), source, tmp_path / "o")
    assert outcome.status is Status.failed
    assert "s.ome.zarr: plane t=0 z=0 c=0: a chunk in rows" in outcome.reason
    assert list((tmp_path / "o").iterdir()) == []


def test_a_full_disk_keeps_what_is_finished_for_the_next_run(
    box_network: MakeNetwork, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    network, written = box_network(PERCENTILES), 0
    restore(network, source, tmp_path / "undisturbed")
    array = zarr_output.open_level

    def filling(*arguments: object) -> object:
        nonlocal written
        written += 1
        if written > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return array(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(zarr_output, "open_level", filling)
        with pytest.raises(DiskError, match="No space left"):
            restore(network, source, tmp_path / "o")
    assert [path.name for path in (tmp_path / "o").iterdir()] == [".s.ome.zarr.part"]
    assert restore(network, source, tmp_path / "o").status is Status.restored
    assert contents(tmp_path / "o") == contents(tmp_path / "undisturbed")


def test_replacing_a_finished_zarr(box_network: MakeNetwork, source: Path, tmp_path: Path) -> None:
    network = box_network(PERCENTILES)
    restore(network, source, tmp_path / "o", dtype="uint16")
    assert restore(network, source, tmp_path / "o").status is Status.failed
    assert restore(network, source, tmp_path / "o", overwrite=True).status is Status.restored
    target = tmp_path / "o" / "s.ome.zarr"
    assert zarr.open_array(str(target / "0"), mode="r").dtype == np.float32
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["s.ome.zarr"]
    assert json.loads((target / "zarr.json").read_text())["attributes"]["w2s_export"]["record"]


def test_without_the_extra_the_error_says_how_to_install_it(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from w2s_export.errors import MissingExtraError
    from w2s_export.io.images import open_source

    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingExtraError, match=r"w2s-export\[zarr\]"), open_source(source):
        pass
    assert not issubclass(MissingExtraError, ImageError)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_result_lies_where_the_input_does(
    box_network: MakeNetwork, tmp_path: Path, version: str
) -> None:
    """Corners stay: of pixels of 0.2 µm around 5 µm the first begins at 4.9, so its half's centre
    is 4.95. The dataset's transformations apply before those of the whole image."""
    root = zarr.open_group(
        str(tmp_path / "i.zarr"), mode="w", zarr_format=2 if version == "0.4" else 3
    )
    root.create_array("0", data=np.arange(3 * 700 * 600, dtype=np.uint16).reshape(3, 700, 600))
    datasets = [
        {"path": "0", "coordinateTransformations": [
            {"type": "scale", "scale": [1.5, 400, 100]},
            {"type": "translation", "translation": [3.0, 10000, 3500]},
        ]}
    ]  # fmt: skip
    units = {"z": "micrometer", "y": "nanometer", "x": "nanometer"}
    image = {
        "axes": [{"name": name, "type": "space", "unit": unit} for name, unit in units.items()],
        "datasets": datasets,
        "coordinateTransformations": [{"type": "scale", "scale": [2, 0.5, 2]}],
    }
    stated = {"version": version, "multiscales": [image]}
    root.attrs.update({"ome": stated} if version == "0.5" else {"multiscales": [image]})
    outcome = restore(box_network(None), tmp_path / "i.zarr", tmp_path / "o")
    assert outcome.restored
    assert not outcome.restored.left
    text = (tmp_path / "o" / "i.ome.zarr" / "zarr.json").read_text("utf-8")
    (scales,) = json.loads(text)["attributes"]["ome"]["multiscales"]
    found = [dataset["coordinateTransformations"] for dataset in scales["datasets"]]
    assert found[0][0]["scale"] == pytest.approx([1, 1, 3, 0.1, 0.1])
    assert found[0][1]["translation"] == pytest.approx([0, 0, 6, 4.95, 6.95])
    assert found[1][0]["scale"] == pytest.approx([1, 1, 3, 0.2, 0.2])
    assert found[1][1]["translation"] == pytest.approx([0, 0, 6, 5.0, 7.0])
    outcome = restore(box_network(None), tmp_path / "i.zarr", tmp_path / "o", format="tiff")
    assert outcome.restored
    assert outcome.restored.left == ("the image's place",)
