"""Restores one image file: from its source, tile by tile, to its output."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import PercentileNormalisation
from w2s_export.errors import ImageError, OutputError
from w2s_export.io.files import hidden_beside, name_of, write_error
from w2s_export.io.images import open_source, opened
from w2s_export.io.source import ColourPlanes, Layout, Source
from w2s_export.options import Format, ImageOptions
from w2s_export.restore.engines import Engines
from w2s_export.restore.fields import (
    Field,
    InputRange,
    NormalisedField,
    Place,
    Unusable,
    image_places,
    percentile_ranges,
)
from w2s_export.restore.inputs import Input
from w2s_export.restore.intensities import blank_pixels, in_counts, input_range, result_appearance
from w2s_export.restore.memory import SMALLEST_TILE
from w2s_export.restore.network import Model, ReadyNetwork
from w2s_export.restore.orientations import OrientationsRuntime, all_layouts
from w2s_export.restore.output import (
    LARGEST_IMAGEJ,
    OutputLayout,
    TiffOutput,
    discard,
    publish,
    require_space,
    unwritten,
)
from w2s_export.restore.pipeline import SharedSource, in_order
from w2s_export.restore.record import Record, identity
from w2s_export.restore.regions import enlarge_regions
from w2s_export.restore.scaling import scaling_of
from w2s_export.restore.tiles import Tile, fields_of, tile_of, tiles_of
from w2s_export.restore.tiling import Span, restore_tile
from w2s_export.runtime.precision import PrecisionError
from w2s_export.runtime.protocol import Runtime
from w2s_export.runtime.trial import Choice

_ENDINGS = {"tiff": ".tif", "ome-tiff": ".ome.tif", "ome-zarr": ".ome.zarr"}

Step = Callable[[int], None]
"""Told how many input pixels have been restored."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What restores the images of a run."""

    network: ReadyNetwork
    """How to feed the engines."""
    engines: Engines
    options: ImageOptions
    memory: int
    """Bytes one process may take."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of an image, once restored."""

    target: Path
    shape: tuple[int, ...]
    """(T, Z, C, H, W) of the output."""
    tile: tuple[int, int]
    """Height and width of a tile, input pixels."""
    ranges: tuple[InputRange, ...]
    """What each image was normalised by: low percentile and width, or mean and deviation."""
    clipped: int
    """Values outside the range of 16 bits."""
    left: tuple[str, ...] = ()
    """What the input holds besides pixels, and the result does not."""
    choice: Choice | None = None
    """The engine that restored it; None where other processes did."""
    error: PrecisionError | None = None
    """Of 16-bit arithmetic."""
    spread: Path | None = None
    """Image of the eight orientations' standard deviation."""
    by_percentiles: bool = False
    """Whether the ranges are percentiles, between which the result is about 0 to 1."""

    @property
    def bad(self) -> tuple[str, ...]:
        """Planes that could not be restored, and why."""
        return tuple(counts.reason for counts in self.ranges if isinstance(counts, Unusable))

    @property
    def flat(self) -> bool:
        """Whether any of them is flat, so that the others' percentiles would do for it."""
        bad = [counts.fill for counts in self.ranges if isinstance(counts, Unusable)]
        return any(math.isfinite(fill) for fill in bad)


@dataclass(frozen=True, slots=True)
class Plan:
    """An image that can be restored, by its header."""

    image: Input
    target: Path
    format: Format
    pixels: int
    """Input pixels to restore, all planes."""
    spread: Path | None = None
    """Where the image of the spread goes, if it is asked for."""

    @property
    def targets(self) -> tuple[Path, ...]:
        """All that is written; the result itself first."""
        return (self.target,) if self.spread is None else (self.target, self.spread)


def plans(
    image: Input, output: Path, model: Model, options: ImageOptions, given: Collection[Path] = ()
) -> Iterator[Plan | tuple[Input, ImageError]]:
    """Open a file and say what restoring each image of it will take, or why it cannot be restored.

    Args:
        image: the file.
        output: folder for the results.
        model: the network.
        options: of the run.
        given: all files of the run: what lies in another of a set is restored from there.

    Raises:
        ImageError: the file cannot be read.
    """
    with opened(image.path, missing_chunks=options.missing_chunks) as found:
        for number, series in enumerate(found):
            if series.home and (image.path.parent / series.home).absolute() in given:
                continue
            one = replace(image, series=number, of=len(found), name=series.name)
            try:
                source = _chosen(series.open(), options, model)
                yield _plan(one, source, output, model, options, given)
            except ImageError as error:
                yield one, error


