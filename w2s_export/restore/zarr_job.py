"""Restores one image to OME-Zarr: tiles that any process can restore, in any order."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from w2s_export.config import PercentileNormalisation
from w2s_export.errors import OutputError
from w2s_export.io.files import hidden_beside, sha256_of, write_error
from w2s_export.options import ImageOptions
from w2s_export.restore import zarr_output
from w2s_export.restore.engines import Engines
from w2s_export.restore.fields import image_places, percentile_ranges
from w2s_export.restore.image import (
    Plan,
    Restored,
    Setup,
    Step,
    open_image,
    output_layout,
    restored_tile,
    with_appearance,
)
from w2s_export.restore.inputs import Input
from w2s_export.restore.network import ReadyNetwork
from w2s_export.restore.orientations import all_layouts
from w2s_export.restore.output import OutputLayout, discard, publish, require_space, unwritten
from w2s_export.restore.pipeline import in_order
from w2s_export.restore.record import Record
from w2s_export.restore.tiles import Tile, fields_of, tile_of, tiles_of
from w2s_export.runtime.protocol import Runtime

ONNX = "network.onnx"


@dataclass(frozen=True, slots=True)
class TileJob:
    """Everything a process needs to restore any tile of one image; travels between machines.

    The paths are those of a file system that all of them see.
    """

    parts: tuple[Path, ...]
    """Folders to write to: of the result, and of the spread if it is asked for."""
    image: Input
    network: ReadyNetwork
    network_sha256: str
    options: ImageOptions
    memory: int
    """Bytes a process may take."""
    layouts: tuple[OutputLayout, ...]
    """Of each part."""


Mapper = Callable[[TileJob, list[Tile]], Iterable[tuple[Tile, int]]]
"""Restores tiles, here or elsewhere; gives each with its clipped values as it is finished."""


def restore_one(job: TileJob, tile: Tile, runtime: Runtime) -> int:
    """Restore a tile and write its chunks; how many values were clipped.

    Doing it twice changes nothing.
    """
    model, scale = job.network.model, job.network.scale
    place = tile.place
    cut, options = (tile.rows, tile.columns), job.options
    # Missing chunks were looked for once, at the start.
    with open_image(job.image, model, options, missing_chunks=True) as source:
        made = restored_tile(runtime, source, place, tile.counts, cut, job.network, options)
    clipped, first = 0, (place.c or 0) * model.channels_out
    rows, columns = tile.rows.target(scale), tile.columns.target(scale)
    for part, layout, values in zip(job.parts, job.layouts, made, strict=True):
        stored, outside = layout.scaling.encode(values)
        clipped += outside
        level = zarr_output.open_level(part)
        try:
            for channel, plane in enumerate(stored, first):
                level[place.t, channel, place.z, rows, columns] = plane
        except OSError as error:
            raise write_error(part, error) from None
    return clipped


def restore_to_zarr(
    plan: Plan,
    part: Path,
    setup: Setup,
    record: Record,
    step: Step,
    mapper: Mapper | None = None,
) -> Restored:
    """Restore one file to OME-Zarr, or what an interrupted run has left of it to do.

    Args:
        plan: the image.
        part: folder to write to, moved to the plan's target when it is complete.
        setup: of the run; its engines restore the tiles, unless the mapper does.
        record: what the result says about its making.
        step: told of every tile.
        mapper: restores the tiles in other processes.

    Raises:
        ImageError: the image cannot be restored; nothing of it is left.
        OutputError: it cannot be written. What is finished stays hidden beside it, for the next
            run.
    """
    parts = (part, *(hidden_beside(path, ".part") for path in plan.targets[1:]))
    try:
        begun = _begin(plan, parts, setup, record)
        job = _job(plan, parts, setup, begun.layouts, travels=mapper is not None)
        clipped = _restore_missing(job, begun.tiles, step, mapper or _here(setup.engines))
        (part / ONNX).unlink(missing_ok=True)
        for one, layout in zip(parts, begun.layouts, strict=True):
            for _ in zarr_output.write_pyramid(one, layout):
                pass
            zarr_output.remove_partial_chunks(one)
        for one, target in reversed([*zip(parts, plan.targets, strict=True)]):  # the result last
            publish(one, target)
    except OutputError:
        raise
    except OSError as error:
        raise write_error(plan.target, error) from None
    except Exception:
        for one in parts:
            discard(one)
        raise
    choice = None if mapper else setup.engines.choice
    return replace(begun.restored, clipped=clipped, choice=choice)


@dataclass(frozen=True, slots=True)
class _Begun:
    """An output that is prepared, by this run or by one that was interrupted."""

    layouts: tuple[OutputLayout, ...]
    """Of each part."""
    tiles: list[Tile]
    """All of the image."""
    restored: Restored
    """As far as it is known before the first tile."""


def _begin(plan: Plan, parts: tuple[Path, ...], setup: Setup, record: Record) -> _Begun:
    """Measure the image and prepare its output, or read what an earlier run measured."""
    network, options, model = setup.network, setup.options, setup.network.model
    with open_image(plan.image, model, options) as source:
        images = image_places(source, model)
        layout = output_layout(source, images, model, options, record)
        unit = max(1, zarr_output.CHUNK // network.scale)
        tile = tile_of(source, network, setup.memory, unit)
        layouts = all_layouts(layout, spread=options.uncertainty)
        notes: list[dict[str, Any]] = [
            {"record": one.record.as_dict(), "tile": tile, "halo": network.halo} for one in layouts
        ]
        left_off = list(map(zarr_output.ranges_of, parts, notes))
        new = None in left_off
        found = None if new else left_off[0]
        if found is None:
            require_space(plan.target, sum(one.nbytes for one in layouts) * 4 // 3)
            found = percentile_ranges(source, images, model.normalisation, options.percentiles_over)
        layout = with_appearance(layout, source, images, found, model, options)
        precision = setup.engines.error_on(fields_of(source, images, found, model), network)
        layouts = all_layouts(layout, spread=options.uncertainty)
        measured: dict[str, Any] = {"ranges": zarr_output.notes_of(found)}
        if precision is not None:
            measured["precision_error"] = precision.as_dict()
        if new:
            for part, one, stated in zip(parts, layouts, notes, strict=True):
                zarr_output.prepare(part, one, stated | measured)
        left = (*layout.appearance.left, *unwritten(source.layout, "ome-zarr"))
        restored = Restored(
            *(plan.target, layout.shape, tile, tuple(found)),
            clipped=0,
            left=left,
            error=precision,
            spread=plan.spread,
            by_percentiles=isinstance(model.normalisation, PercentileNormalisation),
        )
        return _Begun(layouts, list(tiles_of(source, network, tile, images, found)), restored)


def _job(
    plan: Plan,
    parts: tuple[Path, ...],
    setup: Setup,
    layouts: tuple[OutputLayout, ...],
    *,
    travels: bool,
) -> TileJob:
    network, digest = setup.network, ""
    if travels:  # the workers see the output, not our temporary folder
        digest = sha256_of(network.onnx)
        shutil.copyfile(network.onnx, parts[0] / ONNX)
        network = replace(network, onnx=parts[0].absolute() / ONNX, fast=None)
    return TileJob(
        parts=tuple(part.absolute() for part in parts),
        image=replace(plan.image, path=plan.image.path.absolute()),
        network=network,
        network_sha256=digest,
        options=setup.options,
        memory=setup.memory,
        layouts=layouts,
    )


def _here(engines: Engines) -> Mapper:
    """In this process, reading and writing beside computing."""
    return lambda job, tiles: in_order(
        lambda tile: restore_one(job, tile, engines.runtime), tiles, engines.stop
    )


def _restore_missing(job: TileJob, tiles: list[Tile], step: Step, mapper: Mapper) -> int:
    """Restore the tiles whose chunks are not all there."""
    levels = [(zarr_output.open_level(part), part / "0") for part in job.parts]
    scale, out = job.network.scale, job.network.model.channels_out
    missing = []
    for tile in tiles:
        first = (tile.place.t, (tile.place.c or 0) * out, tile.place.z)
        region = (tile.rows.target(scale), tile.columns.target(scale))
        if all(zarr_output.are_stored(*level, first, out, region) for level in levels):
            step(tile.pixels)
        else:
            missing.append(tile)
    clipped = 0
    for tile, outside in mapper(job, missing):
        clipped += outside
        step(tile.pixels)
    return clipped
