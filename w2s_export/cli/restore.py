"""`w2s-export restore`: images in, restored images out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from w2s_export.cli.console import IMAGES, NETWORK, RESULT, SPEED, Flag, console, errors, styled
from w2s_export.errors import ConfigError
from w2s_export.shown import shown

if TYPE_CHECKING:
    from w2s_export.restore import batch
    from w2s_export.restore.image import Options
    from w2s_export.restore.inputs import Found
    from w2s_export.runtime.trial import Choice


def restore_command(
    inputs: Annotated[list[str], Flag],
    /,
    *,
    output: Annotated[Path, RESULT],
    package: Annotated[Path | None, NETWORK] = None,
    weights: Annotated[Path | None, NETWORK] = None,
    scale: Annotated[int | None, NETWORK] = None,
    normalisation: Annotated[str | None, NETWORK] = None,
    dynamic: Annotated[bool, Flag, NETWORK] = False,
    signature: Annotated[str | None, NETWORK] = None,
    percentiles_over: Annotated[Literal["plane", "stack"], IMAGES] = "plane",
    format: Annotated[Literal["tiff", "ome-tiff", "ome-zarr"] | None, RESULT] = None,
    dtype: Annotated[Literal["float32", "uint16"], RESULT] = "float32",
    memory: Annotated[str | None, SPEED] = None,
    engine: Annotated[
        Literal["auto", "cpu", "openvino", "cuda", "tensorrt", "coreml", "directml"], SPEED
    ] = "auto",
    precision: Annotated[Literal[32, 16], SPEED] = 32,
    threads: Annotated[int | None, SPEED] = None,
    cpu_fast: Annotated[bool, Flag, SPEED] = False,
    workers: Annotated[int | None, SPEED] = None,
    scheduler: Annotated[str | None, SPEED] = None,
    missing_chunks: Annotated[bool, Flag, IMAGES] = False,
    keep_intensity: Annotated[bool, Flag, IMAGES] = False,
    per_colour: Annotated[bool, Flag, IMAGES] = False,
    overwrite: Annotated[bool, Flag, RESULT] = False,
    json: Annotated[bool, Flag, RESULT] = False,
) -> int:
    """Restore images of any size.

    Every image of a file is restored, as NAME_series1, NAME_series2, … if there are several. Values
    of the results are about 0 to 1 per plane: each plane is normalised by itself, so a fading
    signal looks constant. To measure brightness, add --percentiles-over stack and --keep-intensity.

    Parameters
    ----------
    inputs
        TIFF, PNG, OME-Zarr; folders, with all below them; globs in quotes.
    output
        Folder for the results.
    package
        Package of this tool. Default: the embedded model.
    weights
        Weights instead of a package; converted anew for every run.
    scale
        1, 2 or 4, where the weights do not record by how much the network enlarges.
    normalisation
        percentile:LOW:HIGH or range:LOW:HIGH, where the weights do not record it.
    dynamic
        Let weights of another network take images of other sizes than their file fixes.
    signature
        Signature of a SavedModel that has several.
    percentiles_over
        plane: each plane by itself, so bleaching and dark slices vanish. stack: all times and
        slices of a channel alike, so brightness stays comparable; a flat plane does no harm.
    format
        Default: ome-zarr for Zarr; for others tiff, as ImageJ writes it, ome-tiff beyond 4 GB.
    dtype
        float32, or uint16 with value = counts / 10000 - 1 (stated in the file).
    memory
        What one run may take, e.g. 2GB. Default: half of what is free.
    engine
        auto times those that are installed on the first tile, for at most 2 % of the job's time,
        and takes the fastest that gives the same image as ONNX Runtime on the CPU (cpu).
    precision
        16: bfloat16 by OpenVINO on processors with AMX or AVX512-BF16, float16 on a GPU. The error
        is measured on every image, stated in the output, and refused below 55 dB.
    threads
        Of the engine. Default: the cores this process may use.
    cpu_fast
        The same network in fewer multiplications, from weights or a package exported with
        --cpu-fast. Pays from 64 features on (measured 1.4 to 1.5 times as fast, in 1.9 times the
        memory); the default model, of 32, gains little.
    workers
        Restore tiles in as many processes of this machine (OME-Zarr output).
    scheduler
        Restore tiles on the workers of the dask scheduler at this address (OME-Zarr output).
    missing_chunks
        Take missing chunks of a Zarr as its fill value.
    keep_intensity
        Map results back through the percentiles of their input, to its counts. With
        --percentiles-over plane each plane by its own, so they compare within the network's means.
    per_colour
        Restore each colour of an RGB image as a channel, with a network for grey images.
    overwrite
        Replace outputs made from other images, weights or options.
    json
        Print what became of every image as JSON.
    """
    from w2s_export.data.normalise import parse_normalisation
    from w2s_export.package.network import open_network
    from w2s_export.restore.batch import Distribution, Status, restore_files
    from w2s_export.restore.image import Options
    from w2s_export.restore.inputs import find
    from w2s_export.sources.load import Reading

    distribution = _distribution(Distribution, workers, scheduler, threads)
    if cpu_fast and (engine not in ("auto", "cpu") or precision == 16):
        raise ConfigError(
            "--cpu-fast is ONNX Runtime on a CPU in float32; leave it out, or leave out --engine "
            "and --precision"
        )
    options = Options(
        format=format,
        dtype=dtype,
        percentiles_over=percentiles_over,
        memory=_budget(memory, workers),
        engine="cpu" if cpu_fast and engine == "auto" else engine,
        threads=threads,
        precision=precision,
        missing_chunks=missing_chunks,
        keep_intensity=keep_intensity,
        per_colour=per_colour,
        overwrite=overwrite,
    )
    found = find(inputs, output)
    how = parse_normalisation(normalisation) if normalisation else None
    network = open_network(
        package,
        weights,
        scale=scale,
        normalisation=how,
        cpu_fast=cpu_fast,
        reading=Reading(dynamic, signature),
    )
    with restoring(quiet=json) as (progress, finished):
        outcomes = restore_files(
            found.images,
            output,
            network.model,
            network.open,
            options,
            distribution=distribution,
            progress=progress,
            finished=finished,
        )
        outcomes += _not_found(found, finished)
    if json:
        print_json(outcomes, found)
    else:
        print_summary(outcomes, found, options)
    return int(any(o.status is Status.failed or (o.restored and o.restored.bad) for o in outcomes))


def _not_found(found: Found, finished: Callable[[batch.Outcome], None]) -> list[batch.Outcome]:
    """An outcome for everything that was given and cannot be opened."""
    from w2s_export.restore.batch import Outcome, Status
    from w2s_export.restore.inputs import Input

    failed = [
        Outcome(Input(path, Path()), Status.failed, None, reason) for path, reason in found.problems
    ]
    for outcome in failed:
        finished(outcome)
    return failed


def _distribution(
    kind: type[batch.Distribution], workers: int | None, scheduler: str | None, threads: int | None
) -> batch.Distribution:
    if workers is not None and scheduler is not None:
        raise ConfigError("--workers and --scheduler exclude each other; give one")
    for name, number in (("--workers", workers), ("--threads", threads)):
        if number is not None and number < 1:
            raise ConfigError(f"{name} {number}: give 1 or more")
    return kind(workers, scheduler)


def _budget(memory: str | None, workers: int | None) -> int:
    """Bytes for each process."""
    from w2s_export.restore.memory import free_bytes, parse_bytes

    return (parse_bytes(memory) if memory else free_bytes() // 2) // (workers or 1)


@contextmanager
def restoring(
    *, quiet: bool
) -> Iterator[tuple[Callable[[batch.Progress], None], Callable[[batch.Outcome], None]]]:
    """A bar over the pixels of all images, with the time left; what failed is printed at once."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, disable=quiet or not errors.is_terminal) as bar:
        task = bar.add_task("Starting", total=None)

        def progress(now: batch.Progress) -> None:
            name = f"{now.source.name} ({now.file} of {now.files})"
            bar.update(task, total=now.total, completed=now.done, description=shown(name))

        def finished(outcome: batch.Outcome) -> None:
            if quiet:
                return
            if outcome.status.value == "failed":
                errors.print(styled(("failed:", "red"), f" {outcome.reason}"), soft_wrap=True)
            elif outcome.status.value == "restored":
                name = f", {outcome.image.name}" if outcome.image.name else ""
                text = f"{outcome.target} ({outcome.seconds:.1f} s{name})"
                console.print(text, soft_wrap=True, highlight=False)
                for reason in outcome.restored.bad if outcome.restored else ():
                    bad = styled(("left black: ", "yellow"), f"{outcome.image.label}: {reason}")
                    errors.print(bad, soft_wrap=True)

        yield progress, finished


