"""Random valid TIFF, OME-TIFF and OME-Zarr files: every pixel and every calibration is found again.

The files are written by tifffile and zarr; what they mean is worked out here, apart from the code
under test: axes by `np.moveaxis`, units by a table of their own. Each of these faults, made by hand
in the reader, was found: byte order; nm, inch, `tunit` and `millisecond` misread; x for y; a
thumbnail or a level of a pyramid taken for the image; the first series alone; compressed rows read
as plain, strips and tiles misplaced; axes, `DimensionOrder` or colours in another order;
transformations left out.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from w2s_export.io.images import opened

PER_RUN = 500 * int(os.environ.get("W2S_FUZZ", 1))
"""Files, TIFF and Zarr together; `nox -s thorough` has 2,000."""
_ZARR = PER_RUN // 10  # a Zarr is a folder of files, which takes ten times as long

LENGTHS = {"µm": 1.0, "nm": 1e-3, "mm": 1e3, "Å": 1e-4, "cm": 1e4, "in": 25400.0}
TIMES = {"s": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0}
IMAGEJ_LENGTHS = {"micron": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "inch": 25400.0, "\\u00B5m": 1.0}
IMAGEJ_TIMES = {"sec": 1.0, "ms": 1e-3, "min": 60.0, "hour": 3600.0}
NGFF_LENGTHS = {"micrometer": 1.0, "nanometer": 1e-3, "angstrom": 1e-4, "millimeter": 1e3}
NGFF_TIMES = {"second": 1.0, "millisecond": 1e-3, "minute": 60.0}


@dataclass
class Expected:
    """One image: (T, Z, C, H, W), and its steps in µm and s."""

    pixels: np.ndarray
    size: tuple[float, float] | None = None
    z: float | None = None
    t: float | None = None


STEP = st.integers(1, 99999).map(lambda number: number / 1000)
SIDE = st.integers(1, 20)


def pixels_of(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Every pixel another, as far as the type can tell."""
    return (np.arange(np.prod(shape)) * 7 % 251).reshape(shape).astype(dtype)


def as_tzc(pixels: np.ndarray, axes: str) -> np.ndarray:
    """Any order of some of T, Z and C before Y and X."""
    for missing in [axis for axis in "TZC" if axis not in axes]:
        pixels, axes = pixels[None], missing + axes
    return np.moveaxis(pixels, [axes.index(axis) for axis in "TZC"], [0, 1, 2])


@st.composite
def storage(draw: st.DrawFn, height: int, width: int) -> dict[str, Any]:
    """How planes are stored: strips or tiles, compressed or not."""
    options: dict[str, Any] = {"photometric": "minisblack"}
    options["compression"] = draw(st.sampled_from([None, None, "zlib", "lzw", "zstd", "packbits"]))
    kind = draw(st.sampled_from(["one", "strips", "tiles"]))
    if kind == "strips":
        options["rowsperstrip"] = draw(st.integers(1, height))
    if kind == "tiles":
        options["tile"] = (16, 16)
    if options["compression"] in ("zlib", "lzw", "zstd") and draw(st.booleans()):
        options["predictor"] = True
    return options


@st.composite
def lead(draw: st.DrawFn) -> str:
    """Some of the axes T, Z and C, in any order."""
    chosen = draw(st.lists(st.sampled_from("TZC"), unique=True, max_size=3))
    return "".join(chosen)


DTYPES = st.sampled_from(["uint8", "uint16", "int16", "uint32", "float32"])


@st.composite
def ome_file(draw: st.DrawFn, path: Path) -> list[Expected]:
    found = []
    options = {"byteorder": draw(st.sampled_from("<>")), "bigtiff": draw(st.booleans())}
    with tifffile.TiffWriter(path, ome=True, **options) as writer:
        for _ in range(draw(st.integers(1, 3))):
            axes = draw(lead()) + "YX"
            shape = tuple(draw(SIDE if axis in "YX" else st.integers(1, 3)) for axis in axes)
            pixels = pixels_of(shape, draw(DTYPES))
            lengths = [draw(st.sampled_from(sorted(LENGTHS))) for _ in "XYZ"]
            values = [draw(STEP) for _ in "XYZ"]
            metadata: dict[str, Any] = {"axes": axes}
            stated = draw(st.booleans())
            interval, unit = draw(STEP), draw(st.sampled_from(sorted(TIMES)))
            if stated:
                for axis, value, length in zip("XYZ", values, lengths, strict=True):
                    metadata[f"PhysicalSize{axis}"] = value
                    metadata[f"PhysicalSize{axis}Unit"] = length
                metadata.update(TimeIncrement=interval, TimeIncrementUnit=unit)
            levels = draw(st.integers(0, 2))
            writer.write(pixels, metadata=metadata, subifds=levels, **draw(storage(*shape[-2:])))
            for level in range(levels):
                step = 2 ** (level + 1)
                writer.write(pixels[..., ::step, ::step], subfiletype=1, photometric="minisblack")
            x, y, z = (v * LENGTHS[u] for v, u in zip(values, lengths, strict=True))
            one = Expected(as_tzc(pixels, axes))
            if stated:
                one = Expected(one.pixels, (y, x), z, interval * TIMES[unit])
            found.append(one)
    return found


