"""The two facts needed of an OME-XML header, found without building the document.

Schema: https://www.openmicroscopy.org/Schemas/OME/2016-06.
"""

from __future__ import annotations

import math
import re

from w2s_export.io.pixel_size import PixelSize, checked, micrometres

_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b[^>]*>")
_TIFF_DATA = re.compile(r"<(?:\w+:)?TiffData\b[^>]*>")


def pixel_size(xml: str) -> PixelSize | None:
    """`PhysicalSizeX/Y` of the first image; the unit is µm unless stated."""
    pixels = _PIXELS.search(xml)
    if not pixels:
        return None
    sizes = []
    for axis in "YX":
        unit = _attribute(pixels[0], f"PhysicalSize{axis}Unit") or "µm"
        factor = micrometres(unit)
        if factor is None:
            return None
        sizes.append(_number(_attribute(pixels[0], f"PhysicalSize{axis}")) * factor)
    return checked(sizes[0], sizes[1])


def planes_claimed(xml: str) -> float:
    """The largest number of planes any image of the header claims; inf if it is no number."""
    claims = [
        math.prod(_number(_attribute(tag, f"Size{axis}") or "1") for axis in "ZCT")
        for tag in _PIXELS.findall(xml)
    ]
    claims += [_number(_attribute(tag, "PlaneCount") or "1") for tag in _TIFF_DATA.findall(xml)]
    return max((math.inf if math.isnan(claim) else claim for claim in claims), default=0)


def _attribute(tag: str, name: str) -> str | None:
    found = re.search(rf"""\s{name}\s*=\s*(["'])(.*?)\1""", tag)
    return found[2] if found else None


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