def _choice(outcomes: list[batch.Outcome]) -> Choice | None:
    """The engine of the run; None where it restored nothing, or other processes did."""
    return next((o.restored.choice for o in outcomes if o.restored), None)


def print_summary(outcomes: list[batch.Outcome], found: Found, options: Options) -> None:
    """How many of each, and what deserves a warning."""
    kinds = [outcome.status.value for outcome in outcomes]
    text = (
        f"{kinds.count('restored')} restored, {kinds.count('skipped')} finished before, "
        f"{kinds.count('failed')} failed"
    )
    if parts := kinds.count("part of another"):
        text += f", {parts} part of another's set"
    if found.ignored:
        names = ", ".join(path.name for path in found.ignored[:5])
        more = " …" if len(found.ignored) > 5 else ""
        text += f"; {len(found.ignored)} files are no images by name: {names}{more}"
    _say(f"{text}.")
    restored = [(o, o.restored) for o in outcomes if o.restored]
    if (
        restored
        and any(r.ranges[0] is not None for _, r in restored)
        and not options.keep_intensity
    ):
        over = "each plane" if options.percentiles_over == "plane" else "each stack"
        _say(
            f"Values are about 0 to 1 between the percentiles of {over}; --keep-intensity gives "
            "the input's counts."
        )
    for what in sorted({what for _, r in restored for what in r.left}):
        names = ", ".join(o.source.name for o, r in restored if what in r.left)
        _say(f"Not carried over: {what} ({names}).")
    if any(r.bad for _, r in restored) and options.percentiles_over == "plane":
        _warn(
            "Planes that are flat cannot be normalised by themselves; --percentiles-over stack "
            "normalises all alike."
        )
    if choice := _choice(outcomes):
        _say(f"Engine: {choice}.")
    if worst := max((r.error for _, r in restored if r.error), key=lambda e: e.rms, default=None):
        _say(f"16 bits, worst image: {worst}.")
    if clipped := sum(1 for _, r in restored if r.clipped):
        _warn(
            f"{clipped} images have values outside the 16-bit range, which were clipped; --dtype "
            "float32 keeps them."
        )


