"""Olympus's OIR and POIR, written by hand as oirfile describes them, and read by it."""

from __future__ import annotations

import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.io.test_random_files import read
from w2s_export.errors import ImageError, MissingExtraError
from w2s_export.io.images import open_source, opened

PIXELS = np.random.default_rng(0).integers(0, 4000, (2, 3, 2, 20, 30)).astype(np.uint16)
CHANNELS = {"0123-ab": "DAPI", "0123-cd": "GFP"}

_METADATA, _FRAME, _UID, _PIXEL = 0, 1, 3, 4
"""Kinds of blocks."""


def frame(place: tuple[int, int], size: tuple[int, int]) -> bytes:
    (t, z), (height, width) = place, size
    axes = {"TIMELAPSE": 500 + 2500 * t, "ZSTACK": 7 + 0.3 * z}
    values = "".join(
        f"<c:axisValue><c:axisType>{axis}</c:axisType><c:position>{value}</c:position>"
        "</c:axisValue>"
        for axis, value in axes.items()
    )
    return (
        f'<?xml version="1.0"?><f:frame xmlns:f="f" xmlns:c="c"><c:width>{width}</c:width>'
        f"<c:height>{height}</c:height><c:depth>2</c:depth><c:bitCounts>12</c:bitCounts>"
        f"<c:colorType>GrayScale</c:colorType>{values}</f:frame>"
    ).encode()


def settings() -> bytes:
    channels = "".join(
        f'<c:channel id="{key}" order="{number}"><c:name>{name}</c:name></c:channel>'
        for number, (key, name) in enumerate(CHANNELS.items())
    )
    axes = "".join(
        f'<c:axis enable="true"><c:axis>{axis}</c:axis><c:maxSize>{size}</c:maxSize></c:axis>'
        for axis, size in (("TIMELAPSE", 2), ("ZSTACK", 3))
    )
    return (
        '<?xml version="1.0"?><lsmimage:image xmlns:lsmimage="l" xmlns:c="c">'
        f"<c:length><c:x>0.1</c:x><c:y>0.2</c:y></c:length>{axes}{channels}</lsmimage:image>"
    ).encode()


def oir(pixels: np.ndarray) -> bytes:
    """A file of (T, Z, C, Y, X): a header, blocks, and an index of their places."""
    blocks = [(_METADATA, settings())]
    for t, z in np.ndindex(pixels.shape[:2]):
        blocks.append((_FRAME, frame((t, z), pixels.shape[-2:])))
        for c, key in enumerate(CHANNELS):
            uid = f"z{z + 1:03}t{t + 1:03}_0_1_{key}_0".encode()
            blocks.append((_UID, struct.pack("<III", 0, 0, len(uid)) + uid))
            blocks.append((_PIXEL, pixels[t, z, c].astype("<u2").tobytes()))
    data, places = bytearray(96), []
    for kind, content in blocks:
        places.append(len(data))
        data += struct.pack("<II", len(content), kind) + content
    index = len(data)
    data += struct.pack(f"<I{len(places)}Q", 0xFFFFFFFF, *places)
    data[:16] = b"OLYMPUSRAWFORMAT"
    data[32:48] = struct.pack("<QQ", len(data), index)
    return bytes(data)


@pytest.fixture
def library() -> None:
    pytest.importorskip("oirfile", reason="oirfile needs Python 3.12")


@pytest.mark.usefixtures("library")
def test_an_oir(tmp_path: Path) -> None:
    (tmp_path / "a.oir").write_bytes(oir(PIXELS))
    (got,) = read(tmp_path / "a.oir")
    np.testing.assert_array_equal(got.pixels, PIXELS)
    assert got.pixels.dtype == np.uint16
    assert got.size == pytest.approx((0.2, 0.1))
    assert (got.z, got.t) == (pytest.approx(0.3), pytest.approx(2.5))
    with open_source(tmp_path / "a.oir") as source:
        assert [one.name for one in source.layout.appearance.channels] == ["DAPI", "GFP"]


@pytest.mark.usefixtures("library")
def test_every_image_of_a_poir(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.poir", "w") as archive:
        archive.writestr("A01/first.oir", oir(PIXELS))
        archive.writestr("A01/second.oir", oir(PIXELS[:, ::-1]))
        archive.writestr("layout.xml", "<a/>")
    first, second = read(tmp_path / "a.poir")
    np.testing.assert_array_equal(first.pixels, PIXELS)
    np.testing.assert_array_equal(second.pixels, PIXELS[:, ::-1])
    with opened(tmp_path / "a.poir") as series:
        assert [one.name for one in series] == ["first", "second"]


@pytest.mark.usefixtures("library")
def test_an_oir_that_lacks_pixels_is_refused(tmp_path: Path) -> None:
    """The library alone gives zeros in their place."""
    whole = oir(PIXELS)
    plane = PIXELS[1, 1, 0].tobytes()
    place = whole.index(plane) - 8
    short = bytearray(whole)
    short[place : place + 4] = struct.pack("<I", len(plane) // 2)
    for content in (bytes(short), whole[:-200]):
        (tmp_path / "a.oir").write_bytes(content)
        with pytest.raises(ImageError, match=r"incomplete|damaged"):
            list(read(tmp_path / "a.oir"))


@pytest.mark.usefixtures("library")
def test_an_archive_without_images_says_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.poir", "w") as archive:
        archive.writestr("layout.xml", "<a/>")
    with pytest.raises(ImageError, match="holds no image"), opened(tmp_path / "a.poir"):
        pass


def test_without_the_library_the_error_says_which_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "oirfile", None)
    (tmp_path / "a.oir").write_bytes(b"x")
    with pytest.raises(MissingExtraError, match=r"w2s-export\[microscopes\].*Python 3\.12"):
        list(read(tmp_path / "a.oir"))
