"""Imaris's IMS: an HDF5 file of one image, a dataset for each time and channel, and a pyramid.

Format: https://imaris.oxinst.com/support/imaris-file-format (Imaris 5.5). Texts are arrays of
single characters; datasets are padded to whole chunks.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import ImageError
from w2s_export.io.appearance import Appearance, Channel, ramp
from w2s_export.io.source import Layout, PlaneSource, Series, Source, require_restorable
from w2s_export.io.units import micrometres, stated_pixel_size


def images(library: Any, path: Path, stack: ExitStack) -> list[Series]:
    """The one image of a file, in full resolution."""
    file = stack.enter_context(library.File(str(path), "r"))
    return [Series("", partial(_source, file))]


def _source(file: Any) -> Source:
    level = file.get("DataSet/ResolutionLevel 0")
    if level is None:
        raise ImageError("holds no Imaris image (DataSet/ResolutionLevel 0)")
    stated = file["DataSetInfo/Image"].attrs
    times = sum(name.startswith("TimePoint ") for name in level)
    channels = sum(name.startswith("Channel ") for name in level["TimePoint 0"])
    first = _data(file, 0, 0)
    width, height, slices = (int(_text(stated, axis)) for axis in "XYZ")
    if any(n > padded for n, padded in zip((slices, height, width), first.shape, strict=True)):
        raise ImageError(f"states {slices}×{height}×{width} pixels, it holds {first.shape}")

    def plane(t: int, z: int, c: int) -> NDArray[Any]:
        part: NDArray[Any] = _data(file, t, c)[z, :height, :width]
        return part[np.newaxis]

    unit = _text(stated, "Unit") or "um"
    x, y, z = (
        micrometres(_extent(stated, axis) / size, unit)
        for axis, size in enumerate((width, height, slices))
    )
    looks = tuple(_channel(file, number) for number in range(channels))
    layout = Layout(
        (times, slices, channels),
        1,
        height,
        width,
        np.dtype(first.dtype).newbyteorder("="),
        (height, width),
        stated_pixel_size(y, x),
        z if slices > 1 else None,
        appearance=Appearance(looks, text=_text(stated, "Description"), left=_left(file)),
    )
    return require_restorable(PlaneSource(layout, plane))


def _data(file: Any, t: int, c: int) -> Any:
    data = file[f"DataSet/ResolutionLevel 0/TimePoint {t}/Channel {c}/Data"]
    if data.file.filename != file.filename or data.external or data.is_virtual:
        raise ImageError("keeps its pixels in another file, which is not read")
    return data


def _extent(stated: Any, axis: int) -> float:
    return abs(float(_text(stated, f"ExtMax{axis}")) - float(_text(stated, f"ExtMin{axis}")))


def _channel(file: Any, number: int) -> Channel:
    group = file.get(f"DataSetInfo/Channel {number}")
    if group is None:
        return Channel()
    parts = [round(255 * float(part)) for part in _text(group.attrs, "Color").split()]
    colour = ramp((parts[0], parts[1], parts[2])) if len(parts) == 3 else None
    limits = [float(part) for part in _text(group.attrs, "ColorRange").split()]
    window = (limits[0], limits[1]) if len(limits) == 2 and limits[0] < limits[1] else None
    return Channel(_text(group.attrs, "Name"), colour, window)


def _left(file: Any) -> tuple[str, ...]:
    found = ["the planes' own times"] if "DataSetInfo/TimeInfo" in file else []
    return (*found, *(["surfaces, spots and filaments"] if "Scene" in file else []))


def _text(stated: Any, name: str) -> str:
    value = stated.get(name)
    if value is None:
        return ""
    raw = np.asarray(value)
    return b"".join(raw.astype("S1").ravel()).decode("utf-8", "replace").strip("\0").strip()
