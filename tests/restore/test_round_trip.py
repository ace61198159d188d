"""The round trip table of docs/images.md: measured, printed, and compared with what is kept there.

Each input is restored to each format, for five sets of axes, and read back.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.restore.conftest import MakeNetwork, box_of
from tests.restore.test_appearance import COLOURS, NAMES, TEXT, WINDOWS, lut
from tests.restore.test_restore_files import restore
from w2s_export.io.images import open_source

zarr = pytest.importorskip("zarr", reason="zarr is not installed")
roifile = pytest.importorskip("roifile", reason="roifile is not installed")

DOCS = Path(__file__).parents[2] / "docs" / "images.md"
AXES = ("YX", "ZYX", "TYX", "CYX", "TZCYX")
LENGTHS = {"T": 2, "Z": 3, "C": 2, "Y": 20, "X": 30}
FORMATS = {"tiff": ".tif", "ome-tiff": ".ome.tif", "ome-zarr": ".ome.zarr"}
CUBEHELIX = np.stack([np.arange(256), np.arange(256)[::-1], np.full(256, 9)]).astype(np.uint8)
Pixels = np.ndarray


def box(corner: tuple[int, int], size: tuple[int, int]) -> Any:
    """A rectangle, (x, y) both, as ImageJ draws it."""
    (x, y), (width, height) = corner, size
    return roifile.ImagejRoi(
        roitype=roifile.ROI_TYPE.RECT, version=228, left=x, top=y, right=x + width,
        bottom=y + height, name="box",
    )  # fmt: skip


def imagej_file(folder: Path, axes: str, pixels: Pixels) -> Path:
    channels = LENGTHS["C"] if "C" in axes else 1
    planes = int(np.prod(pixels.shape[:-2]))
    metadata: dict[str, Any] = {
        "axes": axes, "unit": "um", "spacing": 0.3, "finterval": 2.5, "Info": TEXT,
        "min": WINDOWS[0][0], "max": WINDOWS[0][1], "Labels": [f"l{n}" for n in range(planes)],
        "Overlays": [box((3, 4), (10, 8)).tobytes()], "ROI": box((1, 2), (5, 6)).tobytes(),
    }  # fmt: skip
    if channels > 1:
        metadata.update(
            Ranges=[limit for window in WINDOWS for limit in window], mode="composite",
            LUTs=[CUBEHELIX, lut(COLOURS[1])],
        )  # fmt: skip
    tables = [] if channels > 1 else [(320, 3, 768, [int(v) << 8 for v in CUBEHELIX.ravel()], True)]
    tifffile.imwrite(folder / "s.tif", pixels, imagej=True, resolution=(10, 5), metadata=metadata,
                     extratags=tables)  # fmt: skip
    return folder / "s.tif"


def ome_file(folder: Path, axes: str, pixels: Pixels) -> Path:
    packed = [(r << 24 | g << 16 | b << 8 | 255) for r, g, b in COLOURS]
    channels = [
        {"Name": name, "Color": value - (1 << 32) if value >> 31 else value}
        for name, value in zip(NAMES, packed, strict=True)
    ]
    tifffile.imwrite(
        folder / "s.ome.tif", pixels,
        metadata={
            "axes": axes, "PhysicalSizeX": 0.1, "PhysicalSizeY": 200, "PhysicalSizeYUnit": "nm",
            "PhysicalSizeZ": 0.3, "TimeIncrement": 2500, "TimeIncrementUnit": "ms", "Name": "cell",
            "Description": TEXT, "Channel": channels[: LENGTHS["C"] if "C" in axes else 1],
        },
    )  # fmt: skip
    return folder / "s.ome.tif"


def zarr_folder(folder: Path, axes: str, pixels: Pixels) -> Path:
    order = [axis for axis in "TCZYX" if axis in axes]
    root = zarr.open_group(str(folder / "s.ome.zarr"), mode="w")
    root.create_array("0", data=pixels.transpose([axes.index(axis) for axis in order]))
    units = {"T": "second", "Z": "micrometer", "Y": "nanometer", "X": "micrometer"}
    scale = {"T": 2.5, "Z": 0.3, "C": 1, "Y": 200, "X": 0.1}
    shown = zip(NAMES, COLOURS, WINDOWS, strict=True)
    image = {
        "name": "cell",
        "axes": [{"name": a.lower()} | ({"unit": units[a]} if a != "C" else {}) for a in order],
        "datasets": [
            {"path": "0", "coordinateTransformations": [
                {"type": "scale", "scale": [scale[axis] for axis in order]}
            ]}
        ],
    }  # fmt: skip
    channels = [
        {"label": name, "color": "{:02X}{:02X}{:02X}".format(*colour),
         "window": {"min": 0, "max": 65535, "start": low, "end": high}}
        for name, colour, (low, high) in shown
    ][: LENGTHS["C"] if "C" in axes else 1]  # fmt: skip
    root.attrs["ome"] = {"version": "0.5", "multiscales": [image], "omero": {"channels": channels}}
    return folder / "s.ome.zarr"


INPUTS: dict[str, Callable[[Path, str, Pixels], Path]] = {
    "ImageJ TIFF": imagej_file,
    "OME-TIFF": ome_file,
    "OME-Zarr": zarr_folder,
}


def fields(path: Path) -> dict[str, Any]:
    """What is found of an image, named as in the table."""
    with open_source(path) as source:
        layout = source.layout
        look = layout.appearance
        whole = slice(0, layout.height), slice(0, layout.width)
        pixels = [source.read(*place, *whole)[0] for place in np.ndindex(layout.planes)]
    times, slices, _ = layout.planes
    channels = look.channels
    return {
        "every plane": np.stack(pixels),
        "pixel size": layout.pixel_size_um,
        "z step": layout.z_step_um if slices > 1 else None,
        "time interval": layout.interval_s if times > 1 else None,
        "channel names": [c.name for c in channels] if any(c.name for c in channels) else None,
        "colours": [c.colour for c in channels] if any(c.lut for c in channels) else None,
        "lookup tables": [c.lut for c in channels] if any(c.lut for c in channels) else None,
        "display ranges": [c.window for c in channels] if any(c.window for c in channels) else None,
        "slice labels": list(look.labels) or None,
        "the user's text": look.text.partition("\nw2s_export: ")[0] or None,
        "name of the image": look.name or None,
        "overlays, selection": [*look.overlays, look.selection] if look.overlays else None,
    }


def kept(field: str, before: Any, after: Any, labels: Any) -> bool:
    """Whether a field of the input is in the result, half the pixel size in mind."""
    if field == "every plane":
        return len(before) == len(after) and all(
            np.array_equal(box_of(plane[None]), result)
            for plane, result in zip(before, after, strict=True)
        )
    if field == "pixel size":
        return after == (before[0] / 2, before[1] / 2)
    if field == "overlays, selection":
        grown = [box((6, 8), (20, 16)), box((2, 4), (10, 12))]
        return [roifile.ImagejRoi.frombytes(one) for one in after or ()] == grown
    if field == "channel names" and after is None:  # ImageJ shows them as labels of the slices
        return labels is not None and labels[: len(before)] == before
    return after == before


def table(box_network: MakeNetwork, folder: Path) -> list[str]:
    lines = ["| from | field | " + " | ".join(FORMATS) + " |", "|---|---|---|---|---|"]
    for name, write in INPUTS.items():
        found: dict[str, dict[str, dict[str, bool]]] = {}
        for axes in AXES:
            place = folder / name / axes
            place.mkdir(parents=True)
            rng = np.random.default_rng(0)
            pixels = rng.integers(0, 4000, [LENGTHS[axis] for axis in axes]).astype(np.uint16)
            path = write(place, axes, pixels)
            before = fields(path)
            for form, ending in FORMATS.items():
                (outcome,) = restore(
                    box_network(None), path, place / "o", format=form, keep_intensity=True
                )
                assert outcome.status.value == "restored", outcome.reason
                after = fields(place / "o" / f"s{ending}")
                for field, value in before.items():
                    if value is not None:
                        is_kept = kept(field, value, after[field], after["slice labels"])
                        found.setdefault(field, {}).setdefault(form, {})[axes] = is_kept
        for field, cells in found.items():
            row = []
            for form in FORMATS:
                good = [axes for axes, is_kept in cells[form].items() if is_kept]
                row.append("kept" if len(good) == len(cells[form]) else ", ".join(good) or "no")
            lines.append(f"| {name} | {field} | " + " | ".join(row) + " |")
    return lines


def test_the_table_in_the_documentation_is_what_is_measured(
    box_network: MakeNetwork, tmp_path: Path
) -> None:
    lines = table(box_network, tmp_path)
    print("\n".join(lines))
    text = DOCS.read_text("utf-8")
    _, _, rest = text.partition("<!-- round trip -->\n")
    stated, end, _ = rest.partition("\n<!-- end -->")
    assert end
    assert stated.splitlines() == lines
