"""Writes OME-Zarr 0.5 with a pyramid, tile by tile, from as many processes as there are.

A tile covers whole chunks and every chunk is written in one step, empty ones too: so a chunk that
exists is finished, tiles may be written twice, and an interrupted run goes on with what is missing.
The layout and its metadata come from yaozarrs (the NGFF specification as typed models), the arrays
from zarr.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import MissingExtraError
from w2s_export.io.zarr_source import KEY, TEXT, require_zarr
from w2s_export.restore.fields import InputRange, Unusable
from w2s_export.restore.output import OutputLayout, discard

if TYPE_CHECKING:
    from zarr import Array

CHUNK = 512
"""Side of a chunk, output pixels: 1 MB of float32."""


def levels(layout: OutputLayout) -> list[tuple[int, int]]:
    """Height and width of every level: halved, rounded up, until one chunk holds it."""
    sizes = [(layout.height, layout.width)]
    while max(sizes[-1]) > CHUNK:
        height, width = sizes[-1]
        sizes.append((-(-height // 2), -(-width // 2)))
    return sizes


def ranges_of(part: Path, notes: dict[str, Any]) -> list[InputRange] | None:
    """The percentile ranges that an interrupted run of the same notes found; None without one."""
    found = _notes(part)
    stored = found.pop("ranges", None) if isinstance(found, dict) else None
    if isinstance(found, dict):
        found.pop(TEXT, None)
    if stored is not None:
        found.pop("precision_error", None)
    if stored is None or found != json.loads(json.dumps(notes)):
        return None
    return [
        Unusable(pair["reason"], float(pair["fill"]))
        if isinstance(pair, dict)
        else None
        if pair is None
        else (pair[0], pair[1])
        for pair in stored
    ]


def notes_of(found: list[InputRange]) -> list[Any]:
    """The percentile ranges as JSON, which has no NaN."""
    return [
        {"reason": c.reason, "fill": str(c.fill)} if isinstance(c, Unusable) else c for c in found
    ]


def prepare(part: Path, layout: OutputLayout, notes: dict[str, Any]) -> None:
    """Make the empty arrays, in place of anything that an earlier run left.

    Args:
        part: the folder to write to.
        layout: of level 0.
        notes: everything the content depends on; kept in the group's attributes.

    Raises:
        MissingExtraError: zarr or yaozarrs is not installed.
    """
    require_zarr()
    try:
        from yaozarrs.write.v05 import prepare_image
    except ImportError:
        raise MissingExtraError(
            'OME-Zarr output needs yaozarrs: python -m pip install "w2s-export[zarr]"'
        ) from None
    discard(part)
    part.parent.mkdir(parents=True, exist_ok=True)
    beside = part.with_name(f"{part.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    planes = (layout.times, layout.channels, layout.slices)  # the specification's order
    shapes = [((*planes, *size), layout.scaling.dtype) for size in levels(layout)]
    prepare_image(
        beside,
        _metadata(layout),
        shapes,
        chunks=(1, 1, 1, CHUNK, CHUNK),
        extra_attributes={KEY: {**notes, TEXT: layout.appearance.text}},
        writer="zarr",
        compression="blosc-zstd",
    )
    beside.rename(part)


def open_level(part: Path, level: int = 0) -> Array[Any]:
    """A level, open for writing; chunks equal to the fill value are stored too."""
    zarr = require_zarr()
    opened: Array[Any] = zarr.open_array(str(part / str(level)), mode="r+")
    config: Any = {"write_empty_chunks": True}
    stores_all: Array[Any] = opened.with_config(config)
    return stores_all


def are_stored(
    level: Array[Any],
    folder: Path,
    first: tuple[int, int, int],
    channels: int,
    region: tuple[slice, slice],
) -> bool:
    """Whether every chunk of a region is finished, in consecutive channels from (t, c, z) on."""
    t, c, z = first
    rows, columns = (range(part.start // CHUNK, -(-part.stop // CHUNK)) for part in region)
    return all(
        is_stored(level, folder, (t, channel, z, row, column))
        for channel in range(c, c + channels)
        for row in rows
        for column in columns
    )


def is_stored(level: Array[Any], folder: Path, place: tuple[int, ...]) -> bool:
    """Whether a chunk, by its place in the grid, is finished."""
    return (folder / level.metadata.encode_chunk_key(place)).is_file()


def write_pyramid(part: Path, layout: OutputLayout) -> Iterator[None]:
    """Write every level above 0 from the one below: the mean of 2 × 2 pixels. Yields a chunk."""
    for number in range(1, len(levels(layout))):
        below, level = open_level(part, number - 1), open_level(part, number)
        folder = part / str(number)
        for place in np.ndindex(
            *(-(-n // c) for n, c in zip(level.shape, level.chunks, strict=True))
        ):
            if not is_stored(level, folder, place):
                t, c, z, row, column = place
                y, x = row * CHUNK, column * CHUNK
                block = below[t, c, z, 2 * y : 2 * (y + CHUNK), 2 * x : 2 * (x + CHUNK)]
                level[t, c, z, y : y + CHUNK, x : x + CHUNK] = halved(np.asarray(block))
            yield


def halved(pixels: NDArray[Any]) -> NDArray[Any]:
    """The mean of every 2 × 2 pixels of (H, W), of those there are at an odd edge."""
    height, width = pixels.shape
    even = np.pad(pixels, ((0, height % 2), (0, width % 2)), mode="edge")
    blocks = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2)
    mean = blocks.mean((1, 3), dtype=np.float64)
    if pixels.dtype.kind in "ui":
        mean = np.rint(mean)
    stored_as: NDArray[Any] = mean.astype(pixels.dtype)
    return stored_as


def remove_partial_chunks(part: Path) -> None:
    """Remove what killed processes left between the chunks."""
    for litter in part.rglob("*.partial"):
        litter.unlink(missing_ok=True)


def _notes(part: Path) -> Any:
    try:
        return json.loads((part / "zarr.json").read_text("utf-8"))["attributes"][KEY]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _metadata(layout: OutputLayout) -> Any:
    from yaozarrs import v05

    calibrated = layout.pixel_size_um is not None
    y, x = layout.pixel_size_um or (1.0, 1.0)
    unit = "micrometer" if calibrated else None
    space = {axis: v05.SpaceAxis(name=axis, unit=unit) for axis in "yx"}
    z_axis = v05.SpaceAxis(name="z", unit="micrometer" if layout.z_step_um else None)
    t_axis = v05.TimeAxis(name="t", unit="second" if layout.interval_s else None)
    at_z, at_y, at_x = layout.origin_um
    datasets = []
    for number in range(len(levels(layout))):
        factor = 2**number
        scale = [layout.interval_s or 1.0, 1.0, layout.z_step_um or 1.0, factor * y, factor * x]
        # Pixel centres: the first of a halved image lies between the first two below.
        below, right = ((factor - 1) / 2 * size for size in (y, x))
        centre = [0.0, 0.0, at_z, at_y + below, at_x + right]
        steps: list[Any] = [v05.ScaleTransformation(scale=scale)]
        if any(centre):
            steps.append(v05.TranslationTransformation(translation=centre))
        datasets.append(v05.Dataset(path=str(number), coordinateTransformations=steps))
    axes = [t_axis, v05.ChannelAxis(name="c"), z_axis, space["y"], space["x"]]
    look = layout.appearance
    multiscale = v05.Multiscale(axes=axes, datasets=datasets, name=look.name or None)
    if not look.channels:
        return v05.Image(multiscales=[multiscale])
    extent = np.iinfo(layout.scaling.dtype) if layout.scaling.dtype != "float32" else None
    channels = []
    for channel in look.channels:
        low, high = channel.window or (0.0, 1.0)
        least, most = (extent.min, extent.max) if extent else (low, high)
        channels.append(
            v05.OmeroChannel(
                label=channel.name or None,
                color="{:02X}{:02X}{:02X}".format(*(channel.colour or (255, 255, 255))),
                window=v05.OmeroWindow(min=least, max=most, start=low, end=high),
                active=True,
            )
        )
    return v05.Image(multiscales=[multiscale], omero=v05.Omero(channels=channels))
