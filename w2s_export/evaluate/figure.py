"""The comparison in pictures, as the W2S report shows it: rows of zoomed crops, scores below each.

Drawn with Pillow, pixel by pixel: a plotting library would resample the very pixels to be judged.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.metrics.scores import Scores, fit_intensity

ZOOMED = 64
"""Side of a zoomed region, target pixels."""

_PANEL, _GAP, _TEXT = 192, 6, 15
_SHOWN = (0.5, 99.8)  # percentiles of the target that are drawn black and white
_FRAMES = ((230, 159, 0), (86, 180, 233))  # orange and sky blue: told apart by every eye
_INK = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Column:
    """One method on one image: `plane` (H, W) at the target's size; no scores for the target."""

    title: str
    plane: NDArray[np.floating]
    scores: Scores | None


@dataclass(frozen=True, slots=True)
class Row:
    """One image. `overview`: the target (H, W), in which the zoomed regions are framed."""

    name: str
    overview: NDArray[Any]
    pixel_um: float | None
    columns: tuple[Column, ...]


def draw_comparison(rows: Sequence[Row]) -> bytes:
    """A PNG: for each image the whole target with two frames, then both regions by every method.

    Every image is fitted to the target's intensities, as for the scores, and drawn between the
    target's percentiles; regions are magnified by whole numbers, pixel by pixel.
    """
    from PIL import Image

    drawn = [_draw_row(row) for row in rows]
    sheet = Image.new(
        "RGB", (max(d.width for d in drawn), sum(d.height + 2 * _GAP for d in drawn)), "white"
    )
    top = _GAP
    for picture in drawn:
        sheet.paste(picture, (0, top))
        top += picture.height + 2 * _GAP
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


def zoomed_regions(target: NDArray[Any]) -> list[tuple[int, int, int]]:
    """(y, x, side) of two squares of the target that are rich in detail and do not overlap.

    One alone where two have no room.
    """
    height, width = target.shape
    side = min(ZOOMED, height, width)
    low, high = np.percentile(target, _SHOWN)
    down, across = np.gradient(np.clip(target.astype(np.float64), low, high))
    detail = np.hypot(down, across)
    step = max(1, side // 4)
    places = {
        (y, x): float(detail[y : y + side, x : x + side].sum())
        for y in range(0, height - side + 1, step)
        for x in range(0, width - side + 1, step)
    }
    first = max(places, key=lambda place: places[place])
    chosen = [first]
    apart = [p for p in places if max(abs(p[0] - first[0]), abs(p[1] - first[1])) >= side]
    if apart:
        chosen.append(max(apart, key=lambda place: places[place]))
    return [(y, x, side) for y, x in chosen]


def _draw_row(row: Row) -> Any:
    """Title line, panels, captions."""
    from PIL import Image, ImageDraw

    regions = zoomed_regions(row.overview)
    zoom = max(1, _PANEL // regions[0][2])
    panel = zoom * regions[0][2]
    tall = len(regions) * (panel + _GAP) - _GAP
    whole = _overview(row, regions, tall)
    width = whole.width + len(row.columns) * (panel + _GAP) + 2 * _GAP
    top = _TEXT + 8
    picture = Image.new("RGB", (width, top + tall + 2 * (_TEXT + 4)), "white")
    draw = ImageDraw.Draw(picture)
    picture.paste(whole, (_GAP, top))
    _write(draw, _fitting(row.name, whole.width), (_GAP, top + tall + 4))
    left = whole.width + 2 * _GAP
    low, high = np.percentile(row.overview, _SHOWN)
    for column in row.columns:
        _write(draw, _fitting(column.title, panel), (left, 2))
        shown = _displayed(fit_intensity(column.plane.astype(np.float64), row.overview), low, high)
        for place, (y, x, side) in enumerate(regions):
            crop = np.kron(shown[y : y + side, x : x + side], np.ones((zoom, zoom), np.uint8))
            part = _framed(Image.fromarray(crop).convert("RGB"), _FRAMES[place])
            picture.paste(part, (left, top + place * (panel + _GAP)))
        if column.scores is not None:
            psnr, ssim = column.scores["psnr_db"], column.scores["ssim"]
            _write(draw, f"{psnr:.2f} dB / {ssim:.3f}", (left, top + tall + 4))
        left += panel + _GAP
    return picture


def _overview(row: Row, regions: Sequence[tuple[int, int, int]], tall: int) -> Any:
    """The whole target, `tall` high, both regions framed, a scale bar where the size is known."""
    from PIL import Image, ImageDraw

    height, width = row.overview.shape
    ratio = tall / height
    size = (max(1, round(width * ratio)), tall)
    low, high = np.percentile(row.overview, _SHOWN)
    picture = Image.fromarray(_displayed(row.overview, low, high)).convert("RGB")
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for (y, x, side), colour in zip(regions, _FRAMES, strict=False):
        box = [round(ratio * end) for end in (x, y, x + side, y + side)]
        draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=colour, width=2)
    if row.pixel_um is not None:
        _scale_bar(draw, ratio / row.pixel_um, size)
    return picture


def _scale_bar(draw: Any, per_um: float, size: tuple[int, int]) -> None:
    """The longest bar of 1, 2 or 5 times a power of ten that takes at most a third."""
    lengths = [digit * 10.0**power for power in range(-2, 4) for digit in (1, 2, 5)]
    fitting = [length for length in lengths if length * per_um <= size[0] / 3]
    if not fitting:
        return
    length = fitting[-1]
    right, bottom = size[0] - 10, size[1] - 10
    left = right - round(length * per_um)
    text = f"{length:g} um" if length >= 1 else f"{1000 * length:g} nm"  # the font has no µ
    box = draw.textbbox((right, bottom - 8), text, font=_font(), anchor="rb")
    draw.rectangle((min(left, box[0]) - 4, box[1] - 4, right + 4, bottom + 4), fill=_INK)
    draw.rectangle((left, bottom - 4, right, bottom), fill="white")
    draw.text((right, bottom - 8), text, font=_font(), fill="white", anchor="rb")


def _displayed(plane: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    grey = np.clip((plane - low) / max(high - low, 1e-12), 0, 1)
    return np.rint(255 * grey).astype(np.uint8)


def _framed(picture: Any, colour: tuple[int, int, int]) -> Any:
    from PIL import ImageDraw

    box = (0, 0, picture.width - 1, picture.height - 1)
    ImageDraw.Draw(picture).rectangle(box, outline=colour, width=2)
    return picture


def _write(draw: Any, text: str, corner: tuple[int, int]) -> None:
    draw.text(corner, text, font=_font(), fill=_INK)


def _fitting(text: str, width: int) -> str:
    """The text, its beginning left out where it is too long: endings tell names apart."""
    if _font().getlength(text) <= width:
        return text
    while text and _font().getlength(f"…{text}") > width:
        text = text[1:]
    return f"…{text}"


def _font() -> Any:
    """The font inside Pillow: the same on every machine."""
    from PIL import ImageFont

    return ImageFont.load_default(_TEXT)
