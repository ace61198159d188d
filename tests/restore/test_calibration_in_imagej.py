"""Calibration of each format and unit, restored, as the real ImageJ tells it of the result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.imagej import imagej, needs_imagej
from tests.io.test_calibration import axes, levels, ngff
from tests.restore.conftest import MakeNetwork
from tests.restore.test_restore_files import restore

PLANES = np.arange(2 * 2 * 10 * 12, dtype=np.uint16).reshape(2, 2, 10, 12)
# unit: how many of it are one micrometre
LENGTHS = {"um": 1.0, "micron": 1.0, "nm": 1e3, "mm": 1e-3, "cm": 1e-4, "inch": 1 / 25400}
# unit: how many of it are one second
TIMES = {"sec": 1.0, "s": 1.0, "ms": 1e3, "msec": 1e3, "min": 1 / 60, "hour": 1 / 3600}

WRITE = """
lines = split(File.openAsString(getArgument() + "/units.txt"), "\\n");
for (i = 0; i < lines.length; i++) {
  parts = split(lines[i], " ");
  newImage("a", "16-bit ramp", 12, 10, 1, 2, 2);
  setVoxelSize(parseFloat(parts[0]), parseFloat(parts[1]), parseFloat(parts[2]), parts[3]);
  Stack.setFrameInterval(parseFloat(parts[4]));
  Stack.setTUnit(parts[5]);
  saveAs("Tiff", getArgument() + "/ij-" + parts[3] + "-" + parts[5] + ".tif");
  close();
}
"""
TELL = """
files = getFileList(getArgument());
for (i = 0; i < files.length; i++) if (endsWith(files[i], ".tif")) {
  open(getArgument() + "/" + files[i]);
  getVoxelSize(width, height, depth, unit);
  Stack.getUnits(x, y, z, time, value);
  micron = (unit == "micron") || (unit == "microns") || (unit == fromCharCode(181) + "m");
  interval = Stack.getFrameInterval();
  print(files[i] + " " + width + " " + height + " " + depth + " " + micron + " " + interval + " "
    + time);
  close();
}
"""


@needs_imagej
def test_every_unit_of_every_format(box_network: MakeNetwork, tmp_path: Path) -> None:
    """Pixels of 0.05 × 0.1 × 0.3 µm every 1.5 s: half the width and height in the result."""
    units = [(length, "sec") for length in LENGTHS] + [("um", time) for time in TIMES]
    lines = [
        f"{0.05 * LENGTHS[length]!r} {0.1 * LENGTHS[length]!r} {0.3 * LENGTHS[length]!r} {length} "
        f"{1.5 * TIMES[time]!r} {time}"
        for length, time in units
    ]
    (tmp_path / "units.txt").write_text("\n".join(lines), "utf-8")
    imagej(tmp_path, WRITE, tmp_path)
    sizes = {"µm": 1.0, "nm": 1e3, "mm": 1e-3, "Å": 1e4}
    for number, (unit, per) in enumerate(sizes.items()):
        stated = {f"PhysicalSize{axis}Unit": unit for axis in "XYZ"}
        values = {"X": 0.05 * per, "Y": 0.1 * per, "Z": 0.3 * per}
        stated.update({f"PhysicalSize{axis}": value for axis, value in values.items()})
        interval = {"TimeIncrement": 1500, "TimeIncrementUnit": "ms"}
        tifffile.imwrite(
            tmp_path / f"ome{number}.ome.tif", PLANES,
            metadata={"axes": "TZYX", **stated, **interval},
        )  # fmt: skip
    units_of = {"z": "micrometer", "y": "nanometer", "x": "nanometer"}
    scales = levels([0.025, 1, 0.3, 100, 50])
    ngff(tmp_path / "n.zarr", "0.4", {"axes": axes(t="minute", **units_of), **scales})
    inputs = sorted([*tmp_path.glob("*.tif"), tmp_path / "n.zarr"])
    assert len(inputs) == len({*units}) + 5
    outcomes = restore(box_network(None), inputs, tmp_path / "o", format="tiff")
    assert {outcome.status.value for outcome in outcomes} == {"restored"}
    told = [line.split() for line in imagej(tmp_path, TELL, tmp_path / "o").splitlines()]
    assert len(told) == len(inputs)
    for name, *numbers, time in told:
        # ImageJ's resolution has six digits of the number of pixels per unit.
        found = [float(number) for number in numbers]
        assert found == pytest.approx([0.025, 0.05, 0.3, 1, 1.5], rel=1e-4), name
        assert time == "sec", name
