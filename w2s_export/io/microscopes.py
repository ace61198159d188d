"""Reads files as microscopes write them, plane by plane: Zeiss, Nikon, Leica, Olympus, Imaris.

The readers are libraries of the extra `microscopes`. Some formats have no well-kept one in Python.
"""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import ImageError, MissingExtraError
from w2s_export.io import imaris, olympus
from w2s_export.io.appearance import Appearance, Channel, ramp
from w2s_export.io.source import (
    Layout,
    PlaneSource,
    Series,
    Source,
    decoding_errors,
    require_restorable,
)
from w2s_export.io.units import micrometres, seconds, stated_pixel_size

_LIBRARIES = {
    ".czi": "pylibCZIrw.czi", ".nd2": "nd2", ".ims": "h5py",
    **dict.fromkeys((".lif", ".lof", ".xlif"), "liffile"),
    **dict.fromkeys((".oib", ".oif"), "oiffile"),
    **dict.fromkeys((".oir", ".poir"), "oirfile"),
}  # fmt: skip
UNREAD = {
    ".mpoir": "Olympus's MPOIR", ".vsi": "Olympus's VSI", ".sldy": "SlideBook's SLDY",
    ".dv": "DeltaVision's DV", ".r3d": "DeltaVision's DV", ".sld": "SlideBook's SLD",
    ".lei": "Leica's LEI", ".zvi": "Zeiss's ZVI", ".ids": "ICS", ".ics": "ICS",
    ".mvd2": "Volocity's MVD2", ".liff": "Openlab's LIFF", ".mrc": "MRC", ".nrrd": "NRRD",
}  # fmt: skip
"""Endings of formats that are known and not read."""
SUFFIXES = tuple(_LIBRARIES)
_BLOCK = 512
"""Rows and columns of a CZI that are read together."""


@contextmanager
def opened(path: Path) -> Iterator[list[Series]]:
    """Every scene, position or series of the file.

    Raises:
        ImageError: damaged, or with axes that are no time, slice or channel.
        MissingExtraError: the library for it is not installed.
    """
    suffix = path.suffix.lower()
    try:
        library = importlib.import_module(_LIBRARIES[suffix])
    except ImportError:
        newer = " (Python 3.12 or later)" if _LIBRARIES[suffix] == "oirfile" else ""
        raise MissingExtraError(
            f"{suffix[1:].upper()} files need the extra microscopes: python -m pip install "
            f'"w2s-export[microscopes]"{newer}; or save it as OME-TIFF'
        ) from None
    with ExitStack() as stack:
        with decoding_errors():
            found = _READERS[_LIBRARIES[suffix]](library, path, stack)
        if not found:
            raise ImageError("holds no image")
        yield found


# ---- Zeiss ----


