"""Calibration in microscopes' own TIFF headers, made by hand as their formats are described.

Sources: the names and offsets of tifffile's readers, which follow Zeiss's LSM 5 description, the
MetaMorph STK description and Olympus's FluoView one. No file of a real microscope was seen.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from w2s_export.io.images import open_source, opened
from w2s_export.io.source import Layout

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 4000, (3, 20, 30)).astype(np.uint16)


def layout_of(path: Path, stack: np.ndarray = STACK) -> Layout:
    with open_source(path) as source:
        whole = slice(0, 20), slice(0, 30)
        planes = [source.read(*at, *whole)[0] for at in np.ndindex(source.layout.planes)]
        np.testing.assert_array_equal(planes, stack)
        return source.layout


def write(path: Path, tags: list[Any], **settings: Any) -> Path:
    settings = {"metadata": None, "photometric": "minisblack", **settings}
    tifffile.imwrite(path, STACK, byteorder="<", extratags=tags, **settings)
    return path


def test_lsm_with_a_thumbnail_after_each_plane(tmp_path: Path) -> None:
    """Three channels: of two, LSM files state their bits in a way of their own."""
    info = np.zeros((), np.dtype([field for field in tifffile.TIFF.CZ_LSMINFO if field[0]]))
    info["MagicNumber"], info["StructureSize"] = 67127628, info.nbytes
    sizes = {"X": 30, "Y": 20, "Z": 3, "Channels": 3, "Time": 1, "P": 1, "M": 1}
    for axis, size in sizes.items():
        info[f"Dimension{axis}"] = size
    for axis, size in zip("XYZ", (1e-7, 2e-7, 3e-7), strict=True):
        info[f"VoxelSize{axis}"] = size
    info["TimeIntervall"], info["ScanType"] = 2.5, 0
    stack = RNG.integers(0, 4000, (3, 3, 20, 30)).astype(np.uint16)
    path = tmp_path / "a.lsm"

    def put() -> None:
        raw = np.frombuffer(info.tobytes(), np.uint8)
        tag = [(34412, 1, raw.size, raw.tobytes(), True)]
        with tifffile.TiffWriter(path, byteorder="<") as writer:
            for number, planes in enumerate(stack):
                writer.write(
                    planes, planarconfig="separate", photometric="minisblack", metadata=None,
                    extratags=tag if number == 0 else (), contiguous=False, software=False,
                )  # fmt: skip
                writer.write(np.zeros((4, 6), np.uint8), subfiletype=1, metadata=None)

    put()
    colours = struct.pack("<6I", 24 + 12 + 27, 3, 3, 24, 36, 0)
    colours += bytes([255, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0])
    colours += b"".join(struct.pack("<I5s", 5, name) for name in (b"Ch1", b"GFP", b"RFP"))
    info["OffsetChannelColors"] = path.stat().st_size
    put()
    path.write_bytes(path.read_bytes() + colours)
    with opened(path) as series:
        (one,) = series
        layout = one.open().layout
        got = [one.open().read(0, z, c, slice(0, 20), slice(0, 30))[0]
               for z in range(3) for c in range(3)]  # fmt: skip
    np.testing.assert_array_equal(got, stack.reshape(9, 20, 30))
    assert layout.planes == (1, 3, 3)
    assert layout.pixel_size_um == pytest.approx((0.2, 0.1))
    assert (layout.z_step_um, layout.interval_s) == (pytest.approx(0.3), 2.5)
    channels = layout.appearance.channels
    assert [channel.name for channel in channels] == ["Ch1", "GFP", "RFP"]
    assert [channel.colour for channel in channels] == [(255, 0, 255), (0, 255, 0), (255, 0, 0)]


def test_aperio(tmp_path: Path) -> None:
    text = "Aperio Image Library v1.0|AppMag = 20|MPP = 0.4990"
    assert layout_of(write(tmp_path / "a.svs", [], description=text)).pixel_size_um == (0.499,) * 2


def test_metaseries(tmp_path: Path) -> None:
    items = {"x": "0.1", "y": "0.2"}
    xml = "<MetaData><PlaneInfo>" + "".join(
        f'<prop id="spatial-calibration-{axis}" type="float" value="{value}"/>'
        for axis, value in items.items()
    )  # fmt: skip
    xml += '<prop id="spatial-calibration-units" type="string" value="um"/></PlaneInfo></MetaData>'
    path = write(tmp_path / "m.tif", [], description=xml, software="MetaSeries")
    assert layout_of(path).pixel_size_um == (0.2, 0.1)


def test_micro_manager_without_ome(tmp_path: Path) -> None:
    summary = {
        "PixelSize_um": 0.1, "z-step_um": 0.3, "Interval_ms": 100, "ChNames": ["DAPI"],
        "ChColors": [-65281],
    }  # fmt: skip
    path = tmp_path / "mm.tif"
    tifffile.imwrite(
        path, STACK[0], extratags=[(51123, 2, 0, json.dumps(summary), True)], metadata=None
    )
    # Micro-Manager's own header is where tifffile puts the first page's, which goes to the end.
    data = bytearray(path.read_bytes())
    text = json.dumps(summary, separators=(",", ":")).encode()
    header = struct.pack("<8I", 0, 0, 0, 0, 0, 0, 2355492, len(text)) + text
    (entries,) = struct.unpack_from("<H", data, 8)
    size = 2 + 12 * entries + 4
    assert len(header) <= size
    data += data[8 : 8 + size]
    data[4:8] = struct.pack("<I", len(data) - size)
    data[8 : 8 + len(header)] = header
    path.write_bytes(data)
    layout = layout_of(path, STACK[:1])
    assert (layout.pixel_size_um, layout.z_step_um, layout.interval_s) == ((0.1, 0.1), 0.3, 0.1)


def _fluoview_header(dimensions: list[tuple[str, int, float, str]]) -> bytes:
    """MM_HEADER: what stands before the ten dimensions, they, and what stands behind them."""
    rows = [
        struct.pack("<16sidd64s", name.encode(), size, 0.0, step, unit.encode())
        for name, size, step, unit in [*dimensions, *[("", 0, 0.0, "")] * (11 - len(dimensions))]
    ]
    before = struct.pack("<hB257sIiIIiI", 0, 1, b"name", 0, 0, 0, 0, 0, 0)
    behind = struct.pack("<IhddddIdd", 0, 0, *[0.0] * 4, 0, 1.0, 0.0)
    return before + b"".join(rows[:10]) + behind + rows[10] + struct.pack("<IiI", 0, 0, 0)


def test_fluoview(tmp_path: Path) -> None:
    dimensions = [("X", 30, 0.1, "um"), ("Y", 20, 0.2, "um"), ("Z", 3, 0.5, "um")]
    header = _fluoview_header(dimensions)
    tags = [(34361, 7, len(header), header, True), (34362, 12, 8, [0.0] * 8, True)]
    layout = layout_of(write(tmp_path / "f.tif", tags))
    assert (layout.pixel_size_um, layout.z_step_um) == ((0.2, 0.1), 0.5)


def test_olympus_soft_imaging(tmp_path: Path) -> None:
    """Its numbers stand elsewhere in the file, in metres times a power of ten."""
    path = write(tmp_path / "s.tif", [(33560, 7, 68, bytes(68), True)])
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].tags[33560].valueoffset
    data = bytearray(path.read_bytes())
    tag = struct.pack("<4s6xhhhhh6x32sH", b"SIS0", 0, 0, 1, 0, 100, b"sis", 1)
    data[place : place + 68] = tag + struct.pack("<hhI", 1, 1, len(data))
    data += struct.pack("<10xhdd8xd2x34s32s", -6, 0.1, 0.2, 20.0, b"", b"")
    path.write_bytes(data)
    assert layout_of(path).pixel_size_um == (0.2, 0.1)


def test_metamorph_stack(tmp_path: Path) -> None:
    """One page, its planes in a row; UIC1 has (id, offset), UIC2 six numbers per plane."""
    path = tmp_path / "m.stk"
    tags = [(33628, 4, 3, (0, 0, 0), True), (33629, 5, 3, (1, 1) * 3, True)]
    tifffile.imwrite(path, STACK[0], byteorder="<", metadata=None, extratags=tags)
    with tifffile.TiffFile(path) as file:
        entries = [file.pages[0].tags[code].offset + 8 for code in (33628, 33629)]
    data = bytearray(path.read_bytes()) + STACK[1:].tobytes()
    x, y, unit = len(data), len(data) + 8, len(data) + 16
    data += struct.pack("<IIII", 1, 10, 1, 5) + struct.pack("<I3s", 3, b"um\0")
    places = [len(data), len(data) + 24]
    data += struct.pack("<6I", 4, x, 5, y, 6, unit)
    data += b"".join(struct.pack("<6I", 1, 2, 0, 1000 * plane, 0, 0) for plane in range(3))
    for entry, place in zip(entries, places, strict=True):
        data[entry : entry + 4] = struct.pack("<I", place)
    path.write_bytes(data)
    layout = layout_of(path)
    assert layout.pixel_size_um == (0.2, 0.1)
    assert (layout.planes, layout.z_step_um, layout.interval_s) == ((1, 3, 1), 0.5, None)
