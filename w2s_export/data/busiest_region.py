"""The part of an image where the most happens."""

from __future__ import annotations

from typing import Any


def busiest_part(image: Any, height: int, width: int, most: int | None = None) -> tuple[int, int]:
    """Top and left of the part with the largest variance, among parts half a part apart.

    Args:
        image: (C, H, W), or anything that numpy-slices into that.
        height: of the part, at most H.
        width: of the part, at most W.
        most: places tried along each axis, evenly spread; None for all.
    """
    places = [
        (y, x)
        for y in _starts(image.shape[1], height, most)
        for x in _starts(image.shape[2], width, most)
    ]
    if len(places) == 1:
        return places[0]
    return max(
        places, key=lambda at: float(image[:, at[0] : at[0] + height, at[1] : at[1] + width].var())
    )


def _starts(length: int, part: int, most: int | None) -> list[int]:
    """Positions half a part apart, the last one included."""
    starts = list(dict.fromkeys([*range(0, length - part, max(1, part // 2)), length - part]))
    if most is None or len(starts) <= most:
        return starts
    return [starts[round(i * (len(starts) - 1) / (most - 1))] for i in range(most)]