@st.composite
def imagej_file(draw: st.DrawFn, path: Path) -> list[Expected]:
    planes = [draw(st.integers(1, 3)) for _ in "TZC"]
    sides = draw(SIDE), draw(st.integers(5, 20))  # tifffile takes a width of 1 for a sample
    pixels = pixels_of((*planes, *sides), draw(st.sampled_from(["uint8", "uint16", "float32"])))
    unit, time = (
        draw(st.sampled_from(sorted(IMAGEJ_LENGTHS))),
        draw(st.sampled_from(sorted(IMAGEJ_TIMES))),
    )
    y, x, z, t = (draw(STEP) for _ in "YXZT")
    tifffile.imwrite(
        path, pixels, imagej=True, resolution=(1 / x, 1 / y),
        compression=draw(st.sampled_from([None, "zlib"])),
        metadata={"axes": "TZCYX", "unit": unit, "spacing": z, "finterval": t, "tunit": time},
    )  # fmt: skip
    factor = IMAGEJ_LENGTHS[unit]
    return [Expected(pixels, (y * factor, x * factor), z * factor, t * IMAGEJ_TIMES[time])]


@st.composite
def plain_file(draw: st.DrawFn, path: Path) -> list[Expected]:
    """Several images without any metadata but a resolution, thumbnails between them."""
    found = []
    unit, per = draw(st.sampled_from([("CENTIMETER", 1e4), ("INCH", 25400.0), ("NONE", 0.0)]))
    options = {"byteorder": draw(st.sampled_from("<>")), "bigtiff": draw(st.booleans())}
    with tifffile.TiffWriter(path, **options) as writer:
        for number in range(draw(st.integers(1, 3))):
            if draw(st.booleans()):
                writer.write(np.zeros((3 + number, 2), np.uint8), subfiletype=1)
            named = draw(st.booleans())  # tifffile's own description names the axes
            axes = draw(lead()) if named else "Q" * draw(st.integers(0, 3))
            extra = tuple(draw(st.integers(2, 3)) for _ in axes)
            shape = (*extra, draw(st.integers(2, 20)), draw(st.integers(5, 20)))
            pixels = pixels_of(shape, draw(DTYPES))
            y, x = draw(STEP), draw(STEP)
            writer.write(
                pixels, resolution=((per or 1) / x, (per or 1) / y), resolutionunit=unit,
                metadata={"axes": axes + "YX"} if named else {}, **draw(storage(*shape[-2:])),
            )  # fmt: skip
            planes = (np.prod(extra[:-2], dtype=int) * (extra[-2] if len(extra) > 1 else 1),
                      extra[-1] if extra else 1, 1)  # fmt: skip
            size = (y, x) if per and max(y, x) <= 20 else None  # else it is taken for print
            whole = pixels.reshape(*planes, *shape[-2:])
            found.append(Expected(as_tzc(pixels, axes + "YX") if named else whole, size))
    return found


@st.composite
def colour_file(draw: st.DrawFn, path: Path) -> list[Expected]:
    """RGB, its colours side by side or in planes of their own; pages of a stack, or one."""
    pages, height, width = draw(st.integers(1, 3)), draw(SIDE), draw(SIDE)
    planar = draw(st.sampled_from(["contig", "separate"]))
    shape = (pages, height, width, 3) if planar == "contig" else (pages, 3, height, width)
    pixels = pixels_of(shape, draw(st.sampled_from(["uint8", "uint16", "float32"])))
    options = draw(storage(height, width)) | {"photometric": "rgb", "planarconfig": planar}
    tifffile.imwrite(path, pixels, byteorder=draw(st.sampled_from("<>")), metadata=None, **options)
    colours = np.moveaxis(pixels, -1, 1) if planar == "contig" else pixels
    return [Expected(colours[None])]


@st.composite
def lossless_file(draw: st.DrawFn, path: Path) -> list[Expected]:
    """JPEG 2000 and JPEG XL without loss."""
    height, width = draw(st.integers(16, 40)), draw(st.integers(16, 40))
    pixels = pixels_of(
        (draw(st.integers(1, 2)), height, width), draw(st.sampled_from(["uint8", "uint16"]))
    )
    kind, how = draw(
        st.sampled_from([("jpeg2000", {"reversible": True}), ("jpegxl", {"lossless": True})])
    )
    tifffile.imwrite(
        path, pixels, compression=kind, compressionargs=how, photometric="minisblack",
        metadata=None, tile=draw(st.sampled_from([None, (16, 16)])),
    )  # fmt: skip
    return [Expected(pixels[None, :, None])]


