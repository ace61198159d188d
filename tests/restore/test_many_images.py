"""Several images in a file, bad planes and bad names among good ones, colours, intensities."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.inputs import noise
from tests.io.test_microscopes import write_czi
from tests.io.test_series import UUIDS, block, image_xml, write_set
from tests.restore.conftest import MakeNetwork, box_of
from tests.restore.test_restore_files import PERCENTILES, normalised, restore
from w2s_export.config import FixedRangeNormalisation, PercentileNormalisation
from w2s_export.errors import ConfigError
from w2s_export.restore import batch
from w2s_export.restore.batch import Outcome, Status
from w2s_export.restore.inputs import find

RNG = np.random.default_rng(0)
PLANE = RNG.integers(0, 4000, (40, 50)).astype(np.uint16)
CLOSE = {"atol": 3e-6, "rtol": 0}  # float32 sums of nine values up to 1.2 in another order: 1e-6


def two_series(path: Path) -> list[np.ndarray]:
    planes = [PLANE, PLANE[:30, ::-1]]
    with tifffile.TiffWriter(path, ome=True) as writer:
        for plane in planes:
            writer.write(plane, metadata={"axes": "YX"})
    return planes


@pytest.mark.parametrize(
    ("form", "ending"), [("tiff", ".tif"), ("ome-tiff", ".ome.tif"), ("ome-zarr", ".ome.zarr")]
)
def test_every_series_has_a_result(
    box_network: MakeNetwork, tmp_path: Path, form: str, ending: str
) -> None:
    planes = two_series(tmp_path / "a.ome.tif")
    output = tmp_path / "o"
    for status in (Status.restored, Status.skipped):
        outcomes = restore(box_network(PERCENTILES), tmp_path / "a.ome.tif", output, format=form)
        assert [o.status for o in outcomes] == [status, status]
    names = [f"a_series{number}{ending}" for number in (1, 2)]
    assert sorted(path.name for path in output.iterdir()) == names
    for name, plane in zip(names, planes, strict=True):
        if form == "ome-zarr":
            zarr = pytest.importorskip("zarr")
            got = zarr.open_array(str(output / name / "0"), mode="r")[0, 0, 0]
        else:
            got = tifffile.imread(output / name)
        np.testing.assert_allclose(got, box_of(normalised(plane[None])), **CLOSE)


def test_the_seconds_of_images_that_overlap_add_up(
    box_network: MakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three are under way at once: each 0.2 s long, all six take 0.4 s and the start."""
    for number in range(6):
        tifffile.imwrite(tmp_path / f"{number}.tif", PLANE)
    restore_to_tiff = batch.restore_to_tiff

    def slowly(*arguments: Any) -> Any:
        time.sleep(0.2)
        return restore_to_tiff(*arguments)

    monkeypatch.setattr(batch, "restore_to_tiff", slowly)
    begun = time.perf_counter()
    outcomes = restore(box_network(PERCENTILES), tmp_path, tmp_path / "o")
    assert len(outcomes) == 6
    assert 0.4 <= sum(outcome.seconds for outcome in outcomes) <= time.perf_counter() - begun


def test_a_bad_series_is_named_and_the_others_are_restored(
    box_network: MakeNetwork, tmp_path: Path
) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        for image in (PLANE, np.ones((2, 40), np.uint16), np.full((40, 40), 7, np.uint8)):
            writer.write(image, metadata={"axes": "YX", "Name": "well B2"})
    good, small, flat = restore(box_network(PERCENTILES), tmp_path / "a.ome.tif", tmp_path / "o")
    assert [o.status.value for o in (good, small, flat)] == ["restored", "failed", "failed"]
    assert "a.ome.tif: series 2 of 3 (well B2): is 2×40 pixels" in small.reason
    assert "series 3 of 3 (well B2): the image is flat" in flat.reason
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["a_series1.tif"]


