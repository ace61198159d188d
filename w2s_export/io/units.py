"""Units of length and time as files write them, as exact factors, and pixel sizes in them.

OME-XML has symbols (`µm`, `ms`, `Å`; upper and lower case differ), NGFF has UDUNITS names
(`micrometer`), ImageJ has what its user typed (`micron`, `um`, `sec`).
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from fractions import Fraction
from typing import Any

PixelSize = tuple[float, float]
"""(y, x), micrometres."""

LARGEST_BELIEVED_UM = 20.0
"""Plain resolution tags mostly mean print: 72 dpi is 353 µm, 1200 dpi is 21 µm. Microscopes state
far smaller pixels, so anything coarser is taken for print."""

_TIFF_UNITS = {2: "inch", 3: "cm"}
_PREFIXES = {
    **{"Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1},
    **{"": 0, "d": -1, "c": -2, "m": -3, "µ": -6, "μ": -6, "u": -6, "n": -9, "p": -12},
    **{"f": -15, "a": -18, "z": -21, "y": -24},
}
_PREFIX_NAMES = {
    **{"yotta": 24, "zetta": 21, "exa": 18, "peta": 15, "tera": 12, "giga": 9, "mega": 6},
    **{"kilo": 3, "hecto": 2, "deca": 1, "deka": 1, "": 0, "deci": -1, "centi": -2, "milli": -3},
    **{"micro": -6, "nano": -9, "pico": -12, "femto": -15, "atto": -18, "zepto": -21},
    "yocto": -24,
}
_INCH = Fraction(254, 10_000)
"""In metres; the thou, line, foot, yard, mile and point are made of it."""
_LONGEST_NUMBER = 400
"""Letters. The smallest float64 written without an exponent has 330."""


def _table(symbol: str, names: tuple[str, ...], more: dict[str, Fraction]) -> dict[str, Fraction]:
    table = {prefix + symbol: Fraction(10) ** power for prefix, power in _PREFIXES.items()}
    for prefix, power in _PREFIX_NAMES.items():
        table.update({f"{prefix}{name}": Fraction(10) ** power for name in names})
    return {**table, **more}


_METRES = _table(
    "m",
    ("meter", "meters", "metre", "metres"),
    {
        **dict.fromkeys(("micron", "microns"), Fraction(1, 10**6)),
        **dict.fromkeys(
            ("\u00c5", "\u212b", "\u00e5", "angstrom", "ångström"), Fraction(1, 10**10)
        ),
        **dict.fromkeys(("in", "inch", "inches"), _INCH),
        **{"thou": _INCH / 1000, "li": _INCH / 12, "pt": _INCH / 72},
        **dict.fromkeys(("ft", "foot", "feet"), 12 * _INCH),
        **dict.fromkeys(("yd", "yard", "yards"), 36 * _INCH),
        **dict.fromkeys(("mi", "mile", "miles"), 63360 * _INCH),
        **{"ua": Fraction(149_597_870_700), "ly": Fraction(9_460_730_472_580_800)},
        **dict.fromkeys(("pc", "parsec"), Fraction(30_856_775_814_913_673)),
    },
)
_SECONDS = _table(
    "s",
    ("second", "seconds", "sec", "secs"),
    {
        **dict.fromkeys(("sec", "secs"), Fraction(1)),
        **dict.fromkeys(("msec", "msecs"), Fraction(1, 1000)),
        **dict.fromkeys(("min", "mins", "minute", "minutes"), Fraction(60)),
        **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), Fraction(3600)),
        **dict.fromkeys(("d", "day", "days"), Fraction(86400)),
    },
)


_NO_UNITS = ("", "pixel", "pixels", "voxel", "reference frame", "frame", "frames")


def exact_number(text: str) -> Fraction:
    """A number as a file writes it, without rounding.

    Raises:
        ValueError: no number, or one longer or larger than any that is measured: `1e999999999` is
            ten letters, and would be a number of a billion digits.
    """
    text = text.strip()
    if len(text) > _LONGEST_NUMBER or re.search(r"e[-+]?0*[1-9]\d{3}", text.replace("_", ""), re.I):
        raise ValueError(f"no number that is measured: {text[:40]}")
    return Fraction(text)


def micrometres(value: Any, unit: str) -> float | None:
    """A positive length in micrometres, rounded once; None for pixels, unknown units, no number."""
    return _converted(value, _found(_METRES, unit), 10**6)


def seconds(value: Any, unit: str) -> float | None:
    """A positive duration in seconds, rounded once; None for unknown units and no number."""
    return _converted(value, _found(_SECONDS, unit), 1)


def unread_step(what: str, value: Any, unit: str, found: float | None) -> tuple[str, ...]:
    """What to say of a stated step that cannot be used; nothing where it is of pixels, or zero."""
    if value is None or found is not None or unit.strip().lower() in _NO_UNITS:
        return ()
    with suppress(ValueError):
        if float(value) == 0:
            return ()
    return (f"the {what} ({f'{value!s:.20} {unit:.20}'.strip()})",)


def _found(table: dict[str, Fraction], unit: str) -> Fraction | None:
    # Java and Python write characters beyond ASCII as \\u00B5 into headers that are ASCII.
    plain = re.sub(
        r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))",
        lambda code: chr(int(code[1] or code[2], 16)),
        unit,
    ).strip()
    factor = table.get(plain)
    if factor is None and (len(plain) > 2 or plain.lower() == "um"):  # `Mm` is no `mm`
        factor = table.get(plain.lower())
    return factor


def _converted(value: Any, factor: Fraction | None, per: int) -> float | None:
    """`value` as it is written: 65 nm are 0.065 µm, not 0.06500000000000001."""
    try:
        if not isinstance(value, Fraction):
            value = exact_number(str(value))
        number = float(value * factor * per) if factor is not None else 0.0
    except (ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def length_text(micrometres: float) -> str:
    """A length for people, four digits: `62.6 nm`, `1 µm`."""
    rounded = float(f"{micrometres:.4g}")
    return f"{rounded:.4g} µm" if rounded >= 1 else f"{1000 * rounded:.4g} nm"


def stated_pixel_size(y: float | None, x: float | None) -> PixelSize | None:
    """Both sides, if both are stated."""
    return (y, x) if y and x else None


def from_tiff(unit: int, sides: tuple[Fraction, Fraction]) -> PixelSize | None:
    """Plain TIFF: (y, x) sides of a pixel in inches (unit 2) or centimetres (3)."""
    name = _TIFF_UNITS.get(unit, "")
    return microscope_pixel_size(micrometres(sides[0], name), micrometres(sides[1], name))


def microscope_pixel_size(y: float | None, x: float | None) -> PixelSize | None:
    """Both, if both are small enough to be a microscope's."""
    size = stated_pixel_size(y, x)
    return size if size and max(size) <= LARGEST_BELIEVED_UM else None