@st.composite
def zarr_folder(draw: st.DrawFn, path: Path) -> list[Expected]:
    zarr = pytest.importorskip("zarr", reason="zarr is not installed")
    version = draw(st.sampled_from(["0.1", "0.3", "0.4", "0.5"]))
    root = zarr.open_group(str(path), mode="w", zarr_format=3 if version == "0.5" else 2)
    several = draw(st.booleans())
    found = []
    for number in range(draw(st.integers(1, 2)) if several else 1):
        kept = [draw(st.booleans()) or version == "0.1" for _ in "tcz"]
        axes = "".join(itertools.compress("tcz", kept)) + "yx"
        shape = tuple(draw(SIDE if axis in "yx" else st.integers(1, 2)) for axis in axes)
        pixels = pixels_of(shape, draw(DTYPES)) + 1
        group = root.create_group(str(number)) if several else root
        chunks = tuple(draw(st.integers(1, 20)) for _ in axes)
        group.create_array("full", data=pixels, chunks=tuple(map(min, chunks, shape)))
        half = group.create_array("half", data=pixels[..., ::2, ::2])
        assert half.ndim == len(axes)
        units = {"t": draw(st.sampled_from(sorted(NGFF_TIMES)))}
        units.update({axis: draw(st.sampled_from(sorted(NGFF_LENGTHS))) for axis in "zyx"})
        steps = {axis: draw(STEP) for axis in "tczyx"}
        whole = {axis: draw(st.sampled_from([1, 2, 0.5])) for axis in "tczyx"}
        image: dict[str, Any] = {"datasets": [{"path": "full"}, {"path": "half"}]}
        if version != "0.1":
            image["axes"] = list(axes)
        if version in ("0.4", "0.5"):
            image["axes"] = [
                {"name": axis} | ({"unit": units[axis]} if axis in units else {}) for axis in axes
            ]
            image["datasets"][0]["coordinateTransformations"] = [
                {"type": "scale", "scale": [steps[axis] for axis in axes]},
                {"type": "translation", "translation": [3.0 for _ in axes]},
            ]
            image["coordinateTransformations"] = [
                {"type": "scale", "scale": [whole[axis] for axis in axes]}
            ]
        stated = {"version": version, "multiscales": [image]}
        group.attrs.update({"ome": stated} if version == "0.5" else {"multiscales": [image]})
        one = Expected(as_tzc(pixels, axes.upper()))
        if version in ("0.4", "0.5"):
            factors = {**NGFF_LENGTHS, **NGFF_TIMES}
            um = {a: steps[a] * whole[a] * factors[units[a]] for a in "tzyx" if a in axes}
            one = Expected(one.pixels, (um["y"], um["x"]), um.get("z"), um.get("t"))
        found.append(one)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("random")


def bands(length: int) -> list[slice]:
    """A third of a side, and the rest."""
    cut = length // 3
    return [slice(0, cut), slice(cut, length)] if cut else [slice(0, length)]


def read(path: Path) -> Iterator[Expected]:
    """Everything our reader finds, read in four parts."""
    with opened(path) as series:
        for one in series:
            source = one.open()
            layout = source.layout
            rows, columns = bands(layout.height), bands(layout.width)
            planes = [
                np.block([[source.read(*place, y, x) for x in columns] for y in rows])
                for place in np.ndindex(layout.planes)
            ]
            times, slices, channels = layout.planes
            colours = channels * layout.samples
            pixels = np.reshape(planes, (times, slices, colours, layout.height, layout.width))
            yield Expected(pixels, layout.pixel_size_um, layout.z_step_um, layout.interval_s)


def check(path: Path, expected: list[Expected]) -> None:
    got = list(read(path))
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert one.pixels.dtype == other.pixels.dtype.newbyteorder("=")
        np.testing.assert_array_equal(one.pixels, other.pixels)
        for step, wanted in [(one.size, other.size), (one.z, other.z), (one.t, other.t)]:
            # TIFF's resolution is a fraction of 32-bit numbers: 1e-6 of small ones
            assert step == (None if wanted is None else pytest.approx(wanted, rel=2e-6))


KINDS = {
    "ome": ome_file, "imagej": imagej_file, "plain": plain_file, "colour": colour_file,
    "lossless": lossless_file,
}  # fmt: skip
EACH = settings(
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow,
                           HealthCheck.data_too_large],
)  # fmt: skip


@settings(EACH, max_examples=PER_RUN - _ZARR)
@given(data=st.data(), kind=st.sampled_from(sorted(KINDS)))
def test_tiff(folder: Path, data: st.DataObject, kind: str) -> None:
    path = folder / ("f.ome.tif" if kind == "ome" else "f.tif")
    check(path, data.draw(KINDS[kind](path)))


@settings(EACH, max_examples=_ZARR)
@given(data=st.data())
def test_zarr(folder: Path, data: st.DataObject) -> None:
    path = folder / "f.zarr"
    shutil.rmtree(path, ignore_errors=True)
    check(path, data.draw(zarr_folder(path)))