class CziSource:
    """One scene."""

    def __init__(self, reader: Any, scene: int | None, layout: Layout, corner: Any) -> None:
        self._reader, self._scene, self._corner, self.layout = reader, scene, corner, layout

    def read(self, t: int, z: int, c: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Part of a plane as stored: (samples, h, w)."""
        x, y = self._corner.x + columns.start, self._corner.y + rows.start
        size = (columns.stop - columns.start, rows.stop - rows.start)
        with decoding_errors():
            part = self._reader.read(
                roi=(x, y, *size), plane={"T": t, "Z": z, "C": c}, scene=self._scene
            )
        stored: NDArray[Any] = np.moveaxis(part, -1, 0)[::-1]  # blue, green, red
        return stored


def _czi(library: Any, path: Path, stack: ExitStack) -> list[Series]:
    reader = stack.enter_context(library.open_czi(str(path)))
    scenes = dict(reader.scenes_bounding_rectangle_no_pyramid)
    if not scenes:
        scenes = {None: reader.total_bounding_rectangle_no_pyramid}
    box = reader.total_bounding_box_no_pyramid
    length = {axis: stop - start for axis, (start, stop) in box.items() if axis not in "XY"}
    described = _metadata_of_czi(reader)

    def source(scene: int | None, corner: Any) -> Source:
        _refuse_other(length)
        first = np.asarray(reader.read(roi=(corner.x, corner.y, 1, 1), scene=scene))
        size = min(corner.h, _BLOCK), min(corner.w, _BLOCK)
        planes = length.get("T", 1), length.get("Z", 1), length.get("C", 1)
        layout = Layout(
            planes, first.shape[-1], corner.h, corner.w, first.dtype, size, **described(planes[2])
        )
        return require_restorable(CziSource(reader, scene, layout, corner))

    return [
        Series("" if scene is None else f"scene {scene + 1}", partial(source, scene, corner))
        for scene, corner in sorted(scenes.items(), key=lambda item: item[0] or 0)
    ]


def _metadata_of_czi(reader: Any) -> Callable[[int], dict[str, Any]]:
    """Calibration and appearance, for a number of channels."""
    document = _at(reader.metadata, "ImageDocument", "Metadata")
    steps = {
        str(item.get("@Id")): micrometres(item.get("Value"), "m")
        for item in _several(_at(document, "Scaling", "Items", "Distance"))
    }
    dimensions = _at(document, "Information", "Image", "Dimensions")
    interval = _at(dimensions, "T", "Positions", "Interval", "Increment")
    named = _several(_at(dimensions, "Channels", "Channel"))
    shown = {
        str(one.get("@Id")): one
        for one in _several(_at(document, "DisplaySetting", "Channels", "Channel"))
    }
    text = "\n".join(
        str(part)
        for key in ("Title", "Comment", "Description")
        if isinstance(part := _at(document, "Information", "Document", key), str)
    )

    def described(channels: int) -> dict[str, Any]:
        looks = []
        for one in named if len(named) == channels else []:
            colour = str(_at(shown.get(str(one.get("@Id"))), "Color") or "")  # #AARRGGBB
            parts = bytes.fromhex(colour[-6:]) if len(colour) in (7, 9) else b""
            lut = ramp((parts[0], parts[1], parts[2])) if parts else None
            looks.append(Channel(str(one.get("@Name") or ""), lut))
        return {
            "pixel_size_um": stated_pixel_size(steps.get("Y"), steps.get("X")),
            "z_step_um": steps.get("Z"),
            "interval_s": seconds(interval, "s"),
            "appearance": Appearance(tuple(looks), text=text),
        }

    return described


# ---- Nikon ----


def _nd2(library: Any, path: Path, stack: ExitStack) -> list[Series]:
    file = stack.enter_context(library.ND2File(str(path)))
    sizes = dict(file.sizes)
    frames = {
        (at.get("P", 0), at.get("T", 0), at.get("Z", 0)): number
        for number, at in enumerate(file.loop_indices)
    } or {(0, 0, 0): 0}
    voxel = file.voxel_size()
    samples, channels = sizes.get("S", 1), sizes.get("C", 1)
    looks = [
        Channel(str(one.channel.name or ""), _lut(getattr(one.channel, "color", None)))
        for one in (getattr(file.metadata, "channels", None) or ())
    ]
    periods = [
        getattr(loop.parameters, "periodMs", 0)
        for loop in file.experiment
        if loop.type == "TimeLoop"
    ]

    def source(position: int) -> Source:
        _refuse_other({axis: size for axis, size in sizes.items() if axis not in "PYXS"})

        def plane(t: int, z: int, c: int) -> NDArray[Any]:
            frame = np.asarray(file.read_frame(frames[position, t, z]))
            shape = (channels, sizes["Y"], sizes["X"], samples)
            return np.moveaxis(frame.reshape(shape)[c], -1, 0)

        layout = Layout(
            (sizes.get("T", 1), sizes.get("Z", 1), channels),
            samples,
            sizes["Y"],
            sizes["X"],
            np.dtype(file.dtype),
            (sizes["Y"], sizes["X"]),
            stated_pixel_size(micrometres(voxel.y, "µm"), micrometres(voxel.x, "µm")),
            micrometres(voxel.z, "µm") if sizes.get("Z", 1) > 1 else None,
            seconds(periods[0], "ms") if periods else None,
            appearance=Appearance(tuple(looks) if len(looks) == channels else ()),
        )
        return require_restorable(PlaneSource(layout, plane))

    positions = sizes.get("P", 1)
    return [
        Series(f"position {number + 1}" if positions > 1 else "", partial(source, number))
        for number in range(positions)
    ]


def _lut(colour: Any) -> bytes | None:
    try:
        return ramp((int(colour.r), int(colour.g), int(colour.b)))
    except (AttributeError, TypeError, ValueError):
        return None


# ---- Leica ----


def _lif(library: Any, path: Path, stack: ExitStack) -> list[Series]:
    file = stack.enter_context(library.LifFile(str(path)))
    found = []
    for image in file.images:
        fields = [axis for axis in image.sizes if axis == "M"]
        counts = [range(image.sizes[axis]) for axis in fields]
        for at in itertools.product(*counts):
            place = dict(zip(fields, at, strict=True))
            name = " ".join([str(image.name), *(f"field {n + 1}" for n in at)])
            found.append(Series(name, partial(_of_lif, image, place)))
    return found


def _of_lif(image: Any, place: Mapping[str, int]) -> Source:
    sizes = dict(image.sizes)
    _refuse_other({axis: n for axis, n in sizes.items() if axis not in "MYXS"})
    samples = sizes.get("S", 1)

    def plane(t: int, z: int, c: int) -> NDArray[Any]:
        at = {axis: n for axis, n in {"T": t, "Z": z, "C": c, **place}.items() if axis in sizes}
        frame = np.asarray(image.frame(**at)).reshape(sizes["Y"], sizes["X"], samples)
        return np.moveaxis(frame, -1, 0)

    def step(axis: str) -> float:
        """Distance of neighbours along an axis, in its unit."""
        ticks = np.asarray(image.coords.get(axis, ()), np.float64)
        return abs(float(ticks[-1] - ticks[0])) / (len(ticks) - 1) if len(ticks) > 1 else math.nan

    layout = Layout(
        (sizes.get("T", 1), sizes.get("Z", 1), sizes.get("C", 1)),
        samples,
        sizes["Y"],
        sizes["X"],
        np.dtype(image.dtype),
        (sizes["Y"], sizes["X"]),
        stated_pixel_size(micrometres(step("Y"), "m"), micrometres(step("X"), "m")),
        micrometres(step("Z"), "m"),
        seconds(step("T"), "s"),
        appearance=Appearance(_channels_of_lif(image, sizes.get("C", 1)), name=str(image.name)),
    )
    return require_restorable(PlaneSource(layout, plane))


_LEICA_COLOURS = {
    "Red": (255, 0, 0), "Green": (0, 255, 0), "Blue": (0, 0, 255), "Cyan": (0, 255, 255),
    "Magenta": (255, 0, 255), "Yellow": (255, 255, 0), "Gray": (255, 255, 255),
}  # fmt: skip


def _channels_of_lif(image: Any, count: int) -> tuple[Channel, ...]:
    """Leica states the name of each channel's lookup table."""
    place = "./Data/Image/ImageDescription/Channels/ChannelDescription"
    tables = [one.get("LUTName", "") for one in image.xml_element.findall(place)]
    colours = [_LEICA_COLOURS.get(name) for name in tables]
    if len(colours) != count or not any(colours):
        return ()
    return tuple(Channel("", ramp(colour) if colour else None) for colour in colours)


# ---- all ----

_READERS = {
    "pylibCZIrw.czi": _czi,
    "nd2": _nd2,
    "liffile": _lif,
    "oiffile": olympus.images,
    "oirfile": olympus.oir_images,
    "h5py": imaris.images,
}


def _refuse_other(length: Mapping[str, int]) -> None:
    other = {axis: size for axis, size in length.items() if axis not in "TZCS" and size > 1}
    if other:
        named = ", ".join(f"{size} along {axis}" for axis, size in other.items())
        raise ImageError(
            f"has axes that are no time, slice or channel ({named}); export each alone"
        )


def _at(tree: Any, *keys: str) -> Any:
    """What lies at nested keys; None where a key is missing."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _several(found: Any) -> list[Mapping[str, Any]]:
    """Elements of XML that are one or many."""
    listed = found if isinstance(found, list) else [found]
    return [one for one in listed if isinstance(one, Mapping)]
