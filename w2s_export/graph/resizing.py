"""Which pixels ONNX's Resize reads, mode by mode, and with what weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from math import ceil, floor
from typing import Any

_HALF = Fraction(1, 2)
_NEAREST: Mapping[str, Callable[[Fraction], int]] = {
    "floor": floor,
    "ceil": ceil,
    "round_prefer_floor": lambda x: ceil(x - _HALF),
    "round_prefer_ceil": lambda x: floor(x + _HALF),
}
Taps = list[tuple[int, float]]
"""Input pixels and their weights."""


def taps(kind: str, attributes: Mapping[str, Any], ratio: Fraction) -> list[Taps] | None:
    """What output pixels 0 to `ratio.numerator` − 1 read of an axis that grows by `ratio`.

    Then the same comes again, `ratio.denominator` input pixels further; pixels outside stand for
    the outermost inside. None where positions depend on the image's size: with `align_corners`
    every pixel moves when the image grows, so no tile of it can be computed alone.
    """
    place = attributes.get("coordinate_transformation_mode", "half_pixel")
    rounding = attributes.get("nearest_mode", "round_prefer_floor")
    mode = attributes.get("mode", "nearest")
    if kind == "Upsample":
        place, rounding = "asymmetric", "floor"
    if place in ("align_corners", "tf_crop_and_resize"):
        return None
    shift = 0 if place in ("asymmetric", "tf_half_pixel_for_nn") else _HALF
    start = Fraction(0) if place == "asymmetric" else _HALF
    cubic = float(attributes.get("cubic_coeff_a", -0.75))
    found = []
    for pixel in range(ratio.numerator):
        where = (pixel + start) / ratio - shift
        first = floor(where)
        part = float(where - first)
        if mode == "nearest":
            read = [(_NEAREST[rounding](where), 1.0)]
        elif mode == "linear":
            read = [(first, 1 - part), (first + 1, part)]
        else:
            read = [(first + tap, _cubic(abs(part - tap), cubic)) for tap in (-1, 0, 1, 2)]
        found.append(read)
    return found


def _cubic(x: float, a: float) -> float:
    if x <= 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a


def resized(
    kind: str, attributes: Mapping[str, Any], ratio: Fraction
) -> Callable[[int], list[int]] | None:
    """Input pixels that an output pixel reads; None as `taps` says."""
    found = taps(kind, attributes, ratio)
    if found is None:
        return None
    places = [[pixel for pixel, weight in read if weight] for read in found]

    def sources(pixel: int) -> list[int]:
        periods, phase = divmod(pixel, ratio.numerator)
        return [place + periods * ratio.denominator for place in places[phase]]

    return sources
