"""ImageJ's overlays and selections, drawn for the input, moved to where they belong in the result.

Their coordinates count pixels from the corner of the image, so they grow as it does. The library
roifile reads and writes them.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from w2s_export.io.appearance import Appearance

_LARGEST = 32767
"""Coordinates are numbers of 16 bits."""
_IMAGE, _TURNED = 4, 5
"""Subtypes: pictures, whose pixels do not grow by numbers, and turned rectangles."""
_VALUES = {0: 2, 1: 2, 2: 4, 3: 6, 4: 0}
"""Of a path's segment, by its kind: to a place, a line, two curves, its end."""


def enlarge_regions(look: Appearance, factor: int) -> Appearance:
    """The same with overlays and selection for a larger image; named where that is impossible."""
    if not look.overlays and not look.selection:
        return look
    try:
        import roifile
    except ImportError:  # it needs Python 3.11
        named = drawn_in_words(look, "; roifile carries them: python -m pip install roifile")
        return replace(look, overlays=(), selection=b"", left=(*look.left, *named))
    logging.getLogger("roifile").setLevel(logging.CRITICAL)  # what it finds, we name
    overlays = [_enlarged(one, factor, roifile.ImagejRoi.frombytes) for one in look.overlays]
    selection = look.selection
    kept = _enlarged(selection, factor, roifile.ImagejRoi.frombytes) if selection else b""
    lost = replace(
        look,
        overlays=tuple(one for one, done in zip(look.overlays, overlays, strict=True) if not done),
        selection=b"" if kept else selection,
    )
    left = (*look.left, *drawn_in_words(lost, " of an unknown kind, or too large"))
    return replace(look, overlays=tuple(filter(None, overlays)), selection=kept or b"", left=left)


def drawn_in_words(look: Appearance, more: str = "") -> list[str]:
    """What is drawn on an image, in words."""
    count = len(look.overlays)
    return [f"{count} overlays{more}"] * bool(count) + [f"a selection{more}"] * bool(look.selection)


def _enlarged(data: bytes, factor: int, parse: Callable[[bytes], Any]) -> bytes | None:
    try:
        roi = parse(data)
        if roi.subtype == _IMAGE:
            return None
        for name in ("top", "left", "bottom", "right"):
            setattr(roi, name, getattr(roi, name) * factor)
            if abs(getattr(roi, name)) > _LARGEST:
                return None
        for name in ("x1", "y1", "x2", "y2", "xd", "yd", "widthd", "heightd", "text_size"):
            setattr(roi, name, getattr(roi, name) * factor)
        if roi.subtype == _TURNED:
            _widen(roi, factor)
        for name in ("integer_coordinates", "subpixel_coordinates"):
            if (places := getattr(roi, name)) is not None:
                setattr(roi, name, places * factor)
        if roi.multi_coordinates is not None:
            roi.multi_coordinates = _path(roi.multi_coordinates, factor)
        written: bytes = roi.tobytes()
    except Exception:  # of any kind: bytes of a file, or a value that has no room
        return None
    return written


def _widen(roi: Any, factor: int) -> None:
    """A turned rectangle's width: four bytes that are an arrow's style, head and arc elsewhere."""
    names = ("arrow_style_or_aspect_ratio", "arrow_head_size", "rounded_rect_arc_size")
    parts = struct.pack(f"{roi.byteorder}BBh", *(getattr(roi, name) for name in names))
    (width,) = struct.unpack(f"{roi.byteorder}f", parts)
    wider = struct.pack(f"{roi.byteorder}f", width * factor)
    for name, value in zip(names, struct.unpack(f"{roi.byteorder}BBh", wider), strict=True):
        setattr(roi, name, value)


def _path(values: Any, factor: int) -> Any:
    """Segments of a shape: each begins with its kind, a number that does not grow."""
    grown, at = values.copy(), 0
    while at < len(values):
        count = _VALUES[int(values[at])]
        grown[at + 1 : at + 1 + count] *= factor
        at += 1 + count
    return grown
