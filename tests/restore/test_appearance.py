"""What people see survives: from each format to each, and as the real ImageJ shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.imagej import imagej, needs_imagej
from tests.restore.conftest import MakeNetwork
from tests.restore.test_restore_files import PERCENTILES, restore
from w2s_export.config import FixedRangeNormalisation

zarr = pytest.importorskip("zarr", reason="zarr is not installed")

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 4000, (1, 2, 2, 40, 50)).astype(np.uint16)  # T, Z, C, Y, X
NAMES, COLOURS = ["DAPI", "GFP <2>"], [(255, 0, 255), (0, 255, 0)]
WINDOWS = [(100.0, 2000.0), (0.0, 3000.0)]
TEXT = "made by Ada & Bob\nobjective 60×"
FIXED = FixedRangeNormalisation(low=0, high=1000)


def lut(colour: tuple[int, int, int]) -> np.ndarray:
    return np.array([np.arange(256) * part // 255 for part in colour], np.uint8)


def write(path: Path, kind: str) -> Path:
    if kind == "imagej":
        metadata: dict[str, Any] = {
            "axes": "TZCYX",
            "mode": "color",
            "Ranges": [limit for window in WINDOWS for limit in window],
            "LUTs": [lut(colour) for colour in COLOURS],
            "Labels": [f"{name} z{z}" for z in range(2) for name in NAMES],
            "Info": TEXT,
            "Overlays": [b"Iout" + bytes(60)],
        }
        tifffile.imwrite(path, STACK, imagej=True, metadata=metadata)
        return path
    if kind == "ome":
        packed = [(r << 24 | g << 16 | b << 8 | 255) for r, g, b in COLOURS]
        channels = [
            {"Name": name, "Color": value - (1 << 32) if value >> 31 else value}
            for name, value in zip(NAMES, packed, strict=True)
        ]
        stated = {"Name": "cell", "Description": TEXT, "Channel": channels}
        tifffile.imwrite(path, STACK, ome=True, metadata={"axes": "TZCYX", **stated})
        return path
    root = zarr.open_group(str(path), mode="w", zarr_format=2)
    root.create_array("0", data=STACK.swapaxes(1, 2), chunks=(1, 1, 1, 40, 50))
    root.attrs.update(
        multiscales=[{"version": "0.4", "name": "cell", "datasets": [{"path": "0"}]}],
        omero={
            "channels": [
                {"label": n, "color": "{:02X}{:02X}{:02X}".format(*c), "active": True,
                 "window": {"min": 0, "max": 65535, "start": low, "end": high}}
                for n, c, (low, high) in zip(NAMES, COLOURS, WINDOWS, strict=True)
            ]
        },
    )  # fmt: skip
    return path


def read(path: Path, form: str) -> dict[str, Any]:
    """Names, colours, ranges, labels and text, by other readers than ours."""
    if form == "ome-zarr":
        ome = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]
        channels = ome["omero"]["channels"]
        return {
            "names": [channel.get("label") for channel in channels],
            "colours": [tuple(bytes.fromhex(channel["color"])) for channel in channels],
            "windows": [(c["window"]["start"], c["window"]["end"]) for c in channels],
            "name": ome["multiscales"][0].get("name"),
        }
    with tifffile.TiffFile(path) as tif:
        if form == "ome-tiff":
            image = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]
            channels = image["Pixels"]["Channel"]
            packed = [channel["Color"] & 0xFFFFFFFF for channel in channels]
            return {
                "names": [channel.get("Name") for channel in channels],
                "colours": [(p >> 24, p >> 16 & 255, p >> 8 & 255) for p in packed],
                "text": image["Description"],
                "name": image["Name"],
            }
        stated = tif.imagej_metadata
    assert stated
    ranges = [float(limit) for limit in stated["Ranges"]]
    return {
        "names": [label.partition(" z")[0] for label in stated["Labels"][:2]],
        "labels": stated["Labels"],
        "colours": [tuple(np.asarray(table)[:, 255].tolist()) for table in stated["LUTs"]],
        "windows": [(low, high) for low, high in zip(ranges[::2], ranges[1::2], strict=True)],
        "text": stated["Info"],
        "mode": stated["mode"],
    }


@pytest.mark.parametrize("kind", ["imagej", "ome", "zarr"])
@pytest.mark.parametrize(
    ("form", "ending"), [("tiff", ".tif"), ("ome-tiff", ".ome.tif"), ("ome-zarr", ".ome.zarr")]
)
@pytest.mark.parametrize("keep", [False, True])
def test_from_each_format_to_each(
    box_network: MakeNetwork, tmp_path: Path, kind: str, form: str, ending: str, keep: bool
) -> None:
    suffix = {"imagej": ".tif", "ome": ".ome.tif", "zarr": ".zarr"}[kind]
    source = write(tmp_path / f"s{suffix}", kind)
    (outcome,) = restore(
        box_network(FIXED), source, tmp_path / "o", format=form, keep_intensity=keep
    )
    got = read(tmp_path / "o" / f"s{ending}", form)
    assert got["colours"] == COLOURS
    if kind != "imagej":  # which has labels of slices, but no names of channels
        assert got["names"] == NAMES
    if kind != "ome" and "windows" in got:  # OME-TIFF has no display ranges
        expected = WINDOWS if keep else [(0.1, 2.0), (0.0, 3.0)]
        assert got["windows"] == [pytest.approx(window) for window in expected]
    if kind != "imagej" and "name" in got:
        assert got["name"] == "cell"
    assert outcome.restored
    left = {what.partition(" (")[0] for what in outcome.restored.left}
    if kind != "zarr" and "text" in got:
        assert got["text"].startswith(f"{TEXT}\nw2s_export: {{")
    if kind == "imagej":
        assert any(what.startswith("1 overlays") for what in left)
        assert ("slice labels" in left) == (form != "tiff")
        if form == "tiff":
            assert got["labels"] == ["DAPI z0", "GFP <2> z0", "DAPI z1", "GFP <2> z1"]
            assert got["mode"] == "color"
    # A second restoration of the result finds its own record, not the one that came along.
    if form != "ome-zarr":
        path = tmp_path / "o" / f"s{ending}"
        for _ in range(2):
            (outcome,) = restore(box_network(FIXED), path, tmp_path / "p", format=form)
        assert outcome.status.value == "skipped"


def test_zarr_keeps_the_text_of_the_user(box_network: MakeNetwork, tmp_path: Path) -> None:
    source = write(tmp_path / "s.tif", "imagej")
    restore(box_network(FIXED), source, tmp_path / "o", format="ome-zarr")
    restore(box_network(FIXED), tmp_path / "o" / "s.ome.zarr", tmp_path / "p", format="tiff")
    with tifffile.TiffFile(tmp_path / "p" / "s.tif") as tif:
        assert (tif.imagej_metadata or {})["Info"].startswith(TEXT)


WRITE = """
folder = getArgument();
newImage("a", "16-bit composite-mode", 60, 40, 2, 2, 1);
for (c = 1; c <= 2; c++) for (z = 1; z <= 2; z++) {
  Stack.setPosition(c, z, 1);
  run("Add Specified Noise...", "slice standard=500");
  setMetadata("Label", "c" + c + " z" + z);
}
Stack.setChannel(1); run("Magenta"); setMinAndMax(10, 900);
Stack.setChannel(2); run("Fire"); setMinAndMax(20, 1200);
setMetadata("Info", "made by Ada");
makeOval(3, 3, 9, 9);
saveAs("Tiff", folder + "/many.tif");
close();
newImage("b", "16-bit ramp", 60, 40, 1);
run("Fire");
setMinAndMax(100, 5000);
saveAs("Tiff", folder + "/one.tif");
"""
SHOW = """
args = split(getArgument(), "|");
for (i = 0; i < args.length; i++) {
  open(args[i]);
  getDimensions(w, h, channels, slices, frames);
  for (c = 1; c <= channels; c++) {
    if (channels * slices > 1) Stack.setPosition(c, slices, 1);
    getLut(r, g, b);
    getMinAndMax(low, high);
    label = "";
    if (channels * slices > 1) label = getMetadata("Label");
    print(r[128], g[128], b[255], d2s(low, 4), d2s(high, 4), label);
  }
  if (channels > 1) print(substring(getMetadata("Info"), 0, 24));
  close();
}
"""


@needs_imagej
def test_imagej_shows_the_result_as_it_showed_the_input(
    box_network: MakeNetwork, tmp_path: Path
) -> None:
    imagej(tmp_path, WRITE, tmp_path)
    inputs = [tmp_path / "many.tif", tmp_path / "one.tif"]
    restore(box_network(PERCENTILES), inputs, tmp_path / "k", keep_intensity=True)
    restore(box_network(FIXED), inputs, tmp_path / "o")
    places = [tmp_path / folder / path.name for folder in ("k", "o") for path in inputs]
    lines = imagej(tmp_path, SHOW, "|".join(map(str, places))).splitlines()
    fire = "240 79 255"  # as ImageJ's own table has it
    assert lines == [
        "128 0 255 10.0000 900.0000 c1 z2",
        f"{fire} 20.0000 1200.0000 c2 z2",
        "made by Ada", "w2s_export: ",
        f"{fire} 100.0000 5000.0000 ",
        "128 0 255 0.0100 0.9000 c1 z2",
        f"{fire} 0.0200 1.2000 c2 z2",
        "made by Ada", "w2s_export: ",
        f"{fire} 0.1000 5.0000 ",
    ]  # fmt: skip


def test_white_is_zero_stays_white_is_zero(box_network: MakeNetwork, tmp_path: Path) -> None:
    """ImageJ keeps such pixels as they are and inverts the lookup table."""
    tifffile.imwrite(tmp_path / "w.tif", STACK[0, 0, 0], photometric="miniswhite", metadata=None)
    restore(box_network(FIXED), tmp_path / "w.tif", tmp_path / "o")
    with tifffile.TiffFile(tmp_path / "o" / "w.tif") as tif:
        colormap = tif.pages.first.tags["ColorMap"].value
    np.testing.assert_array_equal(colormap >> 8, [np.arange(255, -1, -1)] * 3)


DRAW = """
folder = getArgument();
newImage("a", "16-bit ramp", 60, 40, 1, 2, 2);
Stack.setPosition(1, 2, 1);
makeRectangle(3, 4, 10, 8); Roi.setName("box"); Overlay.addSelection; Overlay.setPosition(1, 2, 1);
makeOval(7, 9, 20, 11); Overlay.addSelection;
makePolygon(3, 4, 30, 6, 20, 30); Overlay.addSelection;
makeLine(1.5, 2.5, 40, 30); Overlay.addSelection;
makePoint(11, 13); Overlay.addSelection;
makeEllipse(5, 6, 30, 20, 0.5); Overlay.addSelection;
makeRectangle(2, 2, 20, 20); setKeyDown("shift"); makeOval(30, 20, 9, 9); Overlay.addSelection;
setKeyDown("alt"); makeRectangle(6, 6, 5, 5); Overlay.addSelection; setKeyDown("none");
makeRotatedRectangle(10, 10, 40, 20, 8); Overlay.addSelection;
makeSelection("freeline", newArray(1, 5, 9), newArray(2, 8, 3)); Overlay.addSelection;
makeArrow(4, 5, 30, 25); Overlay.addSelection;
Overlay.show;
makeOval(3, 5, 9, 11);
saveAs("Tiff", folder + "/drawn.tif");
"""
DRAWN = """
function tell() {
  getSelectionBounds(x, y, w, h);
  getSelectionCoordinates(xs, ys);
  line = "" + selectionType() + " " + x + " " + y + " " + w + " " + h;
  if (selectionType() != 0 && selectionType() != 1 && selectionType() != 9)
    for (i = 0; i < minOf(3, xs.length); i++) line += " " + xs[i] + " " + ys[i];
  print(line);
}
setBatchMode(true);
open(getArgument());
tell();
n = Overlay.size;
for (i = 0; i < n; i++) { Overlay.activateSelection(i); tell(); }
Overlay.activateSelection(0);
Roi.getPosition(c, z, t);
print(Roi.getName, c, z, t);
"""


@needs_imagej
def test_overlays_and_selection_grow_with_their_image(
    box_network: MakeNetwork, tmp_path: Path
) -> None:
    """Every place that ImageJ tells of the input's regions is twice as far in the result."""
    pytest.importorskip("roifile", reason="roifile is not installed")
    imagej(tmp_path, DRAW, tmp_path)
    (outcome,) = restore(box_network(FIXED), tmp_path / "drawn.tif", tmp_path / "o")
    assert outcome.restored
    assert not outcome.restored.left
    before, after = (
        imagej(tmp_path, DRAWN, folder / "drawn.tif").splitlines()
        for folder in (tmp_path, tmp_path / "o")
    )
    assert len(before) == 13
    assert before[-1] == after[-1] == "box 1 2 1"
    for old, new in zip(before[:-1], after[:-1], strict=True):
        kind, *places = (float(part) for part in old.split())
        new_kind, *new_places = (float(part) for part in new.split())
        assert new_kind == kind, (old, new)
        if kind == 5:  # a line's ends; the head of an arrow, which counts in its box, has one size
            places, new_places = places[4:], new_places[4:]
        # Outlines of ellipses are points at whole pixels.
        assert new_places == pytest.approx([2 * place for place in places], abs=1), (old, new)


def test_what_cannot_grow_is_named(box_network: MakeNetwork, tmp_path: Path) -> None:
    pytest.importorskip("roifile", reason="roifile is not installed")
    source = write(tmp_path / "s.tif", "imagej")  # its overlay is no region
    (outcome,) = restore(box_network(FIXED), source, tmp_path / "o")
    assert outcome.restored
    assert outcome.restored.left == ("1 overlays of an unknown kind, or too large",)
