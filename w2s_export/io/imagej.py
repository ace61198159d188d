"""ImageJ's own metadata in a TIFF: calibration, and what people see."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from w2s_export.io.appearance import Appearance, Channel
from w2s_export.io.units import PixelSize, micrometres, seconds, stated_pixel_size, unread_step


def pixel_size(stated: Mapping[str, Any], sides: tuple[Fraction, Fraction]) -> PixelSize | None:
    """Of (y, x) sides of a pixel in ImageJ's unit, which may differ between the axes."""
    x_unit = str(stated.get("unit", ""))
    return stated_pixel_size(
        micrometres(sides[0], str(stated.get("yunit", x_unit))), micrometres(sides[1], x_unit)
    )


def steps(stated: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Distance between slices (µm) and between time points (s), where stated.

    ImageJ's `fps` counts where no `finterval` does: AVI files and virtual stacks state it alone.
    """
    unit = str(stated.get("zunit", stated.get("unit", "")))
    z = micrometres(_absolute(stated.get("spacing")), unit)
    interval = seconds(stated.get("finterval"), str(stated.get("tunit", "s")))
    if interval is None and (rate := seconds(stated.get("fps"), "s")):
        interval = seconds(1 / Fraction(str(rate)), "s")
    return z, interval


def appearance(
    stated: Mapping[str, Any], planes: tuple[int, int, int], colormap: Any
) -> Appearance:
    """What ImageJ shows.

    Args:
        stated: tifffile's reading of description and metadata tag.
        planes: times, slices and channels.
        colormap: the TIFF palette, (3, n) uint16, or None.
    """
    count = planes[2]
    tables = [_table(np.asarray(lut)) for lut in stated.get("LUTs", ())]
    if colormap is not None and not tables:
        tables = [_table(np.asarray(colormap) >> 8)]
    limits = [_number(limit) for limit in _sequence(stated.get("Ranges"))]
    if not limits:
        limits = [_number(stated.get("min")), _number(stated.get("max"))]
    windows = [
        (low, high) if low < high else None
        for low, high in zip(limits[::2], limits[1::2], strict=False)
    ]
    labels = [str(label) for label in _sequence(stated.get("Labels"))]
    overlays = [one for one in _sequence(stated.get("Overlays")) if isinstance(one, bytes)]
    selection = stated.get("ROI")
    return Appearance(
        channels=tuple(
            Channel("", _at(tables, c), windows[c] if c < len(windows) else None)
            for c in range(count)
        ),
        labels=tuple(labels[: math.prod(planes)]) if any(labels) else (),
        text=str(stated.get("Info", "") or ""),
        mode=str(stated.get("mode", "") or ""),
        overlays=tuple(overlays),
        selection=selection if isinstance(selection, bytes) else b"",
        left=_unread(stated),
    )


def _unread(stated: Mapping[str, Any]) -> tuple[str, ...]:
    """Steps in units that are unknown."""
    unit, time = str(stated.get("unit", "")), str(stated.get("tunit", ""))
    interval = steps(stated)[1]
    return (
        *unread_step("pixel size", "", unit, micrometres(1, unit)),
        *unread_step("time interval", stated.get("finterval"), time, interval),
    )


def _at(tables: list[bytes | None], channel: int) -> bytes | None:
    return tables[channel] if channel < len(tables) else None


def _table(lut: Any) -> bytes | None:
    if lut.ndim != 2 or lut.shape[0] != 3 or lut.shape[1] < 256:
        return None
    return np.ascontiguousarray(lut[:, :: lut.shape[1] // 256][:, :256], np.uint8).tobytes()


def _sequence(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple, np.ndarray)) else [value]


def _absolute(value: Any) -> Any:
    number = _number(value)
    return abs(number) if math.isfinite(number) else None


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