def _say(text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False)


def _warn(text: str) -> None:
    console.print(styled((text, "yellow")), soft_wrap=True)


def print_json(outcomes: list[batch.Outcome], found: Found) -> None:
    """Everything, for programs."""
    images: list[dict[str, Any]] = []
    for outcome in outcomes:
        image: dict[str, Any] = {"input": str(outcome.source), "status": outcome.status.value}
        if outcome.image.of > 1:
            image.update(series=outcome.image.series + 1, of=outcome.image.of)
        if outcome.target is not None:
            image["output"] = str(outcome.target)
        if outcome.reason:
            image["reason"] = outcome.reason
        if outcome.restored is not None:
            restored = outcome.restored
            image.update(
                shape=restored.shape,
                tile=restored.tile,
                percentile_ranges=[r if isinstance(r, tuple) else None for r in restored.ranges],
                planes_not_restored=restored.bad,
                not_carried_over=restored.left,
                clipped=restored.clipped,
                seconds=outcome.seconds,
            )
            if restored.error is not None:
                image["precision_error"] = restored.error.as_dict()
        images.append(image)
    ignored = [str(path) for path in found.ignored]
    document: dict[str, Any] = {"images": images, "ignored": ignored}
    if choice := _choice(outcomes):
        document["engine"] = choice.as_dict()
    json.dump(document, sys.stdout, indent=2)
    sys.stdout.write("\n")
