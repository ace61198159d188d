"""Images whose headers state numbers without end, or whose parts are no files: refused, at once."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from w2s_export.errors import ImageError
from w2s_export.io.images import open_source, read_image
from w2s_export.io.units import exact_number, micrometres, seconds

LONG = "9" * 5000
ENDLESS = "1e999999999"
"""Ten letters: a number of a billion digits."""
PIXELS = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32)


@pytest.mark.parametrize("text", [ENDLESS, "1E-99999", "1e+0999_9999", LONG, "1/" + LONG, "", "x"])
def test_a_number_that_is_none_is_not_worked_out(text: str) -> None:
    with pytest.raises(ValueError, match="number|literal"):
        exact_number(text)
    assert micrometres(text, "nm") is None
    assert seconds(text, "s") is None


def test_numbers_as_files_write_them_are_read() -> None:
    assert micrometres("65", "nm") == 0.065
    assert micrometres(" 6.5e-02 ", "µm") == 0.065
    assert micrometres("1/8", "mm") == 125.0
    assert seconds(np.float64(1e-300), "s") == 1e-300


def _ome(path: Path, **stated: str) -> None:
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels DimensionOrder="XYCZT" Type="uint16" {}><Channel ID="Channel:0:0" Color="{}"/>'
        '<TiffData FirstZ="{}"/></Pixels></Image></OME>'
    )
    given = {"SizeX": "32", "SizeY": "24", "SizeZ": "1", "SizeC": "1", "SizeT": "1", **stated}
    colour, first = given.pop("Color", "1"), given.pop("FirstZ", "0")
    attributes = " ".join(f'{name}="{value}"' for name, value in given.items())
    tifffile.imwrite(path, PIXELS, description=xml.format(attributes, colour, first))


@pytest.mark.parametrize("digits", [10, 4299, 5000])
@pytest.mark.parametrize("name", ["SizeT", "SizeZ", "SizeX", "FirstZ"])
def test_sizes_without_end_in_ome_are_refused(tmp_path: Path, name: str, digits: int) -> None:
    _ome(tmp_path / "a.ome.tif", **{name: "9" * digits})
    with pytest.raises(ImageError) as refused:
        read_image(tmp_path / "a.ome.tif")
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("value", [ENDLESS, LONG, "-" + LONG])
@pytest.mark.parametrize("name", ["PhysicalSizeX", "PhysicalSizeZ", "TimeIncrement", "Color"])
def test_calibration_without_end_in_ome_is_none(tmp_path: Path, name: str, value: str) -> None:
    _ome(tmp_path / "a.ome.tif", **{name: value})
    with open_source(tmp_path / "a.ome.tif") as source:
        np.testing.assert_array_equal(source.read(0, 0, 0, slice(0, 24), slice(0, 32))[0], PIXELS)
        assert source.layout.pixel_size_um is None
        assert source.layout.z_step_um is None
        assert source.layout.interval_s is None


def _imagej(path: Path, line: str) -> None:
    tifffile.imwrite(path, PIXELS, description=f"ImageJ=1.54f\nunit=nm\n{line}\n")


@pytest.mark.parametrize("value", [ENDLESS, "-" + ENDLESS])
@pytest.mark.parametrize("name", ["spacing", "finterval", "fps", "min"])
def test_calibration_without_end_of_imagej_is_none(tmp_path: Path, name: str, value: str) -> None:
    _imagej(tmp_path / "a.tif", f"{name}={value}")
    with open_source(tmp_path / "a.tif") as source:
        assert source.layout.z_step_um is None
        assert source.layout.interval_s is None


@pytest.mark.parametrize("name", ["images", "slices", "spacing"])
def test_whole_numbers_without_end_of_imagej_are_read_or_refused(tmp_path: Path, name: str) -> None:
    _imagej(tmp_path / "a.tif", f"{name}={LONG}")
    said = ""
    try:
        read_image(tmp_path / "a.tif")
    except ImageError as error:
        said = str(error)
    assert len(said) < 1000


@pytest.fixture
def zarr_image(tmp_path: Path) -> Path:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("0", data=PIXELS, chunks=(12, 16), compressors=None)
    axes = [{"name": side, "type": "space", "unit": "micrometer"} for side in "yx"]
    scales = [{"axes": axes, "datasets": [{"path": "0"}]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": scales}
    return tmp_path / "a.zarr"


def _read(path: Path, *, missing_chunks: bool = False) -> None:
    with open_source(path, missing_chunks=missing_chunks) as source:
        source.read(0, 0, 0, slice(0, 24), slice(0, 32))


def test_a_good_zarr_is_read(zarr_image: Path) -> None:
    _read(zarr_image)


@pytest.mark.parametrize("file", ["zarr.json", "0/zarr.json"])
def test_a_number_of_5000_digits_in_zarr_is_refused(zarr_image: Path, file: str) -> None:
    text = (zarr_image / file).read_text()
    (zarr_image / file).write_text(text.replace("{", '{"more": ' + LONG + ",", 1))
    with pytest.raises(ImageError):
        _read(zarr_image)


@pytest.mark.parametrize("scale", [ENDLESS, LONG])
def test_a_scale_without_end_is_refused(zarr_image: Path, scale: str) -> None:
    found = json.loads((zarr_image / "zarr.json").read_text())
    step = {"type": "scale", "scale": [scale, "1"]}
    scales = found["attributes"]["ome"]["multiscales"]
    scales[0]["datasets"][0]["coordinateTransformations"] = [step]
    (zarr_image / "zarr.json").write_text(json.dumps(found))
    with pytest.raises(ImageError, match="metadata cannot be used"):
        _read(zarr_image)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.parametrize("file", ["0/zarr.json", "0/c/1/1"])
def test_parts_of_a_zarr_that_never_end_are_refused(
    zarr_image: Path, file: str, make: Callable[[Path], None]
) -> None:
    (zarr_image / file).unlink()
    make(zarr_image / file)
    for missing_chunks in (False, True):
        with pytest.raises(ImageError):
            _read(zarr_image, missing_chunks=missing_chunks)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_old_metadata_that_never_ends_is_refused(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    (tmp_path / "a.zarr" / ".zattrs").unlink(missing_ok=True)
    os.mkfifo(tmp_path / "a.zarr" / ".zattrs")
    with pytest.raises(ImageError):
        _read(tmp_path / "a.zarr")
    shutil.rmtree(tmp_path / "a.zarr")
