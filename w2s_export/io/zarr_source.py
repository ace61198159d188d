"""Reads OME-Zarr (0.1 to 0.5) and plain Zarr arrays on a file system, chunk by chunk."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.counting import counted
from w2s_export.errors import ImageError, MissingExtraError
from w2s_export.io.appearance import Appearance, Channel, ramp
from w2s_export.io.source import Layout, Series, require_restorable
from w2s_export.io.units import exact_number, micrometres, seconds, stated_pixel_size
from w2s_export.io.unpacked_size import unpacks_to

if TYPE_CHECKING:
    import zarr

KEY = "w2s_export"
"""Attribute of what this tool adds to a group,"""
TEXT = "text"
"""and in it, what the user wrote about the image."""
MARKERS = ("zarr.json", ".zgroup", ".zarray")
_LARGEST_CHUNK = 1 << 30
"""Bytes. Chunks are made to be read one at a time: a few megabytes are usual."""
_DEFAULT_AXES = {2: "yx", 3: "zyx", 4: "tzyx", 5: "tczyx"}


def is_zarr(folder: Path) -> bool:
    """Whether a folder is a Zarr group or array."""
    # Not Path.is_file, which raises in a folder without permission.
    return any(os.path.isfile(folder / marker) for marker in MARKERS)  # noqa: PTH113


def require_zarr() -> Any:
    """The zarr module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import zarr
    except ImportError:
        raise MissingExtraError(
            'Zarr needs the zarr package: python -m pip install "w2s-export[zarr]" (Python 3.11 or '
            "later)"
        ) from None
    return zarr


class ZarrSource:
    """The full-resolution array of an OME-Zarr image, or a plain array."""

    def __init__(self, found: _Found, *, missing_chunks: bool) -> None:
        array, axes, steps = found.array, found.axes, found.steps
        self._array, self._axes = array, axes
        if not missing_chunks:
            _refuse_missing(array)
        size, chunk = (dict(zip(axes, n, strict=True)) for n in (array.shape, array.chunks))
        self.layout = Layout(
            (size.get("t", 1), size.get("z", 1), size.get("c", 1)),
            1,
            size["y"],
            size["x"],
            np.dtype(array.dtype).newbyteorder("="),
            (chunk["y"], chunk["x"]),
            stated_pixel_size(steps.get("y"), steps.get("x")),
            steps.get("z"),
            steps.get("t"),
            found.origin,
            found.appearance,
        )

    def read(self, t: int, z: int, c: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Part of a plane as stored: (1, h, w)."""
        at: dict[str, Any] = {"t": t, "z": z, "c": c, "y": rows, "x": columns}
        try:
            part = np.asarray(self._array[tuple(at[axis] for axis in self._axes)])
        except Exception as error:  # whatever a codec raises: a chunk is damaged
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise ImageError(
                f"a chunk in rows {rows.start}–{rows.stop}, columns {columns.start}–{columns.stop} "
                f"of plane t={t} z={z} c={c} is damaged ({reason})"
            ) from None
        if self._axes.index("x") < self._axes.index("y"):
            part = part.T
        return part[np.newaxis]


@dataclass(frozen=True, slots=True)
class _Found:
    """An array, a letter for each of its axes, the step along each where stated (µm, s)."""

    array: Any
    axes: str
    steps: dict[str, float]
    origin: tuple[float, float, float] | None
    appearance: Appearance


def zarr_images(path: Path, *, missing_chunks: bool) -> list[Series]:
    """Every image of a Zarr: one, the series of a converted file, or the fields of a plate.

    Raises:
        ImageError: no Zarr, or none with an image in it.
        MissingExtraError: zarr is not installed.
    """
    zarr = require_zarr()
    try:
        node = zarr.open(store=_regular_files(path), mode="r")
    except Exception as error:  # FileNotFoundError, ValueError, JSON and codec errors
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImageError(f"is no readable Zarr ({reason})") from None

    def series(name: str, find: Callable[[], _Found]) -> Series:
        return Series(
            name, lambda: require_restorable(ZarrSource(find(), missing_chunks=missing_chunks))
        )

    if isinstance(node, zarr.Array):
        return [series("", partial(_plain, node))]
    try:
        found = [
            series(name, partial(_multiscale, group, scale)) for name, group, scale in _all(node)
        ]
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise ImageError(f"its OME metadata cannot be used ({error!r:.200})") from None
    if not found:
        inner = sorted(node.keys())
        hint = f"; it holds {', '.join(inner[:4])}" if inner else ""
        raise ImageError(f"is a Zarr group without OME multiscales{hint}; give one of its images")
    return found


def _regular_files(path: Path) -> Any:
    """The folder as a store of bounded files: pipes never end, and a small chunk can be huge."""
    from zarr.storage import LocalStore

    class RegularFiles(LocalStore):
        async def get(self, key: str, *arguments: Any, **options: Any) -> Any:
            file = self.root / key
            if file.exists() and not (file.is_file() or file.is_dir()):
                raise ValueError(f"{key} is no file")
            found = await super().get(key, *arguments, **options)
            if found is not None and unpacks_to(found.to_bytes(), _LARGEST_CHUNK) > _LARGEST_CHUNK:
                raise ValueError(f"{key} unpacks to more than {_LARGEST_CHUNK >> 30} GiB")
            return found

    return RegularFiles(path, read_only=True)


def _all(node: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, group and multiscale of every image at or below a group."""
    attributes = _ome(node)
    if scales := attributes.get("multiscales"):
        for scale in scales:
            yield (
                str(scale.get("name", "") if len(scales) > 1 else node.name.strip("/")),
                node,
                scale,
            )
        return
    if plate := attributes.get("plate"):
        inside = [well["path"] for well in plate["wells"]]
    elif well := attributes.get("well"):
        inside = [image["path"] for image in well["images"]]
    elif named := _series_of(node):
        inside = named
    else:  # of bioformats2raw, whose series are numbered, or any group of images
        inside = sorted(
            (name for name in node.group_keys() if name not in ("OME", "labels")),
            key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name),
        )
    for name in inside:
        yield from _all(node[name])


