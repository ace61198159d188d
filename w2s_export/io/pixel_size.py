"""Pixel sizes as files state them: ImageJ's calibration, TIFF and PNG resolutions."""

from __future__ import annotations

from fractions import Fraction

from w2s_export.io.units import micrometres

PixelSize = tuple[float, float]
"""(y, x), micrometres."""

LARGEST_BELIEVED_UM = 20.0
"""Plain resolution tags mostly mean print: 72 dpi is 353 µm, 1200 dpi is 21 µm. Microscopes state
far smaller pixels, so anything coarser is taken for print."""

_TIFF_UNITS = {2: "inch", 3: "cm"}


def both(y: float | None, x: float | None) -> PixelSize | None:
    """Both sides, if both are stated."""
    return (y, x) if y and x else None


def from_tiff(unit: int, sides: tuple[Fraction, Fraction]) -> PixelSize | None:
    """Plain TIFF: (y, x) sides of a pixel in inches (unit 2) or centimetres (3)."""
    name = _TIFF_UNITS.get(unit, "")
    return unless_print(micrometres(sides[0], name), micrometres(sides[1], name))


def unless_print(y: float | None, x: float | None) -> PixelSize | None:
    """Both, if both are small enough to be a microscope's."""
    size = both(y, x)
    return size if size and max(size) <= LARGEST_BELIEVED_UM else None
