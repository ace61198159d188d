"""Files in, files out: pixels against a filter computed by scipy, metadata by other readers."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.factories import Opener
from tests.restore.conftest import MakeNetwork, box_of
from w2s_export.config import FixedRangeNormalisation, PercentileNormalisation
from w2s_export.errors import ConfigError, DiskError
from w2s_export.options import Distribution, ImageOptions
from w2s_export.restore.batch import Outcome, Status, restore_files
from w2s_export.restore.inputs import find
from w2s_export.restore.network import ReadyNetwork

PERCENTILES = PercentileNormalisation(low=1, high=99.8)
RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 4000, (2, 3, 2, 150, 201)).astype(np.uint16)
SMALL = ImageOptions(memory=1, engine="cpu", threads=1)


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 64 pixels, whatever the budget."""
    from w2s_export.restore import memory

    monkeypatch.setattr(memory, "_needed", lambda *_: 0)
    monkeypatch.setattr(memory, "LARGEST_TILE", 64)


def restore(
    network: ReadyNetwork, inputs: list[Path] | Path, output: Path, **options: object
) -> list[Outcome]:
    given = [str(path) for path in (inputs if isinstance(inputs, list) else [inputs])]
    chosen = ImageOptions(**{"engine": "cpu", "threads": 1, **options})  # type: ignore[arg-type]
    found = find(given, output)
    return restore_files(found.images, output, Opener(network.model, lambda _: network), chosen)


def normalised(image: np.ndarray, over: np.ndarray | None = None) -> np.ndarray:
    """(C, H, W) by the percentiles of all its pixels, in numpy's own arithmetic."""
    over = image if over is None else over
    low, high = np.percentile(over.astype(np.float64), [1, 99.8])
    return ((image - low) / (high - low + 1e-6)).astype(np.float32)


# ---- pixels ----


@pytest.mark.parametrize("kind", ["imagej", "ome", "plane"])
@pytest.mark.parametrize("form", ["tiff", "ome-tiff"])
def test_every_plane_is_the_whole_image_restored(
    box_network: MakeNetwork, tmp_path: Path, kind: str, form: str
) -> None:
    stack = STACK if kind != "plane" else STACK[:1, :1, :1]
    metadata = {"axes": "TZCYX", "unit": "um"} if kind == "imagej" else {"axes": "TZCYX"}
    tifffile.imwrite(tmp_path / "s.tif", stack, imagej=kind == "imagej", ome=kind == "ome",
                     metadata=metadata)  # fmt: skip
    if kind == "plane":
        tifffile.imwrite(tmp_path / "s.tif", stack[0, 0, 0])
    (outcome,) = restore(box_network(PERCENTILES), tmp_path / "s.tif", tmp_path / "o", format=form)
    assert outcome.status is Status.restored
    assert outcome.restored
    assert outcome.restored.tile == (64, 64)
    assert outcome.target
    got = tifffile.imread(outcome.target, squeeze=False).reshape(*stack.shape[:3], 300, 402)
    for place in np.ndindex(*stack.shape[:3]):
        expected = box_of(normalised(stack[place][None]))
        # float32 sums of nine values up to 1.2 in another order: 1e-6
        np.testing.assert_allclose(got[place], expected, atol=3e-6, rtol=0)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32", "float64"])
def test_any_stored_type(box_network: MakeNetwork, tmp_path: Path, dtype: str) -> None:
    image = RNG.integers(0, 100, (90, 70)).astype(dtype)
    tifffile.imwrite(tmp_path / "i.tif", image)
    restore(box_network(), tmp_path / "i.tif", tmp_path / "o")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "o" / "i.tif"), box_of(image[None]))


def test_percentiles_of_the_stack(box_network: MakeNetwork, tmp_path: Path) -> None:
    stack = STACK[:, :1] // np.array([1, 8], np.uint16).reshape(2, 1, 1, 1, 1)  # it fades
    tifffile.imwrite(tmp_path / "s.tif", stack, imagej=True, metadata={"axes": "TZCYX"})
    restore(box_network(PERCENTILES), tmp_path / "s.tif", tmp_path / "o", percentiles_over="stack")
    got = tifffile.imread(tmp_path / "o" / "s.tif").reshape(2, 1, 2, 300, 402)
    for t, c in np.ndindex(2, 2):
        expected = box_of(normalised(stack[t, 0, c][None], over=stack[:, :, c]))
        np.testing.assert_allclose(got[t, 0, c], expected, atol=3e-6, rtol=0)


