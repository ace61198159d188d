"""Reads OME-XML headers: every image with its planes, calibration and appearance.

Schema: https://www.openmicroscopy.org/Schemas/OME/2016-06. Document types are refused, because
entities declared in them can name other files or grow without end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from w2s_export.errors import ImageError
from w2s_export.io.appearance import Appearance, Channel, ramp
from w2s_export.io.units import PixelSize, micrometres, seconds, stated_pixel_size, unread_step

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MOST_PLANES = 1 << 20
"""A header can claim any number; a real file of a million planes is unheard of."""
_LARGEST = (1 << 31) - 1
"""Of a size or a count: the schema's own numbers are Java's."""
_SHOWN = ("Instrument", "Experimenter", "Plate", "Screen", "Dataset", "Project")


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive pages of one file that hold consecutive planes (`TiffData`)."""

    first: tuple[int, int, int]
    """Time, slice and channel of the first of them."""
    page: int
    count: int
    file: str
    """Name of the file; empty for the one with the header."""
    uuid: str


@dataclass(frozen=True, slots=True)
class OmeImage:
    """One image of a header."""

    order: str
    """The axes of its planes, the fastest first: a permutation of CZT."""
    planes: tuple[int, int, int]
    """Times, slices and channels."""
    height: int
    width: int
    samples: int
    pixel_size_um: PixelSize | None
    z_step_um: float | None
    interval_s: float | None
    appearance: Appearance
    blocks: tuple[Block, ...]

    def pages(self) -> Iterator[tuple[tuple[int, int, int], Block, int]]:
        """(t, z, c) of every plane, and the block and the page within its file that holds it."""
        sizes = dict(zip("TZC", self.planes, strict=True))
        shape = [sizes[axis] for axis in reversed(self.order)]
        total = int(np.prod(shape))
        for block in self.blocks:
            at = dict(zip("TZC", block.first, strict=True))
            if any(at[axis] >= sizes[axis] for axis in "TZC"):
                continue  # ImageJ leaves such blocks when it crops
            start = int(np.ravel_multi_index([at[axis] for axis in reversed(self.order)], shape))
            for number in range(min(block.count, total - start)):
                place = np.unravel_index(start + number, shape)
                found = dict(zip(reversed(self.order), map(int, place), strict=True))
                yield (found["T"], found["Z"], found["C"]), block, block.page + number


@dataclass(frozen=True, slots=True)
class Ome:
    """A header."""

    uuid: str
    images: tuple[OmeImage, ...]
    elsewhere: str
    """Name of the file that holds the real header, where this is a stub."""


def parse(xml: str) -> Ome:
    """Read a header.

    Raises:
        ImageError: with a document type, or impossible numbers.
        ValueError: no XML.
    """
    from xml.etree import ElementTree

    if re.search("<!(DOCTYPE|ENTITY)", xml, re.I):
        raise ImageError("its OME header declares a document type, which OME-XML has not")
    try:
        root = ElementTree.fromstring(xml.strip().strip("\0"))  # noqa: S314 - no document type
    except ElementTree.ParseError as error:
        raise ValueError(f"no XML ({error})") from None
    stub = _child(root, "BinaryOnly")
    annotations = [*_children(_child(root, "StructuredAnnotations"))]
    left = [f"{len(annotations)} annotations"] if annotations else []
    left += [name.lower() for name in _SHOWN if _child(root, name) is not None]
    images = tuple(_image(image, left) for image in _children(root, "Image"))
    elsewhere = "" if stub is None else stub.get("MetadataFile", "")
    return Ome(root.get("UUID", ""), images, elsewhere)


