"""Microscopes' own files.

A CZI is written by Zeiss's library; LIF, OIF and IMS by hand, as their formats are described, and
read by the libraries. ND2 nothing writes: a stand-in answers as the library's documentation says,
so only what we make of that is tested.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

from tests.io.test_random_files import read
from w2s_export.errors import ImageError, MissingExtraError
from w2s_export.io.images import open_source, opened
from w2s_export.restore.inputs import find

RNG = np.random.default_rng(0)


def write_czi(path: Path) -> list[np.ndarray]:
    czi = pytest.importorskip("pylibCZIrw.czi", reason="pylibCZIrw is not installed")
    scenes = [RNG.integers(0, 4000, (2, 3, 2, 20 + s, 30)).astype(np.uint16) for s in range(2)]
    with czi.create_czi(str(path)) as document:
        for scene, pixels in enumerate(scenes):
            for t, z, c in np.ndindex(pixels.shape[:3]):
                document.write(
                    pixels[t, z, c, ..., None], plane={"T": t, "Z": z, "C": c}, scene=scene,
                    location=(100 * scene, 7),
                )  # fmt: skip
        magenta = czi.Rgb8Color(np.uint8(255), np.uint8(0), np.uint8(255))
        shown = czi.ChannelDisplaySettingsDataClass(True, czi.TintingMode.Color, magenta, 0.1, 0.5)
        document.write_metadata(
            "made by Ada", channel_names={0: "DAPI", 1: "GFP"}, scale_x=1e-7, scale_y=2e-7,
            scale_z=3e-7, display_settings={0: shown},
        )  # fmt: skip
    return scenes


def test_every_scene_of_a_czi(tmp_path: Path) -> None:
    scenes = write_czi(tmp_path / "a.czi")
    for got, pixels in zip(read(tmp_path / "a.czi"), scenes, strict=True):
        np.testing.assert_array_equal(got.pixels, pixels)
        assert (got.size, got.z) == ((0.2, 0.1), 0.3)
    with opened(tmp_path / "a.czi") as series:
        assert [one.name for one in series] == ["scene 1", "scene 2"]
    with open_source(tmp_path / "a.czi", 1) as source:
        np.testing.assert_array_equal(
            source.read(1, 2, 0, slice(3, 9), slice(5, 30))[0], scenes[1][1, 2, 0, 3:9, 5:30]
        )
        look = source.layout.appearance
    assert [channel.name for channel in look.channels] == ["DAPI", "GFP"]
    assert look.channels[0].colour == (255, 0, 255)
    assert "made by Ada" in look.text


def test_colours_of_a_czi(tmp_path: Path) -> None:
    czi = pytest.importorskip("pylibCZIrw.czi", reason="pylibCZIrw is not installed")
    colours = RNG.integers(0, 255, (20, 30, 3)).astype(np.uint8)
    with czi.create_czi(str(tmp_path / "c.czi")) as document:
        document.write(colours[..., ::-1])  # blue first
    with open_source(tmp_path / "c.czi") as source:
        assert source.layout.samples == 3
        got = source.read(0, 0, 0, slice(0, 20), slice(0, 30))
    np.testing.assert_array_equal(got, np.moveaxis(colours, -1, 0))


def test_a_damaged_czi_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pylibCZIrw.czi", reason="pylibCZIrw is not installed")
    (tmp_path / "d.czi").write_bytes(b"ZISRAWFILE" + bytes(500))
    with pytest.raises(ImageError, match=r"d\.czi.*damaged"), opened(tmp_path / "d.czi"):
        pass


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, kind: str, content: Any) -> None:
    module = ModuleType(name)
    setattr(module, kind, lambda _: content)
    monkeypatch.setitem(sys.modules, name, module)


class Closing(SimpleNamespace):
    def __enter__(self) -> Closing:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_positions_of_an_nd2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = RNG.integers(0, 4000, (3, 2, 2, 5, 7)).astype(np.uint16)  # T, P, C, Y, X
    channel = SimpleNamespace(name="GFP", color=SimpleNamespace(r=0, g=255, b=0))
    file = Closing(
        sizes={"T": 3, "P": 2, "C": 2, "Y": 5, "X": 7},
        loop_indices=[{"T": t, "P": p} for t in range(3) for p in range(2)],
        voxel_size=lambda: SimpleNamespace(x=0.1, y=0.2, z=1.0),
        metadata=SimpleNamespace(channels=[SimpleNamespace(channel=channel)] * 2),
        experiment=[SimpleNamespace(type="TimeLoop", parameters=SimpleNamespace(periodMs=2500))],
        dtype=np.uint16,
        read_frame=lambda number: pixels[number // 2, number % 2],
    )
    stand_in(monkeypatch, "nd2", "ND2File", file)
    (tmp_path / "a.nd2").write_bytes(b"x")
    for position, got in enumerate(read(tmp_path / "a.nd2")):
        np.testing.assert_array_equal(got.pixels, pixels[:, position][:, None])
        assert (got.size, got.z, got.t) == ((0.2, 0.1), None, 2.5)
    assert position == 1


def element_of_lif(name: str, block: str, pixels: np.ndarray, axes: dict[str, float]) -> str:
    """XML of one image (M, Z, C, Y, X): bytes between neighbours, and lengths in metres."""
    steps = {}
    at = pixels.itemsize
    for axis, size in zip("XYCZM", reversed(pixels.shape), strict=True):
        steps[axis] = (size, at)
        at *= size
    ids = {"X": 1, "Y": 2, "Z": 3, "M": 10}
    dimensions = "".join(
        f'<DimensionDescription DimID="{number}" NumberOfElements="{steps[axis][0]}" Origin="0" '
        f'Length="{axes.get(axis, 1) * (steps[axis][0] - 1)}" Unit="m" BitInc="0" '
        f'BytesInc="{steps[axis][1]}"/>'
        for axis, number in ids.items()
        if steps[axis][0] > 1
    )
    channels = "".join(
        f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="16" BitInc="0" Unit="" '
        f'NameOfMeasuredQuantity="" Min="0" Max="1" LUTName="{lut}" IsLUTInverted="0" '
        f'BytesInc="{number * steps["C"][1]}"/>'
        for number, lut in enumerate(["Magenta", "Green"][: steps["C"][0]])
    )
    return (
        f'<Element Name="{name}"><Data><Image><ImageDescription><Channels>{channels}</Channels>'
        f"<Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
        f'<Memory Size="{pixels.nbytes}" MemoryBlockID="{block}"/></Element>'
    )


def write_lif(path: Path, images: dict[str, np.ndarray], steps: dict[str, float]) -> None:
    """By the description of the format (version 2): a header in XML, then a block per image."""

    def text(content: str) -> bytes:
        return struct.pack("<BI", 0x2A, len(content)) + content.encode("utf-16-le")

    elements = "".join(
        element_of_lif(name, f"MemBlock_{number}", pixels, steps)
        for number, (name, pixels) in enumerate(images.items())
    )
    header = text(
        f'<LMSDataContainerHeader Version="2"><Element Name="p"><Children>{elements}</Children>'
        "</Element></LMSDataContainerHeader>"
    )
    data = struct.pack("<II", 0x70, len(header)) + header
    for number, pixels in enumerate(images.values()):
        head = struct.pack("<BQ", 0x2A, pixels.nbytes) + text(f"MemBlock_{number}")
        data += struct.pack("<II", 0x70, len(head)) + head + pixels.tobytes()
    path.write_bytes(data)


def test_series_and_fields_of_a_lif_by_the_library(tmp_path: Path) -> None:
    pytest.importorskip("liffile", reason="liffile is not installed")
    images = {
        "tiles": RNG.integers(0, 4000, (2, 3, 1, 5, 7)).astype("<u2"),
        "colours": RNG.integers(0, 4000, (1, 1, 2, 6, 8)).astype("<u2"),
    }
    write_lif(tmp_path / "a.lif", images, {"X": 1e-7, "Y": 2e-7, "Z": 3e-7})
    got = list(read(tmp_path / "a.lif"))
    assert len(got) == 3
    expected = [images["tiles"][0], images["tiles"][1], images["colours"][0]]
    for one, pixels in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one.pixels, pixels[None])
        assert one.size == pytest.approx((0.2, 0.1))
    assert [one.z for one in got] == [pytest.approx(0.3), pytest.approx(0.3), None]
    with opened(tmp_path / "a.lif") as series:
        assert [one.name for one in series] == ["tiles field 1", "tiles field 2", "colours"]
        channels = series[2].open().layout.appearance.channels
    assert [channel.colour for channel in channels] == [(255, 0, 255), (0, 255, 0)]


def test_lifetimes_of_a_lif_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lifetimes = SimpleNamespace(
        name="flim", sizes={"H": 9, "Y": 5, "X": 7}, coords={}, dtype=np.uint8, frame=None
    )
    stand_in(monkeypatch, "liffile", "LifFile", Closing(images=[lifetimes]))
    (tmp_path / "a.lif").write_bytes(b"x")
    with opened(tmp_path / "a.lif") as series, pytest.raises(ImageError, match="9 along H"):
        series[0].open()


def test_an_oif_by_the_library(tmp_path: Path) -> None:
    """A text file and a folder of TIFFs, as FluoView FV1000 writes them."""
    pytest.importorskip("oiffile", reason="oiffile is not installed")
    pixels = RNG.integers(0, 4000, (2, 3, 2, 20, 30)).astype(np.uint16)  # T, Z, C, Y, X
    folder = tmp_path / "a.oif.files"
    folder.mkdir()
    for t, z, c in np.ndindex(2, 3, 2):
        name = f"s_C{c + 1:03}Z{z + 1:03}T{t + 1:03}.tif"
        tifffile.imwrite(folder / name, pixels[t, z, c], metadata=None)
    sections = {
        "ProfileSaveInfo": {"Name": '"FLUOVIEW"', "Version": '"1.0"'},
        "Reference Image Parameter": {"WidthConvertValue": 0.1, "WidthUnit": '"um"',
                                      "HeightConvertValue": 0.2, "HeightUnit": '"um"'},
        "Axis 3 Parameters Common": {"AxisCode": '"Z"', "Interval": -300, "UnitName": '"nm"'},
        "Axis 4 Parameters Common": {"AxisCode": '"T"', "Interval": 2500, "UnitName": '"ms"'},
        "Channel 1 Parameters": {"DyeName": '"DAPI"'},
        "Channel 2 Parameters": {"DyeName": '"GFP"'},
    }  # fmt: skip
    text = "".join(
        f"[{section}]\r\n" + "".join(f"{key}={value}\r\n" for key, value in content.items())
        for section, content in sections.items()
    )
    (tmp_path / "a.oif").write_bytes(text.encode("utf-16"))
    (got,) = read(tmp_path / "a.oif")
    np.testing.assert_array_equal(got.pixels, pixels)
    assert (got.size, got.z, got.t) == ((0.2, 0.1), 0.3, 2.5)
    with open_source(tmp_path / "a.oif") as source:
        names = [channel.name for channel in source.layout.appearance.channels]
    assert names == ["DAPI", "GFP"]
    # Of a folder, the planes beside it are no images of their own.
    assert [image.path.name for image in find([str(tmp_path)], tmp_path / "o").images] == ["a.oif"]


def write_ims(path: Path, pixels: np.ndarray) -> None:
    """An Imaris 5.5 file of (T, C, Z, Y, X), padded to whole chunks, with a level of a pyramid."""

    def texts(group: h5py.Group, **stated: str) -> None:
        for name, value in stated.items():
            group.attrs[name] = np.frombuffer(value.encode(), "S1")

    slices, height, width = pixels.shape[2:]
    with h5py.File(path, "w") as file:
        for t, c in np.ndindex(pixels.shape[:2]):
            padded = np.pad(pixels[t, c], ((0, 1), (0, 12), (0, 2)))
            for level, data in enumerate([padded, padded[:, ::2, ::2]]):
                place = f"DataSet/ResolutionLevel {level}/TimePoint {t}/Channel {c}"
                file.create_group(place)["Data"] = data
        texts(
            file.create_group("DataSetInfo/Image"), X=str(width), Y=str(height), Z=str(slices),
            Unit="um", ExtMin0="-1", ExtMax0=str(-1 + 0.1 * width), ExtMin1="0",
            ExtMax1=str(0.2 * height), ExtMin2="5", ExtMax2=str(5 + 0.5 * slices),
            Description="made by Ada",
        )  # fmt: skip
        for number, (name, colour) in enumerate([("DAPI", "1 0 1"), ("GFP", "0 1 0")]):
            texts(
                file.create_group(f"DataSetInfo/Channel {number}"), Name=name, Color=colour,
                ColorRange="10 900",
            )  # fmt: skip


def test_an_ims(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 4000, (2, 2, 3, 20, 30)).astype(np.uint16)
    write_ims(tmp_path / "a.ims", pixels)
    (got,) = read(tmp_path / "a.ims")
    np.testing.assert_array_equal(got.pixels, pixels.swapaxes(1, 2))
    assert got.size == pytest.approx((0.2, 0.1))
    assert got.z == pytest.approx(0.5)
    with open_source(tmp_path / "a.ims") as source:
        look = source.layout.appearance
    assert [(one.name, one.colour, one.window) for one in look.channels] == [
        ("DAPI", (255, 0, 255), (10, 900)), ("GFP", (0, 255, 0), (10, 900)),
    ]  # fmt: skip
    assert look.text == "made by Ada"


def test_pixels_of_an_ims_in_another_file_are_not_read(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 4000, (1, 1, 3, 20, 30)).astype(np.uint16)
    write_ims(tmp_path / "other.ims", pixels)
    write_ims(tmp_path / "a.ims", pixels)
    place = "DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"
    with h5py.File(tmp_path / "a.ims", "a") as file:
        del file[place]
        file[place] = h5py.ExternalLink(str(tmp_path / "other.ims"), place)
    with opened(tmp_path / "a.ims") as series, pytest.raises(ImageError, match="another file"):
        series[0].open()


@pytest.mark.parametrize("name", ["a b.mpoir", "a b.vsi", "a b.dv"])
def test_formats_that_are_not_read_say_how_to_convert_them(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with (
        pytest.raises(ImageError, match=f"bfconvert '{name}' 'a b'.ome.tiff"),
        opened(tmp_path / name),
    ):
        pass


@pytest.mark.parametrize(
    ("ending", "library"),
    [("czi", "pylibCZIrw.czi"), ("nd2", "nd2"), ("lif", "liffile"), ("oib", "oiffile")],
)
def test_without_the_extra_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    (tmp_path / f"a.{ending}").write_bytes(b"x")
    with (
        pytest.raises(MissingExtraError, match=r"w2s-export\[microscopes\]"),
        opened(tmp_path / f"a.{ending}"),
    ):
        pass