def _series_of(node: Any) -> list[str]:
    """The series that a group `OME` lists."""
    group = node.get("OME")
    listed = None if group is None else _ome(group).get("series")
    return [str(name) for name in listed] if isinstance(listed, list) else []


def _ome(node: Any) -> Mapping[str, Any]:
    attributes = node.attrs.asdict()
    inner = attributes.get("ome", attributes)
    return inner if isinstance(inner, Mapping) else attributes


def _plain(array: Any) -> _Found:
    """An array without OME metadata: its own names of its axes, if it has them, tell them."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    axes = "".join(str(name or "?").lower()[:1] for name in names or ())
    if not _known(axes, array):
        if array.ndim not in _DEFAULT_AXES:
            raise ImageError(
                f"is a Zarr array of {counted(array.ndim, 'axis', 'axes')}; 2 to 5 are known"
            )
        axes = _DEFAULT_AXES[array.ndim]
    return _Found(array, axes, {}, None, Appearance())


def _known(axes: str, array: Any) -> bool:
    distinct = len({*axes}) == len(axes) == array.ndim
    return distinct and {*"yx"} <= {*axes} <= {*"tczyx"}


def _multiscale(group: Any, image: Mapping[str, Any]) -> _Found:
    try:
        levels = [(group[dataset["path"]], dataset) for dataset in image["datasets"]]
        # The first should be the largest. max takes the first of equal ones.
        array, dataset = max(levels, key=lambda level: level[0].size)
        stated = image.get("axes") or _DEFAULT_AXES[array.ndim]  # versions 0.1 and 0.2: none
        axes = "".join(_name(axis) for axis in stated)
        if not _known(axes, array):
            raise ImageError(f"has axes {axes!r} of {array.shape}; t, c, z, y and x are known")
        steps, origin = _steps([*stated], dataset, image)
        return _Found(array, axes, steps, origin, _appearance(group, image))
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise ImageError(f"its OME metadata cannot be used ({error!r:.200})") from None


def _name(axis: Any) -> str:
    return str(axis["name"] if isinstance(axis, Mapping) else axis).lower()


def _steps(
    axes: list[Any], *holders: Mapping[str, Any]
) -> tuple[dict[str, float], tuple[float, float, float] | None]:
    """Steps in µm and s, and the place of the first pixel (z, y, x), in µm.

    The transformations of the dataset apply first, then those of the whole image.
    """
    scale, place = [Fraction(1)] * len(axes), [Fraction(0)] * len(axes)
    for holder in holders:
        for transformation in holder.get("coordinateTransformations") or ():
            if transformation.get("type") == "scale":
                if "scale" not in transformation:
                    raise ImageError("keeps its scale in an array of its own, which is not read")
                factors = [exact_number(str(factor)) for factor in transformation["scale"]]
                scale = [a * b for a, b in zip(scale, factors, strict=True)]
                place = [a * b for a, b in zip(place, factors, strict=True)]
            elif transformation.get("type") == "translation":
                moved = [Fraction(str(way)) for way in transformation["translation"]]
                place = [a + b for a, b in zip(place, moved, strict=True)]
    found: dict[str, float] = {}
    origin: dict[str, float] = {}
    for axis, step, way in zip(axes, scale, place, strict=True):
        name, unit = _name(axis), axis.get("unit") if isinstance(axis, Mapping) else None
        convert = seconds if name == "t" else micrometres
        if unit and (value := convert(step, str(unit))) is not None:
            found[name] = value
            origin[name] = float(way / step) * value
    known = "y" in origin and "x" in origin
    return found, (origin.get("z", 0.0), origin["y"], origin["x"]) if known else None


def _appearance(group: Any, image: Mapping[str, Any]) -> Appearance:
    """Names, colours and ranges of the viewers' `omero` block."""
    block = _ome(group).get("omero")
    channels = []
    for stated in (block.get("channels") or ()) if isinstance(block, Mapping) else ():
        colour, window = str(stated.get("color", "")), stated.get("window") or {}
        parts = bytes.fromhex(colour) if re.fullmatch("[0-9a-fA-F]{6}", colour) else b""
        low, high = window.get("start"), window.get("end")
        shown = (
            (low, high)
            if isinstance(low, (int, float)) and isinstance(high, (int, float))
            else None
        )
        channels.append(
            Channel(
                str(stated.get("label", "") or ""),
                ramp((parts[0], parts[1], parts[2])) if parts else None,
                shown if shown and shown[0] < shown[1] else None,
            )
        )
    left = [name for name in ("labels",) if name in group]
    ours = group.attrs.get(KEY)
    text = str(ours.get(TEXT, "")) if isinstance(ours, Mapping) else ""
    name = str(image.get("name", "") or "")
    return Appearance(tuple(channels), text=text, name=name, left=tuple(left))


def _refuse_missing(array: zarr.Array[Any]) -> None:
    """Refuse an array some of whose chunks are not stored: zarr would read them as fill value.

    A writer may leave out chunks that are empty, and an interrupted copy leaves out any: the file
    does not tell which.
    """
    folder = Path(str(array.store_path).removeprefix("file://"))
    chunk = array.shards or array.chunks
    grid = [range(-(-size // side)) for size, side in zip(array.shape, chunk, strict=True)]
    missing = 0
    first: tuple[int, ...] = ()
    for place in itertools.product(*grid):
        if not (folder / array.metadata.encode_chunk_key(place)).is_file():
            missing += 1
            first = first or place
    if missing:
        raise ImageError(
            f"{missing} of its chunks are missing, the first at {first}; copy it again, or say "
            f"--missing-chunks if they are empty ({array.fill_value})"
        )