def test_a_set_of_files_is_restored_once(box_network: MakeNetwork, tmp_path: Path) -> None:
    folder, names = tmp_path / "in", ["p0.ome.tif", "p1.ome.tif"]
    folder.mkdir()
    xml = "".join(image_xml(i, block(name, UUIDS[i])) for i, name in enumerate(names))
    write_set(folder, names, xml)
    outcomes = restore(box_network(PERCENTILES), folder, tmp_path / "o")
    assert {o.status for o in outcomes} == {Status.restored}
    written = {path.name for path in (tmp_path / "o").iterdir()}
    assert written == {"p0_series1.tif", "p1_series2.tif"}
    outcomes = restore(box_network(PERCENTILES), folder / "p1.ome.tif", tmp_path / "alone")
    written = {path.name for path in (tmp_path / "alone").iterdir()}
    assert written == {"p1_series1.tif", "p1_series2.tif"}
    (folder / "p0.ome.tif").unlink()
    first, second = restore(box_network(PERCENTILES), folder, tmp_path / "rest")
    assert (first.status, second.status) == (Status.failed, Status.restored)
    assert "series 1 of 2 (p0)" in first.reason
    assert "p0.ome.tif" in first.reason
    xml = image_xml(0, "".join(block(n, UUIDS[c], c) for c, n in enumerate(names)), channels=2)
    write_set(folder, names, xml)
    first, second = restore(box_network(PERCENTILES), folder, tmp_path / "channels")
    assert (first.status, second.status) == (Status.restored, Status.part)
    assert [path.name for path in (tmp_path / "channels").iterdir()] == ["p0.tif"]


# ---- bad planes ----


