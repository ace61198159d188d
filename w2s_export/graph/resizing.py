"""Which pixels ONNX's Resize reads, mode by mode."""

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


def resized(
    kind: str, attributes: Mapping[str, Any], ratio: Fraction
) -> Callable[[int], list[int]] | None:
    """Input pixels that an output pixel reads, of an axis that grows by `ratio`.

    None where they depend on the image's size: with `align_corners` every pixel moves when the
    image grows, so no tile of it can be computed alone.
    """
    if kind == "Upsample":
        attributes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"} | {
            "mode": attributes.get("mode", "nearest")
        }
    place = attributes.get("coordinate_transformation_mode", "half_pixel")
    mode = attributes.get("mode", "nearest")

    def position(pixel: int) -> Fraction:
        if place == "asymmetric":
            return pixel / ratio
        return (pixel + _HALF) / ratio - (0 if place == "tf_half_pixel_for_nn" else _HALF)

    if place in ("align_corners", "tf_crop_and_resize"):
        return None
    if mode == "nearest":
        rounded = _NEAREST[attributes.get("nearest_mode", "round_prefer_floor")]
        return lambda pixel: [rounded(position(pixel))]
    around = 1 if mode == "linear" else 2

    def read(pixel: int) -> list[int]:
        where = position(pixel)
        first = floor(where)
        if where == first:
            return [first]
        return list(range(first - around + 1, first + around + 1))

    return read