def test_a_network_of_two_channels_takes_them_together(
    box_network: MakeNetwork, tmp_path: Path
) -> None:
    stack = STACK[:1]
    tifffile.imwrite(tmp_path / "s.tif", stack, imagej=True, metadata={"axes": "TZCYX"})
    restore(box_network(channels=2), tmp_path / "s.tif", tmp_path / "o")
    got = tifffile.imread(tmp_path / "o" / "s.tif")
    assert got.shape == (3, 300, 402)
    for z in range(3):
        np.testing.assert_array_equal(got[z], box_of(stack[0, z]))


def test_sixteen_bits_say_their_scale(box_network: MakeNetwork, tmp_path: Path) -> None:
    image = RNG.integers(0, 4000, (80, 70)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "i.tif", image)
    network = box_network(FixedRangeNormalisation(low=0, high=9000))
    (outcome,) = restore(network, tmp_path / "i.tif", tmp_path / "o", dtype="uint16")
    with tifffile.TiffFile(tmp_path / "o" / "i.tif") as tif:
        counts, stated = tif.asarray(), tif.imagej_metadata
    assert stated
    values = stated["c0"] + stated["c1"] * counts.astype(np.float64)
    expected = box_of(image[None] / np.float32(9000))
    assert expected.max() < 5.5
    assert np.abs(values - expected).max() < 0.6e-4  # half a step of 1e-4, and float32 rounding
    assert outcome.restored
    assert outcome.restored.clipped == 0
    brighter = box_network(FixedRangeNormalisation(low=0, high=4000))
    (outcome,) = restore(brighter, tmp_path / "i.tif", tmp_path / "p", dtype="uint16")
    clipped = int((box_of(image[None] / np.float32(4000)) > 5.5535).sum())
    assert outcome.restored
    assert outcome.restored.clipped == pytest.approx(clipped, abs=3)
    assert clipped > 100
    assert tifffile.imread(tmp_path / "p" / "i.tif").max() == 65535


# ---- metadata ----


def test_calibration_is_divided_by_the_scale(box_network: MakeNetwork, tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "s.tif",
        STACK,
        imagej=True,
        resolution=(1 / 0.065, 1 / 0.07),
        metadata={"axes": "TZCYX", "unit": "um", "spacing": 0.3, "finterval": 1.5},
    )
    for form, name in [("tiff", "s.tif"), ("ome-tiff", "s.ome.tif")]:
        restore(box_network(PERCENTILES), tmp_path / "s.tif", tmp_path / "o", format=form)
        with tifffile.TiffFile(tmp_path / "o" / name) as tif:
            tags = tif.pages.first.tags
            (n, d), (m, e) = tags["XResolution"].value, tags["YResolution"].value
            assert tif.series[0].axes == "TZCYX"
            if form == "tiff":
                stated = tif.imagej_metadata
                assert (d / n, e / m) == pytest.approx((0.0325, 0.035))
                assert stated
                assert stated["unit"] == "micron"
                assert (stated["spacing"], stated["finterval"]) == (0.3, 1.5)
                assert (stated["min"], stated["max"]) == (0, 1)
            else:
                pixels = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"]
                assert pixels["PhysicalSizeX"] == pytest.approx(0.0325)
                assert pixels["PhysicalSizeY"] == pytest.approx(0.035)
                assert pixels["PhysicalSizeZ"] == 0.3
                assert pixels["TimeIncrement"] == 1.5
                assert (1e4 * d / n, 1e4 * e / m) == pytest.approx((0.0325, 0.035))


# ---- a second run ----


