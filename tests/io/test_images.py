import os
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from w2s_export.errors import ImageError, OutputError
from w2s_export.io import memory
from w2s_export.io.images import Image, read_image, write_imagej_tiff

GREY = np.arange(5 * 7, dtype=np.uint16).reshape(5, 7) * 1000
STACK = np.arange(4 * 5 * 7, dtype=np.uint16).reshape(4, 5, 7)


# ---- TIFF: pixels ----


@pytest.mark.parametrize(
    "dtype",
    ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"],
)
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_tiff_keeps_type_and_pixels(
    tmp_path: Path, dtype: str, byteorder: str, bigtiff: bool
) -> None:
    pixels = np.arange(-10, 25).reshape(5, 7).astype(dtype)
    path = tmp_path / "cell.tif"
    tifffile.imwrite(path, pixels, byteorder=byteorder, bigtiff=bigtiff)
    image = read_image(path)
    assert image.name == "cell"
    assert image.pixel_size_um is None
    assert image.pixels.dtype == np.dtype(dtype)
    assert image.pixels.dtype.isnative
    np.testing.assert_array_equal(image.pixels, pixels[None, None])


@pytest.mark.parametrize("compression", ["lzw", "deflate", "zstd", "packbits", "lzma"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_tiff_compressions(tmp_path: Path, compression: str, tile: tuple[int, int] | None) -> None:
    pixels = np.random.default_rng(0).integers(0, 4000, (33, 41), np.uint16)
    path = tmp_path / "c.tif"
    tifffile.imwrite(
        path, pixels, compression=compression, tile=tile, predictor=compression == "lzw"
    )
    np.testing.assert_array_equal(read_image(path).pixels[0, 0], pixels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_sides_of_one_pixel(tmp_path: Path, shape: tuple[int, int]) -> None:
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    tifffile.imwrite(tmp_path / "thin.tif", pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "thin.tif").pixels, pixels[None, None])


def test_plain_stack_is_planes(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "s.tif", STACK, photometric="minisblack")
    np.testing.assert_array_equal(read_image(tmp_path / "s.tif").pixels, STACK[:, None])


def test_imagej_hyperstack(tmp_path: Path) -> None:
    # value = 1000 t + 100 z + 10 c, so that every plane names its place
    t, z, c = np.meshgrid(range(2), range(3), range(4), indexing="ij")
    pixels = np.broadcast_to((1000 * t + 100 * z + 10 * c)[..., None, None], (2, 3, 4, 5, 7))
    tifffile.imwrite(
        tmp_path / "h.tif", pixels.astype(np.uint16), imagej=True, metadata={"axes": "TZCYX"}
    )
    got = read_image(tmp_path / "h.tif").pixels
    assert got.shape == (6, 4, 5, 7)
    assert got[:, :, 0, 0].tolist() == [
        [0, 10, 20, 30],
        [100, 110, 120, 130],
        [200, 210, 220, 230],
        [1000, 1010, 1020, 1030],
        [1100, 1110, 1120, 1130],
        [1200, 1210, 1220, 1230],
    ]


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_rgb(tmp_path: Path, planar: str) -> None:
    colours = np.random.default_rng(1).integers(0, 255, (5, 7, 3), np.uint8)
    stored = colours if planar == "contig" else np.moveaxis(colours, -1, 0)
    tifffile.imwrite(tmp_path / "c.tif", stored, photometric="rgb", planarconfig=planar)
    got = read_image(tmp_path / "c.tif").pixels
    np.testing.assert_array_equal(got, np.moveaxis(colours, -1, 0)[None])


def test_colours_of_each_channel_stay_together(tmp_path: Path) -> None:
    c, y, x, s = np.indices((2, 5, 7, 3))
    pixels = (100 * c + 10 * s + y + x).astype(np.uint8)
    tifffile.imwrite(tmp_path / "c.tif", pixels, imagej=True, metadata={"axes": "CYXS"})
    got = read_image(tmp_path / "c.tif").pixels
    assert got[0, :, 0, 0].tolist() == [0, 10, 20, 100, 110, 120]


@pytest.mark.parametrize(("dtype", "opaque"), [("uint8", 255), ("uint16", 65535), ("float32", 1)])
def test_opaque_alpha_is_dropped_and_transparency_refused(
    tmp_path: Path, dtype: str, opaque: int
) -> None:
    pixels = np.full((5, 7, 4), opaque, dtype)
    pixels[..., 1] = 0
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    assert read_image(tmp_path / "a.tif").pixels[0, :, 2, 2].tolist() == [opaque, 0, opaque]
    pixels[3, 3, 3] = 0
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    with pytest.raises(ImageError, match="transparent"):
        read_image(tmp_path / "a.tif")


def test_first_of_several_images(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as writer:
        writer.write(GREY, subifds=1)
        writer.write(GREY[::2, ::2], subfiletype=1)
        writer.write(np.zeros((3, 2), np.uint8))
    np.testing.assert_array_equal(read_image(tmp_path / "pyramid.tif").pixels, GREY[None, None])


# ---- PNG ----


def png(
    rows: np.ndarray,
    colour: int,
    depth: int,
    extra: bytes = b"",
    size: tuple[int, int] | None = None,
) -> bytes:
    """A PNG by hand (RFC 2083): rows (H, bytes) as stored, chunks between IHDR and IDAT."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    height, width = size or rows.shape[:2]
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    blocks = b"".join(chunk(extra[i : i + 4], extra[i + 4 :]) for i in ([0] if extra else []))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + blocks
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png_grey(tmp_path: Path, dtype: str) -> None:
    pixels = (GREY // 300).astype(dtype)
    iio.imwrite(tmp_path / "g.png", pixels)
    image = read_image(tmp_path / "g.png")
    assert image.pixels.dtype == np.dtype(dtype)
    assert image.pixel_size_um is None
    np.testing.assert_array_equal(image.pixels, pixels[None, None])


@pytest.mark.parametrize("depth", [8, 16])
def test_png_rgb_keeps_its_depth(tmp_path: Path, depth: int) -> None:
    pixels = np.random.default_rng(2).integers(0, 2**depth, (5, 7, 3)).astype(f">u{depth // 8}")
    (tmp_path / "c.png").write_bytes(png(pixels, 2, depth))
    got = read_image(tmp_path / "c.png").pixels
    assert got.dtype.itemsize == depth // 8
    np.testing.assert_array_equal(got, np.moveaxis(pixels, -1, 0)[None])


@pytest.mark.parametrize(("colour", "channels"), [(4, 1), (6, 3)])
def test_png_alpha(tmp_path: Path, colour: int, channels: int) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (5, 7, channels + 1), np.uint8)
    pixels[..., -1] = 255
    (tmp_path / "a.png").write_bytes(png(pixels, colour, 8))
    got = read_image(tmp_path / "a.png").pixels
    np.testing.assert_array_equal(got, np.moveaxis(pixels[..., :-1], -1, 0)[None])
    pixels[0, 0, -1] = 254
    (tmp_path / "a.png").write_bytes(png(pixels, colour, 8))
    with pytest.raises(ImageError, match="transparent"):
        read_image(tmp_path / "a.png")


def test_png_palette(tmp_path: Path) -> None:
    index = np.array([[0, 1], [2, 1]], np.uint8)
    grey = bytes([10, 10, 10, 20, 20, 20, 30, 30, 30])
    (tmp_path / "p.png").write_bytes(png(index, 3, 8, b"PLTE" + grey))
    assert read_image(tmp_path / "p.png").pixels.tolist() == [[[[10, 20], [30, 20]]]]
    tinted = bytes([10, 0, 0, 20, 0, 0, 30, 0, 0])
    (tmp_path / "p.png").write_bytes(png(index, 3, 8, b"PLTE" + tinted))
    assert read_image(tmp_path / "p.png").pixels.tolist() == [
        [[[10, 20], [30, 20]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]
    ]


@pytest.mark.parametrize(
    ("x", "y", "unit", "expected"),
    [
        (10_000_000, 5_000_000, 1, (0.2, 0.1)),  # pixels per metre
        (3780, 3780, 1, None),  # 96 dpi
        (10_000_000, 5_000_000, 0, None),  # only an aspect ratio
    ],
)
def test_png_pixel_size(
    tmp_path: Path, x: int, y: int, unit: int, expected: tuple[float, float] | None
) -> None:
    extra = b"pHYs" + struct.pack(">IIB", x, y, unit)
    (tmp_path / "s.png").write_bytes(png(np.zeros((5, 7), np.uint8), 0, 8, extra))
    got = read_image(tmp_path / "s.png").pixel_size_um
    assert got == (None if expected is None else pytest.approx(expected))


# ---- refusals ----


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        read_image(tmp_path / "none.tif")
    with pytest.raises(ImageError, match="Is a directory"):
        read_image(tmp_path)
    (tmp_path / "empty.tif").touch()
    with pytest.raises(ImageError, match="is empty"):
        read_image(tmp_path / "empty.tif")
    (tmp_path / "text.tif").write_text("not an image")
    with pytest.raises(ImageError, match="neither TIFF nor PNG"):
        read_image(tmp_path / "text.tif")


@pytest.mark.parametrize("dtype", ["bool", "complex64"])
def test_types_that_no_network_takes(tmp_path: Path, dtype: str) -> None:
    tifffile.imwrite(tmp_path / "t.tif", GREY.astype(dtype))
    with pytest.raises(ImageError, match=dtype):
        read_image(tmp_path / "t.tif")


def write_stack(path: Path, kind: str) -> None:
    options: dict[str, dict[str, object]] = {
        "shaped": {},
        "plain": {"metadata": None},
        "deflate": {"compression": "zlib"},
        "imagej": {"imagej": True},
        "ome": {"ome": True},
    }
    tifffile.imwrite(path, STACK, photometric="minisblack", **options[kind])


@pytest.mark.parametrize("kind", ["shaped", "plain", "deflate", "imagej", "ome"])
def test_a_stack_cut_anywhere_is_refused_or_whole(tmp_path: Path, kind: str) -> None:
    """Never a shorter stack: tifffile alone reads what is left and says nothing."""
    write_stack(tmp_path / "whole.tif", kind)
    data = (tmp_path / "whole.tif").read_bytes()
    cut, refused = tmp_path / "cut.tif", 0
    for length in range(0, len(data), 3):
        cut.write_bytes(data[:length])
        try:
            image = read_image(cut)
        except ImageError:
            refused += 1
        else:
            np.testing.assert_array_equal(image.pixels.reshape(STACK.shape), STACK)
    assert refused > len(data) / 6


def test_truncated_png(tmp_path: Path) -> None:
    data = png(np.arange(200, dtype=np.uint8).reshape(10, 20), 0, 8)
    for length in range(8, len(data) - 12, 5):  # the last 12 bytes only say that it ends
        (tmp_path / "cut.png").write_bytes(data[:length])
        with pytest.raises(ImageError):
            read_image(tmp_path / "cut.png")


OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    '<Image ID="Image:0"><Pixels DimensionOrder="XYCZT" ID="Pixels:0" SizeX="7" SizeY="5" '
    'SizeC="1" SizeZ="{z}" SizeT="{t}" Type="uint16"><Channel ID="Channel:0:0" '
    'SamplesPerPixel="1"/><TiffData IFD="0" PlaneCount="{planes}"/></Pixels></Image></OME>'
)


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        (OME.format(z=10, t=10**8, planes=1), "claims 1000000000 planes"),
        (OME.format(z=1, t=1, planes=10**9), "claims 1000000000 planes"),
        (OME.format(z=3, t=1, planes=1), "plane 2 of 3 is not in this file"),
        ("ImageJ=1.53t\nimages=1000000000\nslices=1000000000\n", "truncated"),
        ('{"shape": [1000000000, 5, 7]}', "GiB"),
    ],
)
def test_claims_are_checked_before_memory_is_taken(
    tmp_path: Path, description: str, reason: str
) -> None:
    tifffile.imwrite(tmp_path / "b.ome.tif", GREY, description=description, metadata=None)
    with pytest.raises(ImageError, match=reason):
        read_image(tmp_path / "b.ome.tif")


def test_sizes_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = png(np.zeros((1, 1), np.uint8), 0, 8, size=(60000, 60000))
    (tmp_path / "b.png").write_bytes(bomb)
    monkeypatch.setattr(memory, "MAX_BYTES", 1 << 30)
    with pytest.raises(ImageError, match="60000×60000"):
        read_image(tmp_path / "b.png")
    tifffile.imwrite(tmp_path / "z.tif", np.zeros((2000, 2000), np.uint16), compression="zstd")
    assert (tmp_path / "z.tif").stat().st_size < 20_000
    assert read_image(tmp_path / "z.tif").pixels.shape == (1, 1, 2000, 2000)
    monkeypatch.setattr(memory, "MAX_BYTES", 8_000_000 - 1)
    with pytest.raises(ImageError, match="crop or split"):
        read_image(tmp_path / "z.tif")


def set_tag(path: Path, tag: int, value: int) -> None:
    """Overwrite a SHORT or LONG value of the first page, in place."""
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages.first.tags[tag].overwrite(value)


def test_a_wild_claim_of_strips_is_refused_at_once(tmp_path: Path) -> None:
    """tifffile would spend minutes and gigabytes filling in 20 million missing strips."""
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, GREY, compression="lzw", metadata=None)
    set_tag(path, 257, 100_000_000)  # ImageLength
    with pytest.raises(ImageError, match="20000000 strips"):
        read_image(path)


def test_pages_in_a_circle(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "c.tif", GREY, metadata=None, byteorder="<")
    data = bytearray((tmp_path / "c.tif").read_bytes())
    (first,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * entries, first)
    (tmp_path / "c.tif").write_bytes(data)
    with pytest.raises(ImageError, match="refer back"):
        read_image(tmp_path / "c.tif")


def test_other_files_named_in_ome_are_not_opened(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "secret.tif", GREY)
    other = '<UUID FileName="secret.tif">urn:uuid:00000000-0000-0000-0000-000000000001</UUID>'
    description = OME.format(z=1, t=1, planes=1).replace(
        "/></Pixels>", f">{other}</TiffData></Pixels>"
    )
    tifffile.imwrite(tmp_path / "a.ome.tif", GREY + 1, description=description, metadata=None)
    np.testing.assert_array_equal(read_image(tmp_path / "a.ome.tif").pixels[0, 0], GREY + 1)


SEEDS = ["shaped", "imagej", "ome", "deflate", "png"]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("seeds")
    for kind in SEEDS[:-1]:
        write_stack(folder / kind, kind)
    (folder / "png").write_bytes(png(np.arange(35, dtype=np.uint8).reshape(5, 7), 0, 8))
    return {kind: (folder / kind).read_bytes() for kind in SEEDS}


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6),
    header=st.booleans(),
)
def test_damage_is_an_image_error_or_an_image(
    seeds: dict[str, bytes],
    tmp_path: Path,
    kind: str,
    edits: list[tuple[float, int]],
    header: bool,
) -> None:
    data = bytearray(seeds[kind])
    reach = min(len(data), 400) if header else len(data)
    for place, value in edits:
        data[min(int(place * reach), reach - 1)] = value
    (tmp_path / "f").write_bytes(data)
    try:
        pixels = read_image(tmp_path / "f").pixels
    except ImageError:
        return  # any other exception fails the test
    assert pixels.ndim == 4
    assert pixels.size > 0


# ---- writing ----


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_written_tiff_reads_back(tmp_path: Path, dtype: str, channels: int | None) -> None:
    shape = (5, 7) if channels is None else (channels, 5, 7)
    pixels = np.random.default_rng(4).uniform(0, 200, shape).astype(dtype)
    path = tmp_path / "w.tif"
    write_imagej_tiff(path, pixels, (0.07, 0.0313))
    with tifffile.TiffFile(path) as tif:  # as others see it
        metadata = tif.imagej_metadata
        assert metadata is not None
        assert metadata["unit"] == "micron"
        assert metadata["min"] == pytest.approx(pixels.min())
        assert metadata["max"] == pytest.approx(pixels.max())
        assert tif.series[0].axes == ("YX" if (channels or 1) == 1 else "CYX")
        np.testing.assert_array_equal(tif.asarray().squeeze(), pixels.squeeze())
    image = read_image(path)
    assert image.pixels.dtype == np.dtype(dtype)
    assert image.pixel_size_um == (0.07, 0.0313)
    np.testing.assert_array_equal(image.pixels[0], pixels.reshape(-1, 5, 7))


def test_written_bytes_are_reproducible_and_anonymous(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for path in (tmp_path / "a.tif", tmp_path / "elsewhere" / "b.tif"):
        write_imagej_tiff(path, GREY, 0.0626, (0, 100))
    data = (tmp_path / "a.tif").read_bytes()
    assert data == (tmp_path / "elsewhere" / "b.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        tags = tif.pages.first.tags
        assert tif.imagej_metadata is not None
        assert (tif.imagej_metadata["min"], tif.imagej_metadata["max"]) == (0, 100)
        assert 306 not in tags  # DateTime
        assert 315 not in tags  # Artist
        assert 316 not in tags  # HostComputer
    assert str(tmp_path).encode() not in data
    assert [p.name for p in (tmp_path / "elsewhere").iterdir()] == ["b.tif"]


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((5, 7), np.float64),
        np.zeros((5, 7), np.int16),
        np.zeros((1, 1, 5, 7), np.uint8),
        np.zeros(7, np.uint8),
        np.zeros((0, 7), np.uint8),
    ],
    ids=["float64", "int16", "4-D", "1-D", "empty"],
)
def test_what_imagej_does_not_hold(tmp_path: Path, pixels: np.ndarray) -> None:
    with pytest.raises(ImageError, match="ImageJ TIFF"):
        write_imagej_tiff(tmp_path / "w.tif", pixels, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, -1, float("nan"), float("inf"), 1e-12])
def test_impossible_pixel_sizes(tmp_path: Path, size: float) -> None:
    with pytest.raises(ImageError, match="pixel size"):
        write_imagej_tiff(tmp_path / "w.tif", GREY, size)


def test_unwritable_place(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_imagej_tiff(tmp_path / "no" / "such" / "w.tif", GREY, None)


def test_nan_does_not_reach_the_display_range(tmp_path: Path) -> None:
    pixels = np.array([[np.nan, 1], [2, np.inf]], np.float32)
    write_imagej_tiff(tmp_path / "n.tif", pixels, None)
    with tifffile.TiffFile(tmp_path / "n.tif") as tif:
        assert tif.imagej_metadata is not None
        assert (tif.imagej_metadata["min"], tif.imagej_metadata["max"]) == (1, 2)


# ---- the real ImageJ ----

IMAGEJ = Path(os.environ.get("IJ_JAR", "/usr/share/java/ij.jar"))
MACRO = """
args = split(getArgument(), "|");
names = newArray("uint8", "uint16", "float32", "channels");
text = "";
for (i = 0; i < names.length; i++) {
  open(args[0] + names[i] + ".tif");
  getVoxelSize(width, height, depth, unit);
  getDimensions(w, h, channels, slices, frames);
  getMinAndMax(low, high);
  text += names[i] + " " + bitDepth() + " " + unit + " " + d2s(width, 9) + " " + d2s(height, 9);
  text += " " + channels + " " + d2s(low, 3) + " " + d2s(high, 3) + " :";
  for (c = 1; c <= channels; c++) {
    if (channels > 1) Stack.setChannel(c);
    for (y = 0; y < h; y++) for (x = 0; x < w; x++) text += " " + d2s(getPixel(x, y), 6);
  }
  text += "\\n";
  close();
}
newImage("made", "16-bit ramp", 7, 5, 2, 3, 4);
setVoxelSize(0.065, 0.07, 0.2, "um");
saveAs("Tiff", args[0] + "hyper.tif");
close();
newImage("made", "32-bit ramp", 7, 5, 1);
run("Set Scale...", "distance=1 known=65 unit=nm");
saveAs("Tiff", args[0] + "nm.tif");
close();
newImage("made", "RGB ramp", 7, 5, 1);
saveAs("PNG", args[0] + "rgb.png");
File.saveString(text, args[0] + "report.txt");
"""


@pytest.mark.skipif(
    not IMAGEJ.exists() or not shutil.which("xvfb-run") or not shutil.which("java"),
    reason="needs ImageJ, Java and xvfb (apt-get install imagej xvfb)",
)
def test_imagej_reads_ours_and_we_read_imagej(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    written = {
        name: rng.uniform(0, 200, (5, 7)).astype(name) for name in ("uint8", "uint16", "float32")
    }
    written["channels"] = rng.integers(0, 60000, (2, 5, 7)).astype(np.uint16)
    for name, pixels in written.items():
        write_imagej_tiff(tmp_path / f"{name}.tif", pixels, (0.0313, 0.0626), (3, 150))
    (tmp_path / "m.ijm").write_text(MACRO)
    java = ["xvfb-run", "-a", "java", "-Xmx256m", "-cp", IMAGEJ]
    subprocess.run(
        [*java, "ij.ImageJ", "-batch", tmp_path / "m.ijm", f"{tmp_path}/"],
        check=True,
        timeout=120,
        capture_output=True,
    )
    lines = (tmp_path / "report.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == list(written)
    for line, (name, pixels) in zip(lines, written.items(), strict=True):
        head, _, values = line.partition(":")
        _, depth, unit, width, height, channels, low, high = head.split()
        assert int(depth) == 8 * pixels.itemsize
        assert unit in ("micron", "microns", "um", "µm")
        assert (float(width), float(height)) == (0.0626, 0.0313)
        assert int(channels) == (2 if name == "channels" else 1)
        if name != "uint8":  # ImageJ always shows 8 bits in full, 0 to 255
            assert (float(low), float(high)) == (3, 150)
        got = np.array(values.split(), float).reshape(pixels.shape)
        np.testing.assert_allclose(got, pixels, atol=1e-6 if name != "float32" else 1e-5)

    hyper = read_image(tmp_path / "hyper.tif")
    assert hyper.pixels.shape == (12, 2, 5, 7)
    assert hyper.pixels.dtype == np.uint16
    assert hyper.pixel_size_um == pytest.approx((0.07, 0.065), rel=1e-5)  # six digits are stored
    nm = read_image(tmp_path / "nm.tif")
    assert nm.pixels.dtype == np.float32
    # ImageJ stores 1/65 pixels per nm in millionths: 15384/1000000
    assert nm.pixel_size_um == pytest.approx((0.0650026, 0.0650026), rel=1e-6)
    assert read_image(tmp_path / "rgb.png").pixels.shape == (1, 3, 5, 7)


def test_image_is_immutable() -> None:
    image = Image(np.zeros((1, 1, 2, 2)), None, "x")
    with pytest.raises(AttributeError):
        image.name = "y"  # type: ignore[misc]