def stack_with(bad: np.ndarray) -> np.ndarray:
    stack = np.stack([PLANE, PLANE // 2 + 9, PLANE[::-1]]).astype(bad.dtype)
    stack[1] = bad
    return stack


@pytest.mark.parametrize("form", ["tiff", "ome-zarr"])
@pytest.mark.parametrize("over", ["plane", "stack"])
@pytest.mark.parametrize("value", [7, np.nan])
def test_a_bad_plane_costs_itself(
    box_network: MakeNetwork, tmp_path: Path, value: float, over: str, form: str
) -> None:
    bad = np.full_like(PLANE, value) if value == 7 else PLANE.astype(np.float32)
    if value != 7:
        bad[3, 4] = value
    stack = stack_with(bad)
    tifffile.imwrite(tmp_path / "s.tif", stack, photometric="minisblack")
    (outcome,) = restore(
        box_network(PERCENTILES), tmp_path / "s.tif", tmp_path / "o", percentiles_over=over,
        format=form,
    )  # fmt: skip
    assert outcome.status is Status.restored
    assert outcome.restored
    if form == "tiff":
        got = tifffile.imread(tmp_path / "o" / "s.tif")
    else:
        zarr = pytest.importorskip("zarr")
        got = zarr.open_array(str(tmp_path / "o" / "s.ome.zarr" / "0"), mode="r")[0, 0]
    good = [0, 2] if value != 7 or over == "plane" else [0, 1, 2]
    for z in good:
        whole = stack[good] if over == "stack" else stack[z]
        np.testing.assert_allclose(got[z], box_of(normalised(stack[z][None], whole)), **CLOSE)
    if len(good) == 3:
        assert outcome.restored.bad == ()
        return
    (reason,) = outcome.restored.bad
    assert reason.startswith("plane t=0 z=1 c=0: the image ")
    assert np.isnan(got[1]).all() if value != 7 else (got[1] == 0).all()


@pytest.mark.parametrize("how", [None, FixedRangeNormalisation(low=0, high=90000)])
def test_a_plane_of_nan_without_percentiles(
    box_network: MakeNetwork, tmp_path: Path, how: FixedRangeNormalisation | None
) -> None:
    stack = stack_with(np.full(PLANE.shape, np.inf, np.float32))
    tifffile.imwrite(tmp_path / "s.tif", stack, photometric="minisblack")
    (outcome,) = restore(box_network(how), tmp_path / "s.tif", tmp_path / "o", dtype="uint16")
    assert outcome.restored
    assert len(outcome.restored.bad) == 1
    got = tifffile.imread(tmp_path / "o" / "s.tif")
    assert (got[1] == 0).all()  # 16 bits have no NaN: the lowest there is
    assert got[0].std() > 100


@pytest.mark.parametrize("how", [PERCENTILES, None])
@pytest.mark.parametrize("over", ["plane", "stack"])
def test_a_damaged_plane_costs_itself(
    box_network: MakeNetwork, tmp_path: Path, over: str, how: PercentileNormalisation | None
) -> None:
    path, stack = tmp_path / "s.tif", stack_with(PLANE + 1)
    tifffile.imwrite(path, stack, photometric="minisblack", compression="zlib", metadata=None)
    with tifffile.TiffFile(path) as tif:
        (start, *_), (length, *_) = tif.pages[1].dataoffsets, tif.pages[1].databytecounts
    data = bytearray(path.read_bytes())
    data[start + 5 : start + length - 5] = b"\xff" * (length - 10)
    path.write_bytes(data)
    (outcome,) = restore(box_network(how), path, tmp_path / "o", percentiles_over=over)
    assert outcome.restored, outcome.reason
    (reason,) = outcome.restored.bad
    assert reason.startswith("plane t=0 z=1 c=0: is damaged")
    got = tifffile.imread(tmp_path / "o" / "s.tif")
    assert np.isnan(got[1]).all()
    for z in (0, 2):
        seen = stack[z][None].astype(np.float32)
        if how:
            seen = normalised(stack[z][None], stack[[0, 2]] if over == "stack" else stack[z])
        np.testing.assert_allclose(got[z], box_of(seen), **CLOSE)


def test_planes_that_were_never_written_are_named(box_network: MakeNetwork, tmp_path: Path) -> None:
    """As an acquisition leaves them that was stopped; a header of which most is missing is none."""
    stack = np.stack([PLANE + number for number in range(6)])
    tifffile.imwrite(tmp_path / "whole.ome.tif", stack, metadata={"axes": "TYX"})
    header = tifffile.tiffcomment(tmp_path / "whole.ome.tif").encode()
    for written, status in ((4, Status.restored), (2, Status.failed)):
        path = tmp_path / f"{written}.ome.tif"
        tifffile.imwrite(path, stack[:written], description=header, metadata=None,
                         photometric="minisblack")  # fmt: skip
        (outcome,) = restore(box_network(None), path, tmp_path / "o")
        assert outcome.status is status
    assert "plane 3 of 6 is not in this file" in outcome.reason
    (outcome,) = restore(box_network(None), tmp_path / "4.ome.tif", tmp_path / "again")
    assert outcome.restored
    assert outcome.restored.shape[0] == 6
    assert [reason.partition(":")[0] for reason in outcome.restored.bad] == [
        "plane t=4 z=0 c=0", "plane t=5 z=0 c=0",
    ]  # fmt: skip
    got = tifffile.imread(tmp_path / "again" / "4.tif")
    assert np.isnan(got[4:]).all()
    for t in range(4):
        np.testing.assert_allclose(got[t], box_of(stack[t][None].astype(np.float32)), **CLOSE)


# ---- names ----


def test_clashing_names_are_all_named_and_the_others_done(
    box_network: MakeNetwork, tmp_path: Path
) -> None:
    for name in ("w1/a.tif", "w2/a.tiff", "w1/b.tif", "w3/c_series2.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / name, PLANE)
    two_series(tmp_path / "w1" / "c.ome.tif")
    given = [*sorted((tmp_path / "w1").iterdir()), tmp_path / "w2/a.tiff"]
    given.append(tmp_path / "w3/c_series2.tif")
    outcomes = restore(box_network(PERCENTILES), given, tmp_path / "o")
    failed = {o.image.label.rpartition("/")[2]: o.reason for o in outcomes if not o.restored}
    assert failed.keys() == {
        "a.tif", "a.tiff", "c.ome.tif: series 2 of 2 (Image1)", "c_series2.tif",
    }  # fmt: skip
    assert "w2/a.tiff" in failed["a.tif"]
    assert "w1/a.tif" in failed["a.tiff"]
    assert {p.name for p in (tmp_path / "o").iterdir()} == {"b.tif", "c_series1.tif"}


def test_a_result_never_replaces_an_input(box_network: MakeNetwork, tmp_path: Path) -> None:
    two_series(tmp_path / "c.ome.tif")
    tifffile.imwrite(tmp_path / "c_series2.tif", PLANE)
    outcomes = restore(
        box_network(PERCENTILES), [tmp_path / "c.ome.tif", tmp_path / "c_series2.tif"], tmp_path,
        overwrite=True,
    )  # fmt: skip
    assert [o.status.value for o in outcomes] == ["restored", "failed", "failed"]
    assert all("would be overwritten" in o.reason for o in outcomes[1:])
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "c_series2.tif"), PLANE)


def test_what_is_not_there_and_what_may_not_be_opened_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refused(path: str) -> object:
        if "locked" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    for name in ("in/a.tif", "in/locked/b.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / name, PLANE)
    monkeypatch.setattr(os, "scandir", refused)
    found = find([str(tmp_path / "in"), "none.tif", "*.png"], tmp_path / "o")
    assert [image.path.name for image in found.images] == ["a.tif"]
    reasons = [reason for _, reason in found.problems]
    assert "locked: cannot be opened: Permission denied" in reasons[0]
    assert reasons[1:] == ["none.tif: is not there", "*.png: matches no file"]
    with pytest.raises(ConfigError, match=r"none\.tif: is not there"):
        find(["none.tif"], tmp_path / "o")


@pytest.mark.skipif(os.name == "nt", reason="Windows names are Unicode")
def test_names_that_are_no_utf_8(box_network: MakeNetwork, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/n\xe9e.tif"))
    tifffile.imwrite(path, PLANE)
    (outcome,) = restore(box_network(PERCENTILES), path, tmp_path / "o")
    assert outcome.status is Status.restored
    assert (tmp_path / "o" / path.name).is_file()


def test_one_segment_that_claims_a_huge_size(
    box_network: MakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must fail by itself: a budget that is too small for everything ends the run."""
    from w2s_export.restore import memory

    monkeypatch.undo()  # of the small tiles
    assert memory.LARGEST_TILE == 4096
    for name in ("a", "m", "z"):
        tifffile.imwrite(tmp_path / f"{name}.tif", PLANE, compression="lzw", metadata=None)
    with tifffile.TiffFile(tmp_path / "m.tif", mode="r+b") as tif:
        for tag in (256, 257, 278):  # ImageWidth, ImageLength, RowsPerStrip
            tif.pages.first.tags[tag].overwrite(2**31 - 1)
    outcomes = restore(
        box_network(PERCENTILES), [tmp_path / f"{n}.tif" for n in "amz"], tmp_path / "o",
        memory=1 << 30,
    )  # fmt: skip
    assert [o.status.value for o in outcomes] == ["restored", "failed", "restored"]
    assert "m.tif" in outcomes[1].reason


# ---- colours and intensities ----


def test_each_colour_by_a_grey_network(box_network: MakeNetwork, tmp_path: Path) -> None:
    colours = RNG.integers(0, 255, (40, 50, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "c.tif", colours, photometric="rgb")
    network = box_network(PERCENTILES)
    (outcome,) = restore(network, tmp_path / "c.tif", tmp_path / "o")
    assert "--per-colour" in outcome.reason
    (outcome,) = restore(network, tmp_path / "c.tif", tmp_path / "o", per_colour=True)
    assert outcome.status is Status.restored
    with tifffile.TiffFile(tmp_path / "o" / "c.tif") as tif:
        got, stated = tif.asarray(), tif.imagej_metadata
    assert tif.series[0].axes == "CYX"
    for c in range(3):
        np.testing.assert_allclose(got[c], box_of(normalised(colours[None, ..., c])), **CLOSE)
    assert stated
    assert [np.asarray(lut)[:, 255].tolist() for lut in stated["LUTs"]] == [
        [255, 0, 0], [0, 255, 0], [0, 0, 255],
    ]  # fmt: skip


@pytest.mark.parametrize("over", ["plane", "stack"])
@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_intensities_are_mapped_back(
    box_network: MakeNetwork, tmp_path: Path, over: str, dtype: str
) -> None:
    stack = np.stack([PLANE, PLANE // 4])
    tifffile.imwrite(tmp_path / "s.tif", stack, photometric="minisblack")
    restore(
        box_network(PERCENTILES), tmp_path / "s.tif", tmp_path / "o", keep_intensity=True,
        percentiles_over=over, dtype=dtype,
    )  # fmt: skip
    with tifffile.TiffFile(tmp_path / "o" / "s.tif") as tif:
        got, stated = tif.asarray(), tif.imagej_metadata
    assert stated
    for z in range(2):
        whole = stack if over == "stack" else stack[z]
        low, high = np.percentile(whole.astype(np.float64), [1, 99.8])
        values = box_of(normalised(stack[z][None], whole)).astype(np.float64) * (high - low) + low
        if dtype == "uint16":
            values = values.clip(0, 65535)
        np.testing.assert_allclose(got[z], values, atol=0.6 if dtype == "uint16" else 0.02)
        if z == 0:
            assert (stated["min"], stated["max"]) == pytest.approx((low, high))


def test_intensities_of_a_fixed_range(box_network: MakeNetwork, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "s.tif", PLANE)
    how = FixedRangeNormalisation(low=100, high=3000)
    restore(box_network(how), tmp_path / "s.tif", tmp_path / "o", keep_intensity=True)
    answer = box_of(((PLANE - 100.0) / 2900).astype(np.float32)[None]).astype(np.float64)
    got = tifffile.imread(tmp_path / "o" / "s.tif")
    np.testing.assert_allclose(got, answer * 2900 + 100, atol=0.02)


# ---- microscopes' own files ----


def test_a_czi_is_restored_scene_by_scene(box_network: MakeNetwork, tmp_path: Path) -> None:
    scenes = write_czi(tmp_path / "a.czi")
    outcomes = restore(box_network(None), tmp_path, tmp_path / "o")
    assert [outcome.status.value for outcome in outcomes] == ["restored", "restored"]
    got = tifffile.imread(tmp_path / "o" / "a_series2.tif")
    np.testing.assert_array_equal(got[1, 2, 1], box_of(scenes[1][1, 2, 1][None]))


def test_formats_that_are_not_read_are_named(box_network: MakeNetwork, tmp_path: Path) -> None:
    (tmp_path / "a.vsi").write_bytes(b"II*\0")
    assert [image.path.name for image in find([str(tmp_path)], tmp_path / "o").images] == ["a.vsi"]
    (outcome,) = restore(box_network(None), tmp_path, tmp_path / "o")
    assert "which is not read; save it as OME-TIFF" in outcome.reason


def test_a_library_that_is_missing_costs_its_images_alone(
    box_network: MakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nd2", None)
    (tmp_path / "a.nd2").write_bytes(b"\xda\xce\xbe\x0a")
    tifffile.imwrite(tmp_path / "b.tif", noise(32, 32))
    first, second = sorted(restore(box_network(None), tmp_path, tmp_path / "o"), key=_by_name)
    assert "w2s-export[microscopes]" in first.reason
    assert (first.status.value, second.status.value) == ("failed", "restored")


def _by_name(outcome: Outcome) -> str:
    return outcome.image.path.name
