"""What microscopes' software states in TIFF files of its own kind: LSM, STK, MetaSeries and others.

tifffile parses the headers; here they become calibration, and names and colours of channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from w2s_export.io.appearance import Channel, ramp
from w2s_export.io.units import micrometres, seconds, stated_pixel_size

if TYPE_CHECKING:
    import tifffile


def described(tif: tifffile.TiffFile, planes: tuple[int, ...]) -> dict[str, Any]:
    """Calibration and channels by the header of the first kind that the file has; or nothing.

    Args:
        tif: the file.
        planes: times, slices and channels.
    """
    for name, describe in _KINDS.items():
        if getattr(tif, f"is_{name}"):
            stated = getattr(tif, f"{name}_metadata")
            return describe(stated, planes) if isinstance(stated, Mapping) else {}
    if tif.is_svs:
        return _svs(tif.pages.first.description)
    return {}


def _lsm(stated: Mapping[str, Any], planes: tuple[int, ...]) -> dict[str, Any]:
    """Zeiss: metres and seconds."""
    shown = stated.get("ChannelColors") or {}
    names, colours = shown.get("ColorNames") or (), shown.get("Colors") or ()
    channels: tuple[Channel, ...] = ()
    if len(names) == len(colours) == planes[2]:
        parts = zip(names, colours, strict=True)
        channels = tuple(Channel(str(n), ramp((c[0], c[1], c[2]))) for n, c in parts)
    x, y, z = (micrometres(stated.get(f"VoxelSize{axis}"), "m") for axis in "XYZ")
    return {
        "pixel_size_um": stated_pixel_size(y, x),
        "z_step_um": z if planes[1] > 1 else None,
        "interval_s": seconds(stated.get("TimeIntervall"), "s"),  # as the format spells it
        "channels": channels,
    }


def _stk(stated: Mapping[str, Any], planes: tuple[int, ...]) -> dict[str, Any]:
    """MetaMorph: every plane's own distance (µm) and time (ms)."""
    unit = str(stated.get("CalibrationUnits") or "")
    x, y = (micrometres(stated.get(f"{axis}Calibration"), unit) for axis in "XY")
    times = [float(time) for time in stated.get("TimeCreated", ())]
    spent = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else None
    distances = [float(distance) for distance in stated.get("ZDistance", ())]
    return {
        "pixel_size_um": stated_pixel_size(y, x),
        "z_step_um": micrometres(distances[0], "µm") if distances and planes[1] > 1 else None,
        "interval_s": seconds(spent, "ms") if planes[0] > 1 else None,
    }


def _metaseries(stated: Mapping[str, Any], planes: tuple[int, ...]) -> dict[str, Any]:
    """MetaMorph's single planes."""
    plane = stated.get("PlaneInfo") or {}
    unit = str(plane.get("spatial-calibration-units", ""))
    x, y = (micrometres(plane.get(f"spatial-calibration-{axis}"), unit) for axis in "xy")
    name = str(plane.get("_IllumSetting_", "") or "")
    channels = (Channel(name),) if name and planes[2] == 1 else ()
    return {"pixel_size_um": stated_pixel_size(y, x), "channels": channels}


def _sis(stated: Mapping[str, Any], planes: tuple[int, ...]) -> dict[str, Any]:
    """Olympus Soft Imaging: metres."""
    x, y = (micrometres(stated.get(f"pixelsize{axis}"), "m") for axis in "xy")
    return {"pixel_size_um": stated_pixel_size(y, x)}


def _fluoview(stated: Mapping[str, Any], planes: tuple[int, ...]) -> dict[str, Any]:
    """Olympus FluoView: name, size, origin, step and unit of every dimension."""
    dimensions = {str(one[0]).lower(): one for one in stated.get("Dimensions", ())}

    def step(name: str, convert: Callable[[Any, str], float | None]) -> float | None:
        one = dimensions.get(name)
        return None if one is None else convert(one[3], str(one[4]))

    return {
        "pixel_size_um": stated_pixel_size(step("y", micrometres), step("x", micrometres)),
        "z_step_um": step("z", micrometres),
        "interval_s": step("t", seconds),
    }


def _micromanager(stated: Mapping[str, Any], planes: tuple[int, ...]) -> dict[str, Any]:
    """Micro-Manager without OME's header: µm, milliseconds, and packed colours."""
    summary = stated.get("Summary") or {}
    size = micrometres(summary.get("PixelSize_um"), "µm")
    names = [str(name) for name in summary.get("ChNames") or ()]
    colours = [int(colour) & 0xFFFFFF for colour in summary.get("ChColors") or ()]
    channels: tuple[Channel, ...] = ()
    if len(names) == planes[2]:
        tables = [ramp((c >> 16, c >> 8 & 255, c & 255)) for c in colours]
        given = tables if len(tables) == len(names) else [None] * len(names)
        channels = tuple(Channel(name, lut) for name, lut in zip(names, given, strict=True))
    return {
        "pixel_size_um": stated_pixel_size(size, size),
        "z_step_um": micrometres(summary.get("z-step_um"), "µm"),
        "interval_s": seconds(summary.get("Interval_ms"), "ms"),
        "channels": channels,
    }


def _svs(description: str) -> dict[str, Any]:
    """Aperio: `MPP`, micrometres per pixel."""
    stated = dict(part.partition("=")[::2] for part in description.split("|"))
    sizes = {key.strip(): value.strip() for key, value in stated.items()}
    size = micrometres(sizes.get("MPP"), "µm")
    return {"pixel_size_um": stated_pixel_size(size, size)}


_KINDS: dict[str, Callable[[Mapping[str, Any], tuple[int, ...]], dict[str, Any]]] = {
    "lsm": _lsm,
    "stk": _stk,
    "micromanager": _micromanager,
    "metaseries": _metaseries,
    "sis": _sis,
    "fluoview": _fluoview,
}
