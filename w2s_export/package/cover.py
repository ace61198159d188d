"""The package's cover: the sample before and after, side by side, as the zoo shows it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.io.units import length_text
from w2s_export.rdf.description import Description

WIDTH, HEIGHT = 1200, 600
"""The zoo asks for 2:1 or 1:1."""
LIMIT = 500_000
"""The zoo asks for less than 500 kB."""

_PANEL = WIDTH // 2
_SHOWN = (0.5, 99.8)
_SMALLEST_VIEW = 24


def draw_cover(description: Description) -> bytes:
    """A PNG of 1200×600 pixels: input left, output right, the same part of the sample.

    Both halves show the same piece of the specimen at the same size: the busiest square of the
    sample, small enough that single input pixels can be seen. The same description gives the same
    bytes (with one version of Pillow).
    """
    from PIL import Image, ImageDraw

    sample, scale = description.sample, description.scale
    y, x, side = _view(sample.image)
    before = sample.image[:, y : y + side, x : x + side]
    after = sample.restored[:, scale * y : scale * (y + side), scale * x : scale * (x + side)]
    cover = Image.new("RGB", (WIDTH, HEIGHT))
    for left, part, resample, label in (
        (0, before, Image.Resampling.NEAREST, _label("input", description, 1)),
        (_PANEL, after, Image.Resampling.BICUBIC, _label("output", description, scale)),
    ):
        panel = Image.fromarray(displayed(part)).resize((_PANEL, _PANEL), resample)
        cover.paste(panel, (left, 0))
        _write(cover, label, (left + 24, HEIGHT - 28))
    ImageDraw.Draw(cover).rectangle((_PANEL - 2, 0, _PANEL + 1, HEIGHT), "white")
    _draw_scale_bar(cover, description, side)
    grey = len(before) == len(after) == 1
    return _encode(cover.convert("L") if grey else cover)


def _view(image: NDArray[Any]) -> tuple[int, int, int]:
    """(y, x, side) of the square to show: the busiest of those about 96 pixels wide."""
    _, height, width = image.shape
    side = max(min(96, height, width), min(_SMALLEST_VIEW, height, width))
    values = image.astype(np.float64).mean(axis=0)
    low, high = np.percentile(values, _SHOWN)
    values = np.clip(values, low, high)
    down, across = np.gradient(values)
    detail = np.hypot(down, across)
    step = max(1, side // 4)
    places = [
        (y, x)
        for y in [*range(0, height - side, step), height - side]
        for x in [*range(0, width - side, step), width - side]
    ]
    y, x = max(places, key=lambda at: detail[at[0] : at[0] + side, at[1] : at[1] + side].sum())
    return y, x, side


def displayed(part: NDArray[Any]) -> NDArray[np.uint8]:
    """(H, W, 3), each image between its own percentiles; one channel is grey, two are RG."""
    values = part.astype(np.float64)
    low, high = np.percentile(values, _SHOWN)
    grey = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    if grey.shape[0] == 1:
        grey = np.repeat(grey, 3, axis=0)
    channels = np.zeros((3, *grey.shape[1:]))
    channels[: min(3, len(grey))] = grey[:3]
    return np.ascontiguousarray(np.round(255 * channels).astype(np.uint8).transpose(1, 2, 0))


def _label(word: str, description: Description, scale: int) -> str:
    size = description.sample.pixel_size_um
    if size is None:
        return word if scale == 1 else f"{word}, {scale}x"  # nor ×
    return f"{word}, {length_text(size / scale).replace('µ', 'u')} pixels"  # the font has no µ


def _write(cover: Any, text: str, corner: tuple[int, int]) -> None:
    """White on a dark plate, so that it reads on any image; `corner` is its lower left."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(cover, "RGBA")
    font = _font(30)
    left, top, right, bottom = draw.textbbox(corner, text, font=font, anchor="ls")
    draw.rounded_rectangle((left - 10, top - 10, right + 10, bottom + 10), 6, (0, 0, 0, 170))
    draw.text(corner, text, font=font, fill="white", anchor="ls")


def _draw_scale_bar(cover: Any, description: Description, side: int) -> None:
    from PIL import ImageDraw

    size = description.sample.pixel_size_um
    if size is None:
        return
    micrometre = _PANEL / (side * size)
    length = max(
        (
            value * 10.0**power
            for power in range(-3, 4)
            for value in (1, 2, 5)
            if value * 10.0**power * micrometre <= _PANEL / 4
        ),
        default=0.0,
    )
    if not length:
        return
    draw = ImageDraw.Draw(cover, "RGBA")
    font = _font(24)
    right, bottom = WIDTH - 20, HEIGHT - 22
    left = right - round(length * micrometre)
    text = length_text(length).replace("µ", "u")  # Pillow's font has no µ
    box = draw.textbbox(((left + right) / 2, bottom - 14), text, font=font, anchor="ms")
    plate = (min(left, box[0]) - 8, box[1] - 8, max(right, box[2]) + 8, bottom + 8)
    draw.rounded_rectangle(plate, 6, (0, 0, 0, 170))
    draw.rectangle((left, bottom - 5, right, bottom), "white")
    draw.text(((left + right) / 2, bottom - 14), text, font=font, fill="white", anchor="ms")


def _font(size: int) -> Any:
    """The font inside Pillow: the same on every machine."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _encode(cover: Any) -> bytes:
    """PNG below the limit: every shade if they fit, else fewer: noise hardly shrinks."""
    for colours in (None, 128, 64, 32, 16):
        stream = io.BytesIO()
        picture = cover if colours is None else cover.quantize(colours, dither=0)
        picture.save(stream, "PNG")
        if stream.tell() < LIMIT:
            break
    return stream.getvalue()
