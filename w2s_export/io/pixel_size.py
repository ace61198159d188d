"""Pixel sizes as files state them: OME-XML, ImageJ's calibration, TIFF and PNG resolutions."""

from __future__ import annotations

import math

PixelSize = tuple[float, float]
"""(y, x), micrometres."""

LARGEST_BELIEVED_UM = 20.0
"""Plain resolution tags mostly mean print: 72 dpi is 353 µm, 1200 dpi is 21 µm. Microscopes state
far smaller pixels, so anything coarser is taken for print."""

_MICROMETRES = {
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer", "micrometre"), 1.0),
    **dict.fromkeys(("\\u00b5m", "\\xb5m"), 1.0),  # as ImageJ and older Javas escape them
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-3),
    **dict.fromkeys(("pm",), 1e-6),
    **dict.fromkeys(("å", "angstrom"), 1e-4),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e4),
    **dict.fromkeys(("m", "meter", "metre"), 1e6),
    **dict.fromkeys(("in", "inch", "inches"), 25400.0),
}
_TIFF_UNITS = {2: 25400.0, 3: 1e4}


def micrometres(unit: str) -> float | None:
    """Micrometres in a unit as written in OME-XML or by ImageJ; None for pixels and unknown."""
    return _MICROMETRES.get(unit.strip().lower())


def from_imagej(unit: str, sides: PixelSize) -> PixelSize | None:
    """ImageJ's: (y, x) sides of a pixel in `unit`."""
    factor = micrometres(unit)
    return None if factor is None else checked(sides[0] * factor, sides[1] * factor)


def from_tiff(unit: int, sides: PixelSize) -> PixelSize | None:
    """Plain TIFF: (y, x) sides of a pixel in inches (unit 2) or centimetres (3)."""
    factor = _TIFF_UNITS.get(unit)
    return None if factor is None else unless_print(sides[0] * factor, sides[1] * factor)


def unless_print(y: float, x: float) -> PixelSize | None:
    """Both, if both are small enough to be a microscope's."""
    return checked(y, x) if max(y, x) <= LARGEST_BELIEVED_UM else None


def checked(y: float, x: float) -> PixelSize | None:
    """Both, if both are possible."""
    return (y, x) if all(math.isfinite(side) and side > 0 for side in (y, x)) else None
