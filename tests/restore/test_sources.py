"""Parts of every kind of file against the whole array that was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from w2s_export.errors import ImageError
from w2s_export.io.images import open_source

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 4000, (70, 93)).astype(np.uint16)


def parts(path: Path, pixels: np.ndarray, t: int = 0, z: int = 0, c: int = 0, **options) -> None:
    """Every part read equals that of the array, in any order."""
    with open_source(path, **options) as source:
        assert (source.layout.height, source.layout.width) == pixels.shape
        assert source.layout.dtype == pixels.dtype
        for rows, columns in [((0, 70), (0, 93)), ((16, 33), (5, 40)), ((69, 70), (92, 93))]:
            got = source.read(t, z, c, slice(*rows), slice(*columns))
            np.testing.assert_array_equal(got, pixels[None, slice(*rows), slice(*columns)])


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bigtiff": True},
        {"compression": "lzw", "predictor": True, "rowsperstrip": 16},
        {"compression": "deflate", "rowsperstrip": 7},
        {"tile": (32, 16)},
        {"tile": (16, 48), "compression": "zstd"},
        {"rowsperstrip": 11},
    ],
    ids=str,
)
def test_tiff_rows(tmp_path: Path, options: dict, byteorder: str) -> None:
    path = tmp_path / "i.tif"
    tifffile.imwrite(path, IMAGE, byteorder=byteorder, **options)
    parts(path, IMAGE)


def test_empty_tiles_are_zero(tmp_path: Path) -> None:
    pixels = IMAGE.copy()
    pixels[32:64, :32] = 0
    tifffile.imwrite(
        tmp_path / "i.tif",
        (
            pixels[y : y + 32, x : x + 32] if pixels[y : y + 32, x : x + 32].any() else None
            for y in range(0, 70, 32)
            for x in range(0, 93, 32)
        ),
        shape=pixels.shape,
        dtype=pixels.dtype,
        tile=(32, 32),
        compression="zlib",
    )
    parts(tmp_path / "i.tif", pixels)


@pytest.mark.parametrize("kind", ["imagej", "ome", "compressed"])
def test_every_plane_of_a_hyperstack(tmp_path: Path, kind: str) -> None:
    stack = RNG.integers(0, 4000, (2, 3, 4, 70, 93)).astype(np.uint16)
    path = tmp_path / ("s.ome.tif" if kind != "imagej" else "s.tif")
    options = {"imagej": True} if kind == "imagej" else {"ome": True}
    if kind == "compressed":
        options["compression"] = "lzw"
    tifffile.imwrite(path, stack, metadata={"axes": "TZCYX"}, **options)
    with open_source(path) as source:
        assert source.layout.planes == (2, 3, 4)
    for t, z, c in [(0, 0, 0), (1, 2, 3), (0, 2, 1)]:
        parts(path, stack[t, z, c], t, z, c)


def test_axes_in_another_order_and_calibration(tmp_path: Path) -> None:
    stack = RNG.integers(0, 4000, (4, 2, 70, 93)).astype(np.uint16)
    metadata = {
        "axes": "CTYX",
        "PhysicalSizeX": 65,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.07,
        "PhysicalSizeZ": 0.2,
        "TimeIncrement": 500,
        "TimeIncrementUnit": "ms",
    }
    tifffile.imwrite(tmp_path / "o.ome.tif", stack, metadata=metadata)
    parts(tmp_path / "o.ome.tif", stack[3, 1], t=1, c=3)
    with open_source(tmp_path / "o.ome.tif") as source:
        layout = source.layout
    assert layout.planes == (2, 1, 4)
    assert layout.pixel_size_um == pytest.approx((0.07, 0.065))
    assert layout.z_step_um == pytest.approx(0.2)
    assert layout.interval_s == pytest.approx(0.5)


def test_imagej_calibration_and_plain_stacks(tmp_path: Path) -> None:
    stack = RNG.integers(0, 4000, (3, 70, 93)).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "j.tif",
        stack,
        imagej=True,
        resolution=(20, 20),
        metadata={"axes": "ZYX", "unit": "um", "spacing": 0.3, "finterval": 2},
    )
    with open_source(tmp_path / "j.tif") as source:
        layout = source.layout
    assert layout.planes == (1, 3, 1)
    assert layout.pixel_size_um == pytest.approx((0.05, 0.05))
    assert (layout.z_step_um, layout.interval_s) == (pytest.approx(0.3), 2)
    tifffile.imwrite(tmp_path / "p.tif", stack, photometric="minisblack")
    parts(tmp_path / "p.tif", stack[2], z=2)


def test_colours_are_samples(tmp_path: Path) -> None:
    colours = RNG.integers(0, 255, (9, 8, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "c.tif", colours, photometric="rgb")
    with open_source(tmp_path / "c.tif") as source:
        assert (source.layout.planes, source.layout.samples) == ((1, 1, 1), 3)
        got = source.read(0, 0, 0, slice(0, 9), slice(2, 5))
    np.testing.assert_array_equal(got, np.moveaxis(colours, -1, 0)[:, :, 2:5])


@pytest.mark.parametrize("compression", [None, "lzw"])
def test_damage_names_the_file(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "t.tif"
    tifffile.imwrite(path, IMAGE, compression=compression)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r"t\.tif.*truncated"), open_source(path):
        pass
    if compression:
        damaged = bytearray(whole)
        damaged[400:4000] = b"\xff" * 3600
        path.write_bytes(damaged)
        with pytest.raises(ImageError, match=r"t\.tif"), open_source(path) as source:
            source.read(0, 0, 0, slice(0, 70), slice(0, 93))


zarr = pytest.importorskip("zarr", reason="zarr is not installed")


def ome_zarr(path: Path, pixels: np.ndarray, axes: str, version: str, chunk: int = 32) -> None:
    """An OME-Zarr as its specification has it, written without our code."""
    form = 2 if version == "0.4" else 3
    group = zarr.open_group(str(path), mode="w", zarr_format=form)
    chunks = (1,) * (pixels.ndim - 2) + (chunk, chunk)
    keys = {"chunk_key_encoding": {"name": "v2", "separator": "/"}} if form == 2 else {}
    array = group.create_array("0", shape=pixels.shape, dtype=pixels.dtype, chunks=chunks, **keys)
    array[...] = pixels
    kinds = {"t": "time", "c": "channel"}
    units = {"t": "second", "z": "micrometer", "y": "nanometer", "x": "nanometer"}
    scale = {"t": 0.5, "c": 1.0, "z": 0.3, "y": 65.0, "x": 65.0}
    described = []
    for axis in axes:
        item = {"name": axis, "type": kinds.get(axis, "space")}
        described.append(item | ({"unit": units[axis]} if axis in units else {}))
    multiscale = {
        "axes": described,
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [{"type": "scale", "scale": [scale[a] for a in axes]}],
            }
        ],
    }
    if version == "0.4":
        group.attrs["multiscales"] = [multiscale | {"version": "0.4"}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr(tmp_path: Path, version: str) -> None:
    stack = RNG.integers(1, 4000, (2, 3, 4, 70, 93)).astype(np.uint16)
    ome_zarr(tmp_path / "s.zarr", stack, "tczyx", version)
    parts(tmp_path / "s.zarr", stack[1, 2, 3], t=1, c=2, z=3)
    with open_source(tmp_path / "s.zarr") as source:
        layout = source.layout
    assert layout.planes == (2, 4, 3)
    assert layout.pixel_size_um == pytest.approx((0.065, 0.065))
    assert (layout.z_step_um, layout.interval_s) == (0.3, 0.5)


def test_plain_array_and_missing_chunk(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    array = zarr.create_array(str(path), shape=(70, 93), dtype="u2", chunks=(32, 32))
    array[...] = np.maximum(IMAGE, 1)
    parts(path, np.maximum(IMAGE, 1))
    (path / "c" / "1" / "2").unlink()
    with (
        pytest.raises(ImageError, match=r"a\.zarr.*1 of its chunks.*\(1, 2\).*--missing-chunks"),
        open_source(path),
    ):
        pass
    filled = np.maximum(IMAGE, 1)
    filled[32:64, 64:] = 0
    parts(path, filled, missing_chunks=True)
    (path / "c" / "0" / "0").write_bytes(b"no chunk")
    with pytest.raises(ImageError, match=r"a\.zarr.*damaged"):
        parts(path, filled, missing_chunks=True)


def test_a_plate_says_what_to_give(tmp_path: Path) -> None:
    zarr.open_group(str(tmp_path / "plate.zarr"), mode="w").create_group("A")
    with (
        pytest.raises(ImageError, match=r"plate\.zarr.*without OME multiscales.*A"),
        open_source(tmp_path / "plate.zarr"),
    ):
        pass
