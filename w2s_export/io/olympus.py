"""Olympus's OIF (a text file and a folder of TIFFs beside it) and OIB (the same in one file).

Read by oiffile, which follows files of FluoView FV1000, as Bio-Formats does.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import ImageError
from w2s_export.io.appearance import Appearance, Channel
from w2s_export.io.source import Layout, PlaneSource, Series, Source, usable
from w2s_export.io.units import both, micrometres, seconds


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
        _at(file.mainfile, f"Channel {number} Parameters", "DyeName")
        for number in range(1, 1 + channels)
    ]
    looks = tuple(Channel(str(dye or "")) for dye in dyes) if any(dyes) else ()
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
    return usable(PlaneSource(layout, plane))


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
    return both(y, x), found.get("Z"), found.get("T")


def _at(stated: Mapping[str, Any], section: str, key: str) -> Any:
    return (stated.get(section) or {}).get(key)
