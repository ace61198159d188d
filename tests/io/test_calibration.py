"""Every field of calibration × format × unit; expected values are written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
import tifffile

from tests.imagej import imagej, needs_imagej
from w2s_export.io.images import open_source
from w2s_export.io.units import micrometres, seconds

PLANES = np.arange(2 * 2 * 4 * 6, dtype=np.uint16).reshape(2, 2, 4, 6)

# unit, value, the value in micrometres
LENGTHS = [
    ("Ym", "1e-30", 1.0), ("Zm", "1e-27", 1.0), ("Em", "1e-24", 1.0), ("Pm", "1e-21", 1.0),
    ("Tm", "1e-18", 1.0), ("Gm", "1e-15", 1.0), ("Mm", "1e-13", 0.1), ("km", "1e-10", 0.1),
    ("hm", "1e-9", 0.1), ("dam", "1e-8", 0.1), ("m", "1e-7", 0.1), ("dm", "1e-6", 0.1),
    ("cm", "0.00001", 0.1), ("mm", "0.0001", 0.1), ("µm", "0.0626", 0.0626), ("nm", "65", 0.065),
    ("pm", "65000", 0.065), ("fm", "65000000", 0.065), ("am", "1e11", 0.1), ("zm", "1e14", 0.1),
    ("ym", "1e17", 0.1), ("Å", "650", 0.065), ("thou", "1", 25.4),
    ("li", "0.001", 2.1166666666666667), ("in", "0.00001", 0.254), ("ft", "0.00001", 3.048),
    ("yd", "0.00001", 9.144),
    ("mi", "1e-9", 1.609344), ("ua", "1e-18", 0.1495978707), ("ly", "1e-21", 9.4607304725808),
    ("pc", "1e-23", 0.30856775814913673), ("pt", "0.001", 0.3527777777777778),
    ("pixel", "1", None), ("reference frame", "1", None), ("furlong", "1", None),
]  # fmt: skip
# unit, value, the value in seconds
TIMES = [
    ("Ys", "1e-24", 1.0), ("ks", "0.001", 1.0), ("s", "0.5", 0.5), ("ds", "5", 0.5),
    ("cs", "50", 0.5), ("ms", "100", 0.1), ("µs", "250000", 0.25), ("ns", "1e8", 0.1),
    ("ps", "1e11", 0.1), ("fs", "1e14", 0.1), ("as", "1e17", 0.1), ("zs", "1e20", 0.1),
    ("ys", "1e23", 0.1),
    ("min", "0.1", 6.0), ("h", "0.5", 1800.0), ("d", "0.5", 43200.0), ("fortnight", "1", None),
]  # fmt: skip


def calibration(path: Path) -> tuple[object, object, object]:
    with open_source(path) as source:
        layout = source.layout
    assert layout.planes[:2] == (2, 2)
    return layout.pixel_size_um, layout.z_step_um, layout.interval_s


# ---- OME-XML ----


def ome(path: Path, attributes: str, planes: str = "") -> Path:
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZTC" SizeX="6" SizeY="4" SizeZ="2" SizeC="1" '
        f'SizeT="2" Type="uint16" {attributes}><TiffData/>{planes}</Pixels></Image></OME>'
    )
    tifffile.imwrite(
        path, PLANES, description=xml.encode("utf-8"), metadata=None, photometric="minisblack"
    )
    return path


@pytest.mark.parametrize(("unit", "value", "expected"), LENGTHS)
def test_ome_lengths(tmp_path: Path, unit: str, value: str, expected: float | None) -> None:
    attributes = "".join(
        f" PhysicalSize{axis}={quoteattr(value)} PhysicalSize{axis}Unit={quoteattr(unit)}"
        for axis in "XYZ"
    )
    size, step, _ = calibration(ome(tmp_path / "a.ome.tif", attributes))
    assert size == (None if expected is None else (expected, expected))
    assert step == expected


@pytest.mark.parametrize(("unit", "value", "expected"), TIMES)
def test_ome_times(tmp_path: Path, unit: str, value: str, expected: float | None) -> None:
    attributes = f"TimeIncrement='{value}' TimeIncrementUnit={quoteattr(unit)}"
    assert calibration(ome(tmp_path / "a.ome.tif", attributes))[2] == expected


@pytest.mark.parametrize("micron", ["&#181;m", "&#xB5;m", "&#x3bc;m", "µm", "μm"])
@pytest.mark.parametrize("quote", ["'", '"'])
def test_ome_entities_and_quotes(tmp_path: Path, micron: str, quote: str) -> None:
    values = {"X": "0.1", "Y": "0.2", "Z": "0.3"}
    attributes = " ".join(
        f"PhysicalSize{axis}\n = {quote}{value}{quote} "
        f"PhysicalSize{axis}Unit={quote}{micron}{quote}"
        for axis, value in values.items()
    )
    attributes += f" TimeIncrement={quote}2{quote}"  # seconds, unless stated
    assert calibration(ome(tmp_path / "a.ome.tif", attributes)) == ((0.2, 0.1), 0.3, 2.0)


def test_ome_units_are_micrometres_and_seconds_unless_stated(tmp_path: Path) -> None:
    attributes = 'PhysicalSizeX="0.1" PhysicalSizeY="0.2" PhysicalSizeZ="0.3" TimeIncrement="2"'
    assert calibration(ome(tmp_path / "a.ome.tif", attributes)) == ((0.2, 0.1), 0.3, 2.0)
    assert calibration(ome(tmp_path / "x.ome.tif", 'PhysicalSizeX="0.1"')) == (None, None, None)
    text = 'Note="PhysicalSizeX=&quot;9&quot;" TimeIncrement="no number" PhysicalSizeZ="-1"'
    assert calibration(ome(tmp_path / "b.ome.tif", text)) == (None, None, None)


def left(path: Path) -> tuple[str, ...]:
    with open_source(path) as source:
        return source.layout.appearance.left


def test_steps_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    attributes = (
        "PhysicalSizeX='3' PhysicalSizeY='3' PhysicalSizeYUnit='furlong' PhysicalSizeZ='0,5' "
        "TimeIncrement='1' TimeIncrementUnit='fortnight'"
    )
    assert left(ome(tmp_path / "a.ome.tif", attributes)) == (
        "the pixel size (3 µm)", "the distance of slices (0,5 µm)",
        "the time interval (1 fortnight)",
    )  # fmt: skip
    attributes = "PhysicalSizeX='1' PhysicalSizeXUnit='pixel' PhysicalSizeZ='0' TimeIncrement='0'"
    assert left(ome(tmp_path / "b.ome.tif", attributes)) == ()
    for unit, named in (("furlong", ("the pixel size (furlong)",)), ("pixel", ())):
        metadata = {"axes": "TZYX", "unit": unit, "finterval": 2, "tunit": "frame"}
        tifffile.imwrite(tmp_path / "j.tif", PLANES, imagej=True, metadata=metadata)
        assert left(tmp_path / "j.tif") == named


def test_times_of_planes_give_the_interval_where_none_is_stated(tmp_path: Path) -> None:
    planes = "".join(
        f'<Plane TheZ="{z}" TheC="0" TheT="{t}" DeltaT="{100 + 2500 * t + z}" DeltaTUnit="ms" '
        'ExposureTime="0.1"/>'
        for t in range(2)
        for z in range(2)
    )  # fmt: skip
    for increment, interval in (("", 2.5), ("TimeIncrement='2'", 2.0)):
        path = ome(tmp_path / "p.ome.tif", increment, planes)
        assert calibration(path)[2] == interval
        assert left(path) == ("the planes' own times, exposures",)


# ---- ImageJ ----


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"unit": "micron", "spacing": 0.3, "finterval": 2}, ((0.1, 0.05), 0.3, 2.0)),
        ({"unit": "um", "spacing": 0.3, "fps": 4}, ((0.1, 0.05), 0.3, 0.25)),
        ({"unit": "\\u00B5m", "finterval": 100, "tunit": "ms"}, ((0.1, 0.05), None, 0.1)),
        ({"unit": "\\xb5m"}, ((0.1, 0.05), None, None)),
        ({"unit": "cm"}, ((1000.0, 500.0), None, None)),
        ({"unit": "furlong"}, (None, None, None)),
        ({"unit": "nm", "spacing": 300, "finterval": 0.1, "tunit": "min"},
         ((0.0001, 0.00005), 0.3, 6.0)),
        ({"unit": "mm", "finterval": 2, "tunit": "hour"}, ((100.0, 50.0), None, 7200.0)),
        ({"unit": "inch", "finterval": 1, "tunit": "sec", "fps": 7}, ((2540.0, 1270.0), None, 1.0)),
        ({"unit": "micron", "yunit": "nm", "zunit": "mm", "spacing": 0.002},
         ((0.0001, 0.05), 2.0, None)),
        ({"unit": "micron", "spacing": -0.3, "finterval": 0.0}, ((0.1, 0.05), 0.3, None)),
        ({"unit": "pixel", "spacing": 2, "finterval": 3}, (None, None, 3.0)),
        ({"unit": "micron", "finterval": 3, "tunit": "frame"}, ((0.1, 0.05), None, None)),
    ],
)  # fmt: skip
def test_imagej(tmp_path: Path, metadata: dict, expected: tuple) -> None:
    path = tmp_path / "j.tif"
    tifffile.imwrite(
        path, PLANES, imagej=True, resolution=(20, 10), metadata={"axes": "TZYX", **metadata}
    )
    assert calibration(path) == expected


# ---- plain TIFF ----


@pytest.mark.parametrize(
    ("unit", "resolution", "expected"),
    [
        (1, (20, 10), None),  # no absolute unit
        (2, ((254000, 1), (508000, 2)), (0.1, 0.1)),
        (3, ((100000, 1), (50000, 1)), (0.2, 0.1)),
        (3, ((10000000, 65), (10000000, 70)), (0.07, 0.065)),  # 65 nm, exactly
        (2, ((72, 1), (72, 1)), None),  # print
        (2, ((1200, 1), (1200, 1)), None),
    ],
)
def test_plain_tiff(
    tmp_path: Path, unit: int, resolution: tuple, expected: tuple[float, float] | None
) -> None:
    path = tmp_path / "p.tif"
    tifffile.imwrite(
        path,
        PLANES,
        metadata={"axes": "TZYX"},
        photometric="minisblack",
        resolution=resolution,
        resolutionunit=unit,
    )
    assert calibration(path) == (expected, None, None)


# ---- NGFF ----


def ngff(folder: Path, version: str, image: dict) -> Path:
    zarr = pytest.importorskip("zarr", reason="zarr is not installed")
    root = zarr.open_group(str(folder), mode="w", zarr_format=3 if version == "0.5" else 2)
    root.create_array("0", data=PLANES[:, None], chunks=(1, 1, 1, 4, 6))
    scales = [{"datasets": [{"path": "0"}], **image}]
    root.attrs.update(
        {"ome": {"version": version, "multiscales": scales}}
        if version == "0.5"
        else {"multiscales": [{"version": version, **scales[0]}]}
    )
    return folder


def axes(**units: str) -> list[dict]:
    kinds = {"t": "time", "c": "channel"}
    return [
        {"name": name, "type": kinds.get(name, "space")}
        | ({"unit": units[name]} if name in units else {})
        for name in "tczyx"
    ]


def levels(*scales: list[float], translation: list[float] | None = None) -> dict:
    """Scale of the dataset, and of the whole image; a translation moves and does not stretch."""
    both = [[{"type": "scale", "scale": scale}] for scale in scales]
    if translation:
        both[0].append({"type": "translation", "translation": translation})  # type: ignore[dict-item]
    image = {"datasets": [{"path": "0", "coordinateTransformations": both[0]}]}
    return image | ({"coordinateTransformations": both[1]} if len(both) > 1 else {})


@pytest.mark.parametrize(
    ("version", "image", "expected"),
    [
        ("0.1", {}, (None, None, None)),
        ("0.2", {}, (None, None, None)),
        ("0.3", {"axes": list("tczyx")}, (None, None, None)),
        ("0.4", {"axes": axes()}, (None, None, None)),
        ("0.4", {"axes": axes(t="millisecond", z="micrometer", y="nanometer", x="nanometer"),
                 **levels([100, 1, 0.3, 65, 70])}, ((0.065, 0.07), 0.3, 0.1)),
        ("0.4", {"axes": axes(t="second", z="micrometer", y="micrometer", x="micrometer"),
                 **levels([1, 1, 0.5, 0.2, 0.2], [2, 1, 1, 0.5, 0.5])}, ((0.1, 0.1), 0.5, 2.0)),
        ("0.5", {"axes": axes(t="minute", z="angstrom", y="millimeter", x="centimeter"),
                 **levels([0.1, 1, 3000, 0.0002, 0.00001], translation=[0, 0, 1, 2, 3])},
         ((0.2, 0.1), 0.3, 6.0)),
        ("0.5", {"axes": axes(t="hour", y="micrometer", x="micrometer"),
                 **levels([0.5, 1, 2, 0.07, 0.07], [1, 1, 1, 3, 3])}, ((0.21, 0.21), None, 1800.0)),
        ("0.4", {"axes": axes(y="parsec", x="inch"), **levels([1, 1, 1, 1e-23, 1e-6])},
         ((0.30856775814913673, 0.0254), None, None)),
    ],
)  # fmt: skip
def test_ngff(tmp_path: Path, version: str, image: dict, expected: tuple) -> None:
    assert calibration(ngff(tmp_path / "s.zarr", version, image)) == expected


@pytest.mark.parametrize("prefix", ["yotta", "zetta", "exa", "peta", "tera", "giga", "mega", "kilo",
    "hecto", "deca", "deci", "centi", "milli", "micro", "nano", "pico", "femto", "atto", "zepto",
    "yocto"])  # fmt: skip
def test_names_of_units_with_every_prefix(prefix: str) -> None:
    powers = dict(zip(
        ["yotta", "zetta", "exa", "peta", "tera", "giga", "mega", "kilo", "hecto", "deca", "deci",
         "centi", "milli", "micro", "nano", "pico", "femto", "atto", "zepto", "yocto"],
        [24, 21, 18, 15, 12, 9, 6, 3, 2, 1, -1, -2, -3, -6, -9, -12, -15, -18, -21, -24],
        strict=True,
    ))  # fmt: skip
    assert micrometres(f"1e{-powers[prefix] - 6}", f"{prefix}meter") == 1.0
    assert seconds(f"1e{-powers[prefix]}", f"{prefix}second") == 1.0


# ---- the real ImageJ ----

WRITE = """
folder = getArgument();
newImage("a", "16-bit ramp", 6, 4, 1, 2, 2);
setVoxelSize(0.05, 0.1, 0.3, "um");
Stack.setFrameInterval(100);
Stack.setTUnit("ms");
saveAs("Tiff", folder + "/ms.tif");
close();
newImage("b", "16-bit ramp", 6, 4, 1, 2, 2);
run("Properties...", "unit=nm pixel_width=50 pixel_height=100 voxel_depth=300 frame=[0.1 min]");
saveAs("Tiff", folder + "/min.tif");
close();
newImage("c", "16-bit ramp", 6, 4, 1, 2, 2);
run("Properties...", "unit=um pixel_width=0.05 pixel_height=0.1 voxel_depth=0.3");
Stack.setUnits("um", "nm", "mm", "sec", "gray");
Stack.setFrameRate(4);
saveAs("Tiff", folder + "/units.tif");
close();
"""


@needs_imagej
def test_what_imagej_itself_writes(tmp_path: Path) -> None:
    imagej(tmp_path, WRITE, tmp_path)
    assert calibration(tmp_path / "ms.tif") == ((0.1, 0.05), 0.3, 0.1)
    assert calibration(tmp_path / "min.tif") == ((0.1, 0.05), 0.3, 6.0)
    with tifffile.TiffFile(tmp_path / "units.tif") as tif:
        stated = json.dumps(tif.imagej_metadata)
    assert '"yunit": "nm"' in stated  # ImageJ has three units, which is seldom seen
    assert calibration(tmp_path / "units.tif") == ((0.0001, 0.05), 300.0, 0.25)