def _plan(
    image: Input,
    source: Source,
    output: Path,
    model: Model,
    options: ImageOptions,
    given: Collection[Path],
) -> Plan:
    layout, images = source.layout, image_places(source, model)
    pixels = len(images) * layout.height * layout.width
    kind = options.format or ("ome-zarr" if image.path.is_dir() else "tiff")
    widest = "float32" if options.uncertainty else options.dtype
    nbytes = pixels * model.scale**2 * model.channels_out * np.dtype(widest).itemsize
    if options.format is None and kind == "tiff" and nbytes > LARGEST_IMAGEJ:
        kind = "ome-tiff"
    target, spread = (
        output / image.below / f"{image.stem}{part}{_ENDINGS[kind]}" for part in ("", "_spread")
    )
    plan = Plan(image, target, kind, pixels, spread if options.uncertainty else None)
    for path in plan.targets:
        if path.absolute() == image.path.absolute() or path.absolute() in given:
            raise ImageError(f"{path}: would be overwritten; choose another --output")
    return plan


def _chosen(source: Source, options: ImageOptions, model: Model) -> Source:
    if options.per_colour and source.layout.samples > 1 and model.channels_in == 1:
        return ColourPlanes(source)
    return source


@contextmanager
def open_image(
    image: Input, model: Model, options: ImageOptions, *, missing_chunks: bool | None = None
) -> Iterator[Source]:
    """Open the image of a plan. Errors as `open_source`."""
    missing = options.missing_chunks if missing_chunks is None else missing_chunks
    with open_source(image.path, image.series, missing_chunks=missing) as source:
        yield _chosen(source, options, model)


def record_of(
    plan: Plan, model: Model, options: ImageOptions, identify: Callable[[Path], str] = identity
) -> Record:
    """What the result will say about its making; reads the whole file for its hash."""
    how = model.normalisation
    return Record(
        source=name_of(plan.image.path),
        source_sha256=identify(plan.image.path),
        network=model.name,
        network_sha256=model.fingerprint,
        scale=model.scale,
        normalisation=how.model_dump(mode="json") if how else None,
        percentiles_over=options.percentiles_over,
        dtype=options.dtype,
        series=plan.image.series,
        keep_intensity=options.keep_intensity,
        per_colour=options.per_colour,
        precision=options.precision,
        orientations="mean" if options.uncertainty else "",
    )


def output_layout(
    source: Source, images: list[Place], model: Model, options: ImageOptions, record: Record
) -> OutputLayout:
    """Shape and calibration of the result: the input's, the pixels smaller by the scale."""
    layout, scale = source.layout, model.scale
    pixel = layout.pixel_size_um
    times, slices, _ = layout.planes
    per_plane = len(images) // (times * slices)
    return OutputLayout(
        times=times,
        slices=slices,
        channels=per_plane * model.channels_out,
        height=scale * layout.height,
        width=scale * layout.width,
        scaling=scaling_of(
            options.dtype,
            normalised=model.normalisation is not None and not options.keep_intensity,
        ),
        record=record,
        pixel_size_um=(pixel[0] / scale, pixel[1] / scale) if pixel else None,
        z_step_um=layout.z_step_um,
        interval_s=layout.interval_s,
        origin_um=_origin(layout, scale),
    )


def _origin(layout: Layout, scale: int) -> tuple[float, float, float]:
    """The centre of the result's first pixel: both images begin at the same corner."""
    if layout.origin_um is None or layout.pixel_size_um is None:
        return 0.0, 0.0, 0.0
    z, y, x = layout.origin_um
    height, width = (size * (1 - 1 / scale) / 2 for size in layout.pixel_size_um)
    return z, y - height, x - width


