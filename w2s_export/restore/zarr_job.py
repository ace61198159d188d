"""Restores one image to OME-Zarr: tiles that any process can restore, in any order."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from w2s_export.errors import OutputError
from w2s_export.io.files import sha256_of
from w2s_export.restore import zarr_output
from w2s_export.restore.fields import Counts, Place, places, ranges
from w2s_export.restore.image import (
    Options,
    Plan,
    Restored,
    Step,
    answer,
    dressed,
    open_image,
    output_layout,
    tile_of,
    tiles_of,
)
from w2s_export.restore.inputs import Input
from w2s_export.restore.network import Network
from w2s_export.restore.output import OutputLayout, discard, publish, require_space, unwritten
from w2s_export.restore.record import Record
from w2s_export.restore.tiling import Span
from w2s_export.runtime.choose import Engine, open_engine

if TYPE_CHECKING:
    from w2s_export.runtime.protocol import Runtime

ONNX = "network.onnx"
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class TileJob:
    """Everything a process needs to restore any tile of one image; travels between machines.

    The paths are those of a file system that all of them see.
    """

    part: Path
    image: Input
    network: Network
    network_sha256: str
    options: Options
    layout: OutputLayout


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile of one plane."""

    place: Place
    counts: Counts
    rows: Span
    columns: Span

    @property
    def pixels(self) -> int:
        """Input pixels it restores."""
        return (self.rows.stop - self.rows.start) * (self.columns.stop - self.columns.start)


Mapper = Callable[[TileJob, list[Tile]], Iterable[tuple[Tile, int]]]
"""Restores tiles, here or elsewhere; gives each with its clipped values as it is finished."""


def in_this_process(job: TileJob, tiles: list[Tile]) -> Iterator[tuple[Tile, int]]:
    """One after the other."""
    for tile in tiles:
        yield tile, restore_one(job, tile)


def restore_one(job: TileJob, tile: Tile, threads: int | None = None) -> int:
    """Restore a tile and write its chunks; how many values were clipped.

    Doing it twice changes nothing.
    """
    model, scale = job.network.model, job.network.scale
    runtime = session(
        job.network.onnx, job.network_sha256, job.options.engine, job.options.threads or threads
    )
    place = tile.place
    cut, options = (tile.rows, tile.columns), job.options
    # Missing chunks were looked for once, at the start.
    with open_image(job.image, model, options, missing_chunks=True) as source, _one_at_a_time:
        values = answer(runtime, source, place, tile.counts, cut, job.network, options)
    stored, clipped = job.layout.scaling.encode(values)
    level = zarr_output.array(job.part)
    first = (place.c or 0) * model.config.out_nc
    rows, columns = tile.rows.target(scale), tile.columns.target(scale)
    try:
        for channel, plane in enumerate(stored, first):
            level[place.t, channel, place.z, rows, columns] = plane
    except OSError as error:
        raise OutputError(f"{job.part}: cannot be written: {error.strerror}") from None
    return clipped


@lru_cache(maxsize=1)
def session(onnx: Path, sha256: str, engine: Engine, threads: int | None) -> Runtime:
    """The one session of this process.

    Raises:
        OutputError: the file is not the one that was sent.
    """
    if sha256_of(onnx) != sha256:
        raise OutputError(f"{onnx}: has been changed since the run began; start it again")
    return open_engine(engine, onnx, threads)


def restore_to_zarr(
    plan: Plan,
    part: Path,
    network: Network,
    options: Options,
    record: Record,
    step: Step,
    mapper: Mapper = in_this_process,
) -> Restored:
    """Restore one file to OME-Zarr, or what an interrupted run has left of it to do.

    Args:
        plan: the image.
        part: folder to write to, moved to the plan's target when it is complete.
        network: restores.
        options: of the run.
        record: what the result says about its making.
        step: told of every tile.
        mapper: restores the tiles.

    Raises:
        ImageError: the image cannot be restored; nothing of it is left.
        OutputError: it cannot be written. What is finished stays hidden beside it, for the next
            run.
    """
    model = network.model
    try:
        with open_image(plan.image, model, options) as source:
            images = places(source, model)
            layout = output_layout(source, images, model, options, record)
            unit = max(1, zarr_output.CHUNK // network.scale)
            tile = tile_of(source, network, options.memory, unit)
            notes = {"record": record.as_dict(), "tile": tile, "halo": network.halo}
            found = zarr_output.ranges_of(part, notes)
            new = found is None
            if found is None:
                require_space(plan.target, layout.nbytes * 4 // 3)
                found = ranges(source, images, model.normalisation, options.percentiles_over)
            layout = dressed(layout, source, images, found, model, options)
            if new:
                notes["ranges"] = zarr_output.notes_of(found)
                zarr_output.prepare(part, layout, notes)
            cut = list(tiles_of(source, network, tile))
        everything = [
            Tile(place, counts, rows, columns)
            for place, counts in zip(images, found, strict=True)
            for rows, columns in cut
        ]
        sent = network
        if mapper is not in_this_process:  # the workers see the output, not our temporary folder
            shutil.copyfile(network.onnx, part / ONNX)
            sent = replace(network, onnx=part.absolute() / ONNX)
        job = TileJob(
            part=part.absolute(),
            image=replace(plan.image, path=plan.image.path.absolute()),
            network=sent,
            network_sha256=sha256_of(network.onnx),
            options=options,
            layout=layout,
        )
        clipped = _restore_missing(job, everything, step, mapper)
        for _ in zarr_output.write_pyramid(part, layout):
            pass
        (part / ONNX).unlink(missing_ok=True)
        zarr_output.tidy(part)
        publish(part, plan.target)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{plan.target}: cannot be written: {error.strerror}") from None
    except Exception:
        discard(part)
        raise
    left = (*layout.appearance.left, *unwritten(layout.appearance, "ome-zarr"))
    return Restored(plan.target, layout.shape, tile, tuple(found), clipped, left)


def _restore_missing(job: TileJob, tiles: list[Tile], step: Step, mapper: Mapper) -> int:
    """Restore the tiles whose chunks are not all there."""
    level = zarr_output.array(job.part)
    scale, out = job.network.scale, job.network.model.config.out_nc
    missing = []
    for tile in tiles:
        if zarr_output.all_stored(
            level,
            job.part / "0",
            (tile.place.t, (tile.place.c or 0) * out, tile.place.z),
            out,
            (tile.rows.target(scale), tile.columns.target(scale)),
        ):
            step(tile.pixels)
        else:
            missing.append(tile)
    clipped = 0
    for tile, outside in mapper(job, missing):
        clipped += outside
        step(tile.pixels)
    return clipped