def test_finished_files_are_skipped_and_others_are_in_the_way(
    box_network: MakeNetwork, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.tif", RNG.integers(0, 99, (70, 70)).astype("u1"))
    network, output = box_network(PERCENTILES), tmp_path / "o"
    inputs = [tmp_path / "a.tif", tmp_path / "b.tif"]
    for form in ("tiff", "ome-tiff"):
        for expected in (Status.restored, Status.skipped):
            outcomes = restore(network, inputs, output, format=form)
            assert [outcome.status for outcome in outcomes] == [expected] * 2
    before = (output / "b.tif").read_bytes()
    outcomes = restore(network, inputs, output, dtype="uint16")
    assert {o.status for o in outcomes} == {Status.failed}
    assert "another dtype" in outcomes[0].reason
    assert "--overwrite" in outcomes[0].reason
    tifffile.imwrite(tmp_path / "a.tif", RNG.integers(0, 99, (70, 70)).astype("u1"))
    (output / "b.tif").write_bytes(b"mine")
    reasons = [outcome.reason for outcome in restore(network, inputs, output)]
    assert "another source_sha256" in reasons[0]
    assert "not made by restore" in reasons[1]
    assert (output / "b.tif").read_bytes() == b"mine"
    outcomes = restore(network, inputs, output, overwrite=True)
    assert [outcome.status for outcome in outcomes] == [Status.restored] * 2
    assert (output / "b.tif").read_bytes() == before


def test_nothing_is_opened_when_all_is_finished(box_network: MakeNetwork, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK[0, 0, 0])
    network, output = box_network(PERCENTILES), tmp_path / "o"
    restore(network, tmp_path / "a.tif", output)

    def never(_: Path) -> ReadyNetwork:
        raise AssertionError

    found = find([str(tmp_path / "a.tif")], output)
    (outcome,) = restore_files(found.images, output, Opener(network.model, never), SMALL)
    assert outcome.status is Status.skipped


# ---- bad inputs ----


def _truncated(path: Path) -> str:
    tifffile.imwrite(path, STACK[0, 0, 0])
    path.write_bytes(path.read_bytes()[:20000])
    return "truncated"


def _empty(path: Path) -> str:
    path.write_bytes(b"")
    return "empty"


def _text(path: Path) -> str:
    path.write_text("no image")
    return "neither TIFF nor PNG"


def _rgb(path: Path) -> str:
    tifffile.imwrite(path, RNG.integers(0, 255, (80, 80, 3)).astype(np.uint8), photometric="rgb")
    return "has 3 colours, the network takes 1; restore each with --per-colour"


def _nan(path: Path) -> str:
    image = STACK[0, 0, 0].astype(np.float32)
    image[3, 4] = np.nan
    tifffile.imwrite(path, image)
    return "1 NaN or infinite"


def _flat(path: Path) -> str:
    tifffile.imwrite(path, np.full((80, 80), 7, np.uint8))
    return "flat"


def _too_small(path: Path) -> str:
    tifffile.imwrite(path, np.arange(160, dtype=np.uint8).reshape(2, 80))
    return "smallest this network restores is 3×3"


def _complex(path: Path) -> str:
    tifffile.imwrite(path, np.ones((80, 80), np.complex64))
    return "complex64"


BAD = [_truncated, _empty, _text, _rgb, _nan, _flat, _too_small, _complex]


def test_bad_files_are_named_and_the_rest_is_done(box_network: MakeNetwork, tmp_path: Path) -> None:
    folder, output = tmp_path / "in", tmp_path / "o"
    (folder / "deeper").mkdir(parents=True)
    words = {make.__name__: make(folder / f"{make.__name__}.tif") for make in BAD}
    (folder / "notes.txt").write_text("not by name")
    (folder / "._hidden.tif").write_text("macOS")
    for name in ("a.tif", "deeper/z.tif"):
        tifffile.imwrite(folder / name, STACK[0, 0, 0])
    outcomes = {o.source.stem: o for o in restore(box_network(PERCENTILES), folder, output)}
    assert outcomes.keys() == words.keys() | {"a", "z"}
    for name, expected in words.items():
        assert outcomes[name].status is Status.failed
        assert expected in outcomes[name].reason
        assert f"{name}.tif" in outcomes[name].reason
    written = sorted(str(p.relative_to(output)) for p in output.rglob("*") if p.is_file())
    assert written == ["a.tif", "deeper/z.tif"]
    assert find([str(folder)], output).ignored == (folder / "notes.txt",)


def failing_disk(number: int) -> Callable[[int], None]:
    def failing(_: int) -> None:
        raise OSError(number, os.strerror(number))

    return failing


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_leaves_nothing_half_written(
    box_network: MakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It ends the run: it would fail every further image."""
    tifffile.imwrite(tmp_path / "a.tif", STACK[0, 0, 0])
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing_disk(number))
        with pytest.raises(DiskError, match=os.strerror(number)):
            restore(box_network(), tmp_path / "a.tif", tmp_path / "o")
    assert list((tmp_path / "o").iterdir()) == []
    (outcome,) = restore(box_network(), tmp_path / "a.tif", tmp_path / "o")
    assert outcome.status is Status.restored


def test_a_write_that_fails_costs_its_image(
    box_network: MakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK[0, 0, 0])
    monkeypatch.setattr(os, "fsync", failing_disk(errno.EIO))
    (outcome,) = restore(box_network(), tmp_path / "a.tif", tmp_path / "o")
    assert outcome.status is Status.failed
    assert os.strerror(errno.EIO) in outcome.reason
    assert list((tmp_path / "o").iterdir()) == []


def test_too_little_space_is_said_before_the_work(
    box_network: MakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)
    full = tmp_path / "o"
    monkeypatch.setattr(
        shutil, "disk_usage", lambda p: usage._replace(free=1000) if p == full else usage
    )
    tifffile.imwrite(tmp_path / "a.tif", STACK[0, 0, 0])
    (outcome,) = restore(box_network(), tmp_path / "a.tif", tmp_path / "o")
    assert "needs 0.5 MB, the disk has 0.0 MB" in outcome.reason


def test_an_output_at_work_elsewhere_is_left_alone(
    box_network: MakeNetwork, tmp_path: Path
) -> None:
    from w2s_export.restore.output import claimed

    tifffile.imwrite(tmp_path / "a.tif", STACK[0, 0, 0])
    with claimed(tmp_path / "o" / "a.tif"):
        (outcome,) = restore(box_network(), tmp_path / "a.tif", tmp_path / "o")
    assert "another run is writing it" in outcome.reason


# ---- which files ----


def make_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_folders_and_globs_keep_their_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_files(tmp_path, "in/w1/a.tif", "in/w2/a.TIFF", "in/w2/b.png", "in/w2/c.csv", "in/o/r.tif")
    make_files(
        tmp_path, "in/s.ome.zarr/zarr.json", "in/s.ome.zarr/0/zarr.json", "in/s.ome.zarr/x.tif"
    )
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "in" / "o"

    def seen(*given: str) -> set[tuple[str, str]]:
        return {(str(i.below), i.stem) for i in find(given, output).images}

    assert seen("in") == {("w1", "a"), ("w2", "a"), ("w2", "b"), (".", "s")}
    assert seen("in/**/a*") == {("w1", "a"), ("w2", "a")}
    assert seen("in/*/*.tif") == {("w1", "a"), ("o", "r")}
    assert seen(str(tmp_path / "in/w?/b.png")) == {("w2", "b")}
    assert seen("in/w2/a.TIFF", "in/s.ome.zarr") == {(".", "a"), (".", "s")}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["none.tif"], "is not there"),
        (["*.tif"], "matches no file"),
        ([""], "an input is empty"),
        (["empty"], "holds no image"),
    ],
)
def test_inputs_that_mean_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], words: str
) -> None:
    make_files(tmp_path, "w1/a.tif", "w2/a.tiff")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=words):
        find(given, tmp_path / "o")


def test_an_output_over_its_input_is_refused(box_network: MakeNetwork, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK[0, 0, 0])
    before = (tmp_path / "a.tif").read_bytes()
    (outcome,) = restore(box_network(), tmp_path / "a.tif", tmp_path, overwrite=True)
    assert "would be overwritten" in outcome.reason
    assert (tmp_path / "a.tif").read_bytes() == before


def test_workers_write_zarr_alone(box_network: MakeNetwork, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK[0, 0, 0])
    network, found = box_network(), find([str(tmp_path / "a.tif")], tmp_path / "o")
    opened: Callable[[Path], ReadyNetwork] = lambda _: network  # noqa: E731
    with pytest.raises(ConfigError, match="--format ome-zarr"):
        restore_files(
            found.images, tmp_path / "o", Opener(network.model, opened), SMALL,
            distribution=Distribution(workers=2),
        )  # fmt: skip
