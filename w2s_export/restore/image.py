"""Restores one image file: from its source, tile by tile, to its output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from w2s_export.errors import ImageError, OutputError
from w2s_export.io.images import open_source
from w2s_export.io.source import Source
from w2s_export.restore.fields import (
    Field,
    NormalisedField,
    PercentilesOver,
    Place,
    Range,
    places,
    ranges,
)
from w2s_export.restore.inputs import Format, Input
from w2s_export.restore.memory import SMALLEST_TILE, even_tiles, largest_tile
from w2s_export.restore.network import Model, Network
from w2s_export.restore.output import (
    LARGEST_IMAGEJ,
    OutputLayout,
    TiffOutput,
    discard,
    publish,
    require_space,
)
from w2s_export.restore.record import Record, identity
from w2s_export.restore.scaling import scaling_of
from w2s_export.restore.tiling import Span, restore_tile, spans
from w2s_export.runtime.choose import Engine

if TYPE_CHECKING:
    from w2s_export.runtime.protocol import Runtime

_ENDINGS = {"tiff": ".tif", "ome-tiff": ".ome.tif", "ome-zarr": ".ome.zarr"}

Step = Callable[[int], None]
"""Told how many input pixels have been restored."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to restore, whatever the image."""

    format: Format | None = None
    """None: OME-Zarr for Zarr, TIFF for the others."""
    dtype: str = "float32"
    percentiles_over: PercentilesOver = "plane"
    memory: int = 1 << 30
    """Bytes one process may take."""
    engine: Engine = "auto"
    threads: int | None = None
    missing_chunks: bool = False
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of an image, once restored."""

    target: Path
    shape: tuple[int, ...]
    """(T, Z, C, H, W) of the output."""
    tile: tuple[int, int]
    """Height and width of a tile, input pixels."""
    ranges: tuple[Range | None, ...]
    """Low percentile and width of the range that each image was normalised by."""
    clipped: int
    """Values outside the range of 16 bits."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An image that can be restored, by its header."""

    image: Input
    target: Path
    format: Format
    pixels: int
    """Input pixels to restore, all planes."""


def plan(image: Input, output: Path, model: Model, options: Options) -> Plan:
    """Open the image and say what restoring it will take.

    Raises:
        ImageError: it cannot be read, or has channels that the network does not take.
    """
    with open_source(image.path, missing_chunks=options.missing_chunks) as source:
        layout, images = source.layout, places(source, model)
    pixels = len(images) * layout.height * layout.width
    kind = options.format or ("ome-zarr" if image.path.is_dir() else "tiff")
    nbytes = pixels * model.config.scale**2 * model.config.out_nc * np.dtype(options.dtype).itemsize
    if options.format is None and kind == "tiff" and nbytes > LARGEST_IMAGEJ:
        kind = "ome-tiff"
    target = output / image.below / f"{image.stem}{_ENDINGS[kind]}"
    if target.absolute() == image.path.absolute():
        raise ImageError(f"{image.path}: would be overwritten; choose another --output")
    return Plan(image, target, kind, pixels)


def record_of(plan: Plan, model: Model, options: Options) -> Record:
    """What the result will say about its making; reads the whole file for its hash."""
    how = model.normalisation
    return Record(
        source=plan.image.path.name,
        source_sha256=identity(plan.image.path),
        network=model.name,
        network_sha256=model.fingerprint,
        scale=model.config.scale,
        normalisation=how.model_dump(mode="json") if how else None,
        percentiles_over=options.percentiles_over,
        dtype=options.dtype,
    )


def output_layout(
    source: Source, images: list[Place], model: Model, options: Options, record: Record
) -> OutputLayout:
    """Shape and calibration of the result: the input's, the pixels smaller by the scale."""
    layout, scale = source.layout, model.config.scale
    pixel = layout.pixel_size_um
    times, slices, _ = layout.planes
    per_plane = len(images) // (times * slices)
    return OutputLayout(
        times=times,
        slices=slices,
        channels=per_plane * model.config.out_nc,
        height=scale * layout.height,
        width=scale * layout.width,
        scaling=scaling_of(options.dtype, normalised=model.normalisation is not None),
        record=record,
        pixel_size_um=(pixel[0] / scale, pixel[1] / scale) if pixel else None,
        z_step_um=layout.z_step_um,
        interval_s=layout.interval_s,
    )