def _image(image: Element, left: list[str]) -> OmeImage:
    pixels = _child(image, "Pixels")
    if pixels is None:
        raise ImageError("an image of its OME header has no Pixels; export it again")
    channels = [*_children(pixels, "Channel")]
    samples = {_whole(channel, "SamplesPerPixel", 1) for channel in channels} or {1}
    if len(samples) > 1:
        raise ImageError("its channels differ in SamplesPerPixel; save them as separate images")
    of_each = max(1, *samples)
    sizes = {axis: _whole(pixels, f"Size{axis}", 1) for axis in "XYZCT"}
    planes = (sizes["T"], sizes["Z"], max(1, sizes["C"] // of_each))
    blocks = tuple(_block(data) for data in _children(pixels, "TiffData"))
    claimed = max([sizes["T"] * sizes["Z"] * sizes["C"], *(b.count for b in blocks)])
    if claimed > MOST_PLANES:
        raise ImageError(f"its OME header claims {claimed} planes, over {MOST_PLANES}")
    total = planes[0] * planes[1] * planes[2]
    whole = Block((0, 0, 0), 0, total, "", "")
    order = pixels.get("DimensionOrder", "XYCZT")[2:]
    size, z_step = (
        stated_pixel_size(_length(pixels, "Y"), _length(pixels, "X")),
        _length(pixels, "Z"),
    )
    unit = pixels.get("TimeIncrementUnit") or "s"
    interval = seconds(pixels.get("TimeIncrement"), unit)
    unread_steps = (
        *(_unread(pixels, "X", "pixel size", size) or _unread(pixels, "Y", "pixel size", size)),
        *_unread(pixels, "Z", "distance of slices", z_step),
        *unread_step("time interval", pixels.get("TimeIncrement"), unit, interval),
    )
    return OmeImage(
        order=order if sorted(order) == ["C", "T", "Z"] else "CZT",
        planes=planes,
        height=sizes["Y"],
        width=sizes["X"],
        samples=of_each,
        pixel_size_um=size,
        z_step_um=z_step,
        interval_s=interval or _mean_interval(pixels),
        appearance=Appearance(
            channels=tuple(_channel(channel) for channel in channels),
            text=_text(image, "Description"),
            name=image.get("Name", ""),
            left=(*unread_steps, *_of_planes(pixels), *_regions(image), *left),
        ),
        # A block that names neither page nor count holds everything.
        blocks=tuple(b if b.count else replace(b, count=total) for b in blocks) or (whole,),
    )  # fmt: skip


def _mean_interval(pixels: Element) -> float | None:
    """Between the first planes of the first and the last time, where no increment is stated."""
    times: dict[int, float] = {}
    for plane in _children(pixels, "Plane"):
        if plane.get("TheZ", "0") == plane.get("TheC", "0") == "0" and "DeltaT" in plane.attrib:
            spent = seconds(plane.get("DeltaT"), plane.get("DeltaTUnit") or "s")
            times[_whole(plane, "TheT", 0)] = spent or 0.0
    first, last = min(times, default=0), max(times, default=0)
    return seconds((times[last] - times[first]) / (last - first), "s") if last > first else None


def _of_planes(pixels: Element) -> tuple[str, ...]:
    stated = {name for plane in _children(pixels, "Plane") for name in plane.attrib}
    kinds = {"DeltaT": "times", "ExposureTime": "exposures", "PositionX": "positions"}
    found = [word for name, word in kinds.items() if name in stated]
    return (f"the planes' own {', '.join(found)}",) if found else ()


def _regions(image: Element) -> tuple[str, ...]:
    count = len([*_children(image, "ROIRef")])
    return (f"{count} regions of interest",) if count else ()


def _unread(pixels: Element, axis: str, what: str, found: object) -> tuple[str, ...]:
    unit = pixels.get(f"PhysicalSize{axis}Unit") or "µm"
    used = 1.0 if found else None
    return unread_step(what, pixels.get(f"PhysicalSize{axis}"), unit, used)


def _block(data: Element) -> Block:
    uuid = _child(data, "UUID")
    at = [_whole(data, f"First{axis}", 0) for axis in "TZC"]
    count = _whole(data, "PlaneCount", _whole(data, "NumPlanes", 1 if "IFD" in data.attrib else 0))
    file = "" if uuid is None else uuid.get("FileName", "")
    text = "" if uuid is None else (uuid.text or "").strip()
    return Block((at[0], at[1], at[2]), _whole(data, "IFD", 0), count, file, text)


def _channel(channel: Element) -> Channel:
    colour = channel.get("Color")
    try:
        packed = int(colour or "") & 0xFFFFFFFF  # signed red, green, blue, alpha
    except ValueError:
        packed = 0
    shown = (packed >> 24, packed >> 16 & 255, packed >> 8 & 255)
    # -1, opaque white, is the schema's default and means that no colour is known.
    lut = None if colour is None or packed in (0, 0xFFFFFFFF) else ramp(shown)
    return Channel(channel.get("Name", ""), lut)


def _length(pixels: Element, axis: str) -> float | None:
    unit = pixels.get(f"PhysicalSize{axis}Unit") or "µm"
    return micrometres(pixels.get(f"PhysicalSize{axis}"), unit)


def _whole(element: Element, name: str, default: int) -> int:
    text = element.get(name)
    if text is None:
        return default
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number <= _LARGEST:
        raise ImageError(f"its OME header states {name}={text[:40]!r}; export it again")
    return number


def _text(element: Element, name: str) -> str:
    found = _child(element, name)
    return "" if found is None else (found.text or "").strip()


def _child(element: Element, name: str) -> Element | None:
    return next(_children(element, name), None)


def _children(element: Element | None, name: str = "") -> Iterator[Element]:
    """Whatever the namespace: it has the schema's date in it."""
    for child in () if element is None else element:
        if not name or child.tag.rpartition("}")[2] == name:
            yield child
