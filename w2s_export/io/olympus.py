"""Olympus's OIF (a text file and a folder of TIFFs beside it), OIB (the same in one file) and OIR.

The first two are read by oiffile, which follows files of FluoView FV1000, as Bio-Formats does; OIR,
and POIR (a ZIP archive of OIRs), by oirfile, as a whole: FV3000 and FV4000.
"""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import ImageError
from w2s_export.io.appearance import Appearance, Channel
from w2s_export.io.memory import most_bytes, require_within
from w2s_export.io.source import (
    ArraySource,
    Layout,
    PlaneSource,
    Series,
    Source,
    arranged,
    decoding_errors,
    native,
    require_restorable,
)
from w2s_export.io.units import micrometres, seconds, stated_pixel_size


def images(library: Any, path: Path, stack: ExitStack) -> list[Series]:
    """The one image of a file: the longest of the series of TIFFs in it."""
    file = stack.enter_context(library.OifFile(str(path)))
    return [Series("", partial(_source, file))]


def _source(file: Any) -> Source:
    planes = file.series[0]
    axes, shape = str(planes.axes), tuple(planes.shape)
    lengths = dict(zip(axes, shape, strict=True))
    if other := [f"{lengths[axis]} along {axis}" for axis in axes if axis not in "TZC"]:
        raise ImageError(f"has axes that are no time, slice or channel ({', '.join(other)})")
    names = dict(zip(planes.indices, planes, strict=True))

    def plane(t: int, z: int, c: int) -> NDArray[Any]:
        at = {"T": t, "Z": z, "C": c}
        pixels: NDArray[Any] = file.asarray(names[tuple(at[axis] for axis in axes)])
        return pixels[np.newaxis]

    first = plane(0, 0, 0)[0]
    if first.ndim != 2:
        raise ImageError(f"a plane of it is {first.shape}; save it as OME-TIFF")
    height, width = first.shape
    size, z_step, interval = _calibration(file.mainfile)
    channels = lengths.get("C", 1)
    dyes = [
        str(_at(file.mainfile, f"Channel {number} Parameters", "DyeName") or "")
        for number in range(1, 1 + channels)
    ]
    names_of = ["" if dye == "None" else dye for dye in dyes]  # as FluoView names transmitted light
    looks = tuple(map(Channel, names_of)) if any(names_of) else ()
    layout = Layout(
        (lengths.get("T", 1), lengths.get("Z", 1), channels),
        1,
        height,
        width,
        first.dtype,
        (height, width),
        size,
        z_step,
        interval,
        appearance=Appearance(looks),
    )
    return require_restorable(PlaneSource(layout, plane))


def _calibration(stated: Mapping[str, Any]) -> tuple[Any, float | None, float | None]:
    """Pixel size, distance of slices and interval, as Bio-Formats takes them."""
    reference = "Reference Image Parameter"
    y, x = (
        micrometres(
            _at(stated, reference, f"{side}ConvertValue"),
            str(_at(stated, reference, f"{side}Unit") or "um"),
        )
        for side in ("Height", "Width")
    )
    found: dict[str, Any] = {}
    for number in range(8):
        section = f"Axis {number} Parameters Common"
        axis, unit = _at(stated, section, "AxisCode"), str(_at(stated, section, "UnitName") or "")
        convert = {"Z": micrometres, "T": seconds}.get(str(axis))
        step = _at(stated, section, "Interval")
        if convert and isinstance(step, (int, float)):
            found[str(axis)] = convert(abs(step), unit)
    return stated_pixel_size(y, x), found.get("Z"), found.get("T")


def _at(stated: Mapping[str, Any], section: str, key: str) -> Any:
    return (stated.get(section) or {}).get(key)


def oir_images(library: Any, path: Path, stack: ExitStack) -> list[Series]:
    """The image of an OIR, with the parts of it that lie beside it; of a POIR, all in it."""
    if path.suffix.lower() == ".oir":
        with _complete():
            file = stack.enter_context(library.OirFile(str(path)))
        return [Series("", partial(_of_oir, file))]
    archive = stack.enter_context(zipfile.ZipFile(path))

    def source(member: zipfile.ZipInfo) -> Source:
        require_within(
            most_bytes(), member.file_size, f"{member.file_size} bytes of {member.filename}"
        )
        with decoding_errors(), _complete():
            file = library.OirFile(io.BytesIO(archive.read(member)))
        return _of_oir(file)

    return [
        Series(PurePosixPath(member.filename).stem, partial(source, member))
        for member in archive.infolist()
        if member.filename.lower().endswith(".oir")
    ]


@contextmanager
def _complete() -> Iterator[None]:
    """The library fills up what a file lacks with zeros, and tells nothing but its log."""

    def refuse(record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        raise ImageError(f"is incomplete: {record.getMessage()}; copy or export it again")

    log = logging.getLogger("oirfile")
    level = log.level
    log.setLevel(logging.WARNING)
    log.addFilter(refuse)
    try:
        yield
    finally:
        log.removeFilter(refuse)
        log.setLevel(level)


def _of_oir(file: Any) -> Source:
    sizes = {axis: int(size) for axis, size in file.sizes.items()}
    other = [f"{size} along {axis}" for axis, size in sizes.items() if axis not in "TZCSYX"]
    if other or not {*"YX"} <= {*sizes}:
        named = ", ".join(other) or "no rows: scans of a line, or no image at all"
        raise ImageError(f"has axes that are no time, slice or channel ({named})")
    require_within(most_bytes(), int(file.nbytes), f"{'×'.join(map(str, sizes.values()))} pixels")
    with decoding_errors(), _complete():
        pixels = native(arranged(np.asarray(file.asarray()), "".join(sizes)))
    names = file.coords.get("C", [channel.name for channel in file.channels])
    known = len(names) == sizes.get("C", 1) and "S" not in sizes
    step = {axis: _mean_step(file.coords.get(axis)) for axis in "ZYX"}
    times, count = file.timestamps, sizes.get("T", 1)  # of every plane, in seconds
    each = len(times) // count if times is not None else 0
    interval = _mean_step(times[::each][:count]) if each else None
    return require_restorable(
        ArraySource(
            pixels,
            pixel_size_um=stated_pixel_size(
                micrometres(step["Y"], "µm"), micrometres(step["X"], "µm")
            ),
            z_step_um=micrometres(step["Z"], "µm"),
            interval_s=seconds(interval, "s"),
            appearance=Appearance(tuple(Channel(str(n)) for n in names) if known else ()),
        )
    )


def _mean_step(places: Any) -> float | None:
    """Distance of neighbours on an axis."""
    if places is None or len(places) < 2:
        return None
    return abs(float(places[-1]) - float(places[0])) / (len(places) - 1)