def tile_of(source: Source, network: Network, budget: int, unit: int) -> tuple[int, int]:
    """Height and width of equal tiles that restore within the budget.

    Raises:
        ImageError: the image is smaller than the network's minimum.
        ConfigError: the budget is too small for any tile.
    """
    layout = source.layout
    if min(layout.height, layout.width) < network.minimum:
        raise ImageError(
            f"is {layout.height}×{layout.width} pixels; the smallest this network restores is "
            f"{network.minimum}×{network.minimum}"
        )
    itemsize = layout.dtype.itemsize * network.model.config.in_nc
    largest = largest_tile(network, budget, layout, itemsize, unit)
    return even_tiles(layout.height, largest, unit), even_tiles(layout.width, largest, unit)


def tiles_of(
    source: Source, network: Network, tile: tuple[int, int]
) -> Iterator[tuple[Span, Span]]:
    """The tiles of one plane, row by row."""
    cut = {"halo": network.halo, "step": network.step}
    for rows in spans(source.layout.height, tile=tile[0], **cut):
        for columns in spans(source.layout.width, tile=tile[1], **cut):
            yield rows, columns


def restore_to_tiff(
    plan: Plan,
    part: Path,
    network: Network,
    runtime: Runtime,
    options: Options,
    record: Record,
    step: Step,
) -> Restored:
    """Restore one file to a TIFF.

    Args:
        plan: the image.
        part: file to write to, moved to the plan's target when it is complete.
        network: how to feed the runtime.
        runtime: restores tiles.
        options: of the run.
        record: what the result says about its making.
        step: told of every tile.

    Raises:
        ImageError: the image cannot be restored.
        OutputError: the file cannot be written. Nothing of it is left, in either case.
    """
    model, target = network.model, plan.target
    with open_source(plan.image.path, missing_chunks=options.missing_chunks) as source:
        images = places(source, model)
        layout = output_layout(source, images, model, options, record)
        if plan.format == "tiff" and layout.nbytes > LARGEST_IMAGEJ:
            raise OutputError(
                f"{target}: would hold {layout.nbytes / 1e9:.1f} GB, more than ImageJ's TIFF can; "
                "write --format ome-tiff or ome-zarr"
            )
        tile = tile_of(source, network, options.memory, SMALLEST_TILE)
        require_space(target, layout.nbytes)
        found = ranges(source, images, model.normalisation, options.percentiles_over)
        clipped = 0
        with _tiff(part, target, layout, ome=plan.format == "ome-tiff") as file:
            for place, counts in zip(images, found, strict=True):
                field = NormalisedField(Field(source, place), model.normalisation, counts)
                for rows, columns in tiles_of(source, network, tile):
                    values = restore_tile(runtime, field, rows, columns, scale=network.scale)
                    stored, outside = layout.scaling.encode(values)
                    clipped += outside
                    y, x = (span.target(network.scale).start for span in (rows, columns))
                    channel = (place.c or 0) * model.config.out_nc
                    file.write(place.t, place.z, channel, y, x, stored)
                    step((rows.stop - rows.start) * (columns.stop - columns.start))
    return Restored(target, layout.shape, tile, tuple(found), clipped)


@contextmanager
def _tiff(part: Path, target: Path, layout: OutputLayout, *, ome: bool) -> Iterator[TiffOutput]:
    """The file to write, in its place when the block is through and gone if it fails."""
    try:
        with closing(TiffOutput(part, layout, ome=ome)) as file:
            yield file
            file.synchronise()
        publish(part, target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror}") from None
    finally:
        discard(part)
