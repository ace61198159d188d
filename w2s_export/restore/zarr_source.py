"""Reads OME-Zarr (0.4 and 0.5) and plain Zarr arrays on a file system, chunk by chunk."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import ImageError, MissingExtraError
from w2s_export.io.pixel_size import checked, micrometres
from w2s_export.restore.source import Layout

if TYPE_CHECKING:
    import zarr

MARKERS = ("zarr.json", ".zgroup", ".zarray")
_PLAIN_AXES = {2: "yx", 3: "zyx", 4: "tzyx", 5: "tczyx"}


def is_zarr(folder: Path) -> bool:
    """Whether a folder is a Zarr group or array."""
    return any((folder / marker).is_file() for marker in MARKERS)


def require_zarr() -> Any:
    """The zarr module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import zarr
    except ImportError:
        raise MissingExtraError(
            "Zarr needs the zarr package: python -m pip install 'w2s-export[zarr]' (Python 3.11 or "
            "later)"
        ) from None
    return zarr


class ZarrSource:
    """The full-resolution array of an OME-Zarr image, or a plain array."""

    def __init__(self, path: Path, *, missing_chunks: bool) -> None:
        array, axes, scales = _open(path)
        self._array, self._axes = array, axes
        if array.dtype.kind not in "uif":
            raise ImageError(
                f"its pixels are {array.dtype}; only integers and real numbers can be restored"
            )
        if 0 in array.shape:
            raise ImageError(f"holds no pixels, its shape is {array.shape}")
        if not missing_chunks:
            _refuse_missing(array)
        size, chunk = (dict(zip(axes, n, strict=True)) for n in (array.shape, array.chunks))
        self.layout = Layout(
            (size.get("t", 1), size.get("z", 1), size.get("c", 1)),
            1,
            size["y"],
            size["x"],
            array.dtype.newbyteorder("="),
            (chunk["y"], chunk["x"]),
            checked(scales.get("y", 0), scales.get("x", 0)),
            scales.get("z"),
            scales.get("t"),
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


def _open(path: Path) -> tuple[zarr.Array[Any], str, dict[str, float]]:
    """The array, a letter an axis, and the step along each where stated (µm, s)."""
    zarr = require_zarr()
    try:
        node = zarr.open(store=str(path), mode="r")
    except Exception as error:  # FileNotFoundError, ValueError, JSON and codec errors
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImageError(f"is no readable Zarr ({reason})") from None
    if isinstance(node, zarr.Array):
        if node.ndim not in _PLAIN_AXES:
            raise ImageError(f"is a Zarr array of {node.ndim} axes; 2 to 5 are known")
        return node, _PLAIN_AXES[node.ndim], {}
    attributes = node.attrs.asdict()
    attributes = attributes.get("ome", attributes)
    multiscales = attributes.get("multiscales")
    if not multiscales:
        inner = sorted(str(file.parent.relative_to(path)) for file in path.glob("*/zarr.json"))
        inner += sorted(str(file.parent.relative_to(path)) for file in path.glob("*/.zgroup"))
        hint = f"; give one of its images: {', '.join(inner[:4])} …" if inner else ""
        raise ImageError(f"is a Zarr group without OME multiscales{hint}")
    try:
        image = multiscales[0]
        dataset = image["datasets"][0]
        array = node[dataset["path"]]
        axes = "".join(_name(axis) for axis in image["axes"])
        if (
            len(axes) != array.ndim
            or len({*axes}) != len(axes)
            or not {*"yx"} <= {*axes} <= {*"tczyx"}
        ):
            raise ImageError(f"has axes {axes!r} of {array.shape}; t, c, z, y and x are known")
        return array, axes, _scales(image["axes"], dataset)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ImageError(f"its OME metadata cannot be used ({error!r:.200})") from None


def _name(axis: Any) -> str:
    return str(axis["name"] if isinstance(axis, Mapping) else axis).lower()


def _scales(axes: list[Any], dataset: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for transformation in dataset.get("coordinateTransformations", ()):
        if transformation.get("type") != "scale":
            continue
        for axis, scale in zip(axes, transformation["scale"], strict=False):
            unit = axis.get("unit", "") if isinstance(axis, Mapping) else ""
            factor = 1.0 if unit == "second" else micrometres(str(unit))
            if factor:
                found[_name(axis)] = float(scale) * factor
    return found


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
