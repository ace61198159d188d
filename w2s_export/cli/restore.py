"""`w2s-export restore`: images in, restored images out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from w2s_export.cli.console import console, errors, options_of, shown_under, styled
from w2s_export.foreign_text import LONGEST_MESSAGE, shown
from w2s_export.options import RESULT, ImageOptions, RestoreOptions

if TYPE_CHECKING:
    from w2s_export.restore import batch
    from w2s_export.restore.inputs import Found
    from w2s_export.runtime.trial import Choice


def restore_command(
    inputs: list[str],
    /,
    *,
    options: Annotated[RestoreOptions, options_of(RestoreOptions)],
    json: Annotated[bool, shown_under(RESULT)] = False,
) -> int:
    """Restore images of any size.

    Every image of a file is restored, as NAME_series1, NAME_series2, … if there are several. Values
    of the results are about 0 to 1 per plane: each plane is normalised by itself, so a fading
    signal looks constant. To measure brightness, add --percentiles-over stack and --keep-intensity.

    Parameters
    ----------
    inputs
        TIFF, PNG, OME-Zarr; folders, with all below them; globs in quotes.
    json
        Print what became of every image as JSON.
    """
    from w2s_export.api import restore_paths
    from w2s_export.restore.batch import Status

    with restoring(quiet=json) as (progress, finished):
        outcomes, found = restore_paths(inputs, options, progress, finished)
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
                name = f", {shown(outcome.image.name)}" if outcome.image.name else ""
                target = shown(outcome.target, LONGEST_MESSAGE)
                text = f"{target} ({outcome.seconds:.1f} s{name})"
                console.print(text, soft_wrap=True, highlight=False)
                for reason in outcome.restored.bad if outcome.restored else ():
                    bad = styled(
                        ("left black: ", "yellow"), f"{shown(outcome.image.label)}: {reason}"
                    )
                    errors.print(bad, soft_wrap=True)

        yield progress, finished


def _choice(outcomes: list[batch.Outcome]) -> Choice | None:
    """The engine of the run; None where it restored nothing, or other processes did."""
    return next((o.restored.choice for o in outcomes if o.restored), None)


def print_summary(outcomes: list[batch.Outcome], found: Found, options: ImageOptions) -> None:
    """How many of each, and what deserves a warning."""
    kinds = [outcome.status.value for outcome in outcomes]
    text = (
        f"{kinds.count('restored')} restored, {kinds.count('skipped')} finished before, "
        f"{kinds.count('failed')} failed"
    )
    if parts := kinds.count("part of another"):
        text += f", {parts} part of another's set"
    if found.ignored:
        names = ", ".join(shown(path.name) for path in found.ignored[:5])
        more = " …" if len(found.ignored) > 5 else ""
        number = len(found.ignored)
        are = "file is no image" if number == 1 else "files are no images"
        text += f"; {number} {are} by name: {names}{more}"
    restored = [(o, o.restored) for o in outcomes if o.restored]
    if len(restored) > 1:
        text += f"; {sum(outcome.seconds for outcome, _ in restored):.1f} s"
    _say(f"{text}.")
    if any(r.by_percentiles for _, r in restored) and not options.keep_intensity:
        over = "each plane" if options.percentiles_over == "plane" else "each stack"
        _say(
            f"Values are about 0 to 1 between the percentiles of {over}; --keep-intensity gives "
            "the input's counts."
        )
    for what in sorted({what for _, r in restored for what in r.left}):
        names = ", ".join(
            dict.fromkeys(shown(o.source.name) for o, r in restored if what in r.left)
        )
        _say(f"Not carried over: {what} ({names}).")
    if any(r.flat for _, r in restored) and options.percentiles_over == "plane":
        _warn(
            "Planes that are flat cannot be normalised by themselves; --percentiles-over stack "
            "normalises all alike."
        )
    if choice := _choice(outcomes):
        _say(f"Engine: {choice}.")
    if worst := max((r.error for _, r in restored if r.error), key=lambda e: e.rms, default=None):
        _say(f"16 bits, worst image: {worst}.")
    if clipped := sum(1 for _, r in restored if r.clipped):
        have = "1 image has" if clipped == 1 else f"{clipped} images have"
        _warn(
            f"{have} values outside the 16-bit range, which were clipped; "
            "--dtype float32 keeps them."
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
        if outcome.restored is not None and outcome.restored.spread is not None:
            image["spread"] = str(outcome.restored.spread)
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