def restore_to_tiff(
    plan: Plan,
    part: Path,
    setup: Setup,
    record: Record,
    step: Step,
) -> Restored:
    """Restore one file to a TIFF.

    Args:
        plan: the image.
        part: file to write to, moved to the plan's target when it is complete.
        setup: of the run.
        record: what the result says about its making.
        step: told of every tile.

    Raises:
        ImageError: the image cannot be restored.
        OutputError: the file cannot be written. Nothing of it is left, in either case.
    """
    network, engines, options = setup.network, setup.engines, setup.options
    model = network.model
    with open_image(plan.image, model, options) as opened_source:
        source = SharedSource(opened_source)
        images = image_places(source, model)
        layout = output_layout(source, images, model, options, record)
        tile = tile_of(source, network, setup.memory, SMALLEST_TILE)
        _check_sizes(plan, all_layouts(layout, spread=options.uncertainty))
        found = percentile_ranges(source, images, model.normalisation, options.percentiles_over)
        error = engines.error_on(fields_of(source, images, found, model), network)
        record = replace(record, error=error)
        look = with_appearance(layout, source, images, found, model, options).appearance
        look = enlarge_regions(look, model.scale) if plan.format == "tiff" else look
        layout = replace(layout, appearance=look, record=record)
        clipped, layouts = 0, all_layouts(layout, spread=options.uncertainty)
        with _tiffs(part, plan, layouts) as files:

            def restore(tile: Tile) -> int:
                """Clipped values of a tile, once it is written."""
                place, cut = tile.place, (tile.rows, tile.columns)
                made = restored_tile(
                    engines.runtime, source, place, tile.counts, cut, network, options
                )
                y, x = (span.target(network.scale).start for span in cut)
                c, beyond = (place.c or 0) * model.channels_out, 0
                for file, its, values in zip(files, layouts, made, strict=True):
                    stored, outside = its.scaling.encode(values)
                    file.write(place.t, place.z, c, y, x, stored)
                    beyond += outside
                return beyond

            everything = tiles_of(source, network, tile, images, found)
            for done, outside in in_order(restore, everything, engines.stop):
                clipped += outside
                step(done.pixels)
    left = (*layout.appearance.left, *unwritten(source.layout, plan.format))
    return Restored(
        *(plan.target, layout.shape, tile, tuple(found), clipped, left, engines.choice, error),
        *(plan.spread, isinstance(model.normalisation, PercentileNormalisation)),
    )


def with_appearance(
    layout: OutputLayout,
    source: Source,
    images: list[Place],
    found: list[InputRange],
    model: Model,
    options: ImageOptions,
) -> OutputLayout:
    """The layout with what people see of the input."""
    look = result_appearance(
        source.layout,
        layout.channels,
        images,
        found,
        model.normalisation,
        layout.scaling,
        keep=options.keep_intensity,
    )
    return replace(layout, appearance=look)


def restored_tile(
    runtime: Runtime,
    source: Source,
    place: Place,
    counts: InputRange,
    cut: tuple[Span, Span],
    network: ReadyNetwork,
    options: ImageOptions,
) -> list[NDArray[np.float32]]:
    """What becomes of one tile, before it is stored: each (C', scale·h, scale·w).

    The result, and the spread if it is asked for.
    """
    model, (rows, columns) = network.model, cut
    if isinstance(counts, Unusable):
        size = [network.scale * (span.stop - span.start) for span in cut]
        black = blank_pixels((model.channels_out, *size), counts, keep=options.keep_intensity)
        return [black, np.full_like(black, np.nan)] if options.uncertainty else [black]
    field = NormalisedField(Field(source, place), model.normalisation, counts)
    runs = OrientationsRuntime(runtime, network.fixed) if options.uncertainty else runtime
    values = restore_tile(runs, field, rows, columns, scale=network.scale, fixed=network.fixed)
    made = np.split(values, 2) if options.uncertainty else [values]
    seen = input_range(counts, model.normalisation)
    if options.keep_intensity and seen is not None:
        low, width = seen
        # A spread has no offset.
        return [in_counts(one, (at, width)) for one, at in zip(made, (low, 0.0), strict=False)]
    return made


def _check_sizes(plan: Plan, layouts: tuple[OutputLayout, ...]) -> None:
    nbytes = [layout.nbytes for layout in layouts]
    if plan.format == "tiff" and max(nbytes) > LARGEST_IMAGEJ:
        raise OutputError(
            f"{plan.target}: would hold {max(nbytes) / 1e9:.1f} GB, more than ImageJ's TIFF can; "
            "write --format ome-tiff or ome-zarr"
        )
    require_space(plan.target, sum(nbytes))


@contextmanager
def _tiffs(part: Path, plan: Plan, layouts: tuple[OutputLayout, ...]) -> Iterator[list[TiffOutput]]:
    """The files of a plan; the result itself takes its place last."""
    parts = (part, *(hidden_beside(path, ".part") for path in plan.targets[1:]))
    with ExitStack() as written:
        yield [
            written.enter_context(_tiff(*one, ome=plan.format == "ome-tiff"))
            for one in zip(parts, plan.targets, layouts, strict=True)
        ]


@contextmanager
def _tiff(part: Path, target: Path, layout: OutputLayout, *, ome: bool) -> Iterator[TiffOutput]:
    """The file to write, in its place when the block is through and gone if it fails."""
    try:
        with closing(TiffOutput(part, layout, ome=ome)) as file:
            yield file
            file.synchronise()
        publish(part, target)
    except OSError as error:
        raise write_error(target, error) from None
    finally:
        discard(part)
