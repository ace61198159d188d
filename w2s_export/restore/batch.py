"""Restores a list of images: finished ones skipped, bad ones reported, the rest done."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from enum import Enum
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from w2s_export.errors import (
    ConfigError,
    DiskError,
    ImageError,
    MissingExtraError,
    OutputError,
    W2SExportError,
)
from w2s_export.io.temporary import temporary_folder
from w2s_export.options import Distribution, ImageOptions
from w2s_export.restore.engines import open_engines
from w2s_export.restore.image import (
    Plan,
    Restored,
    Setup,
    plans,
    record_of,
    restore_to_tiff,
)
from w2s_export.restore.inputs import Input
from w2s_export.restore.memory import memory_budget
from w2s_export.restore.network import Model, OpenableNetwork, ReadyNetwork
from w2s_export.restore.orientations import ORIENTATIONS, record_of_spread, with_memory_for_sums
from w2s_export.restore.output import claimed
from w2s_export.restore.pipeline import in_order
from w2s_export.restore.record import Record, identity, recorded
from w2s_export.restore.zarr_job import Mapper, restore_to_zarr

_SMALL = 1 << 22
"""Input pixels of images that are read and written beside each other; larger ones one by one, the
tiles of each beside each other."""


class Status(Enum):
    """What became of an image."""

    restored = "restored"
    skipped = "skipped"
    """It was finished already."""
    part = "part of another"
    """It belongs to a set of files, and is restored from another of them."""
    failed = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image."""

    image: Input
    status: Status
    target: Path | None
    reason: str = ""
    """Why it failed or was skipped."""
    restored: Restored | None = None
    seconds: float = 0.0
    """From when it began, or the image before it was done, if that was later: they add up."""

    @property
    def source(self) -> Path:
        """The image's file."""
        return self.image.path


@dataclass(frozen=True, slots=True)
class Progress:
    """Told of every tile."""

    source: Path
    file: int
    files: int
    done: int
    """Input pixels restored so far, of all images."""
    total: int


HERE = Distribution()

Conclude = Callable[[Outcome], None]


def restore_files(
    images: Sequence[Input],
    output: Path,
    network: OpenableNetwork,
    options: ImageOptions,
    *,
    distribution: Distribution = HERE,
    progress: Callable[[Progress], None] = lambda _: None,
    finished: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Restore every image into the folder. The network is opened if there is anything to do.

    Args:
        images: from `inputs.find`.
        output: folder for the results, made if missing.
        network: opened once at most.
        options: how to restore.
        distribution: where tiles are restored.
        progress: told of every tile.
        finished: told of every image.

    Returns:
        One outcome per image, in their order: a file may hold several.

    Raises:
        ConfigError: a memory budget too small for any tile, or no scheduler.
        MissingExtraError: a library is not installed.
        OutputError: the temporary folder cannot be written.
        W2SExportError: the network cannot be used.
    """
    outcomes: list[Outcome] = []
    memory = memory_budget(options) // (distribution.workers or 1)

    def conclude(outcome: Outcome) -> None:
        outcomes.append(outcome)
        finished(outcome)

    identify = cache(identity)
    todo = [
        planned
        for planned in _of_distinct_names(
            _planned(images, output, network.model, options, conclude), conclude
        )
        if not _is_finished(planned, network.model, options, identify, conclude)
    ]
    if distribution.elsewhere and any(planned.format != "ome-zarr" for planned in todo):
        raise ConfigError(
            "--workers and --scheduler restore tiles of OME-Zarr outputs; add --format ome-zarr"
        )
    if todo:
        with temporary_folder() as folder, _mapper(distribution) as mapper:
            pixels = 0 if mapper else sum(planned.pixels for planned in todo)
            setup = _setup(_opened(network, folder), options, memory, pixels)
            run = _Run(todo, setup, mapper, progress, identify)
            for outcome in run.outcomes():
                conclude(outcome)
    order = {image.path: number for number, image in enumerate(images)}
    return sorted(outcomes, key=lambda o: (order[o.image.path], o.image.series))


def _opened(network: OpenableNetwork, folder: Path) -> ReadyNetwork:
    try:
        return network.open(folder)
    except OSError as error:
        reason = f"cannot be written: {error.strerror}; set TMPDIR to a folder with space"
        raise OutputError(f"{folder}: {reason}") from None


def _setup(network: ReadyNetwork, options: ImageOptions, memory: int, pixels: int) -> Setup:
    """Engines that restore so many pixels in this process."""
    if options.engine != "cpu":
        network = network.for_other_engines(memory)
    if options.uncertainty:
        network, pixels = with_memory_for_sums(network), ORIENTATIONS * pixels
    engines = open_engines(
        network, options.engine, options.threads, options.precision, memory, pixels
    )
    return Setup(network, engines, options, memory)


def _planned(
    images: Sequence[Input], output: Path, model: Model, options: ImageOptions, conclude: Conclude
) -> list[Plan]:
    """Every image of every file that can be restored, by its header."""
    given = {image.path.absolute() for image in images}
    found: list[Plan] = []
    for image in images:
        try:
            each = list(plans(image, output, model, options, given))
        except (ImageError, MissingExtraError, OutputError) as error:
            conclude(Outcome(image, Status.failed, None, str(error)))
            continue
        if not each:
            conclude(Outcome(image, Status.part, None, f"{image.path}: part of another file's set"))
        for one in each:
            if isinstance(one, Plan):
                found.append(one)
            else:
                failed, problem = one
                conclude(Outcome(failed, Status.failed, None, _named(problem, failed)))
    return found


def _of_distinct_names(found: list[Plan], conclude: Conclude) -> Iterator[Plan]:
    """The plans whose results have names of their own."""
    same: dict[str, list[Plan]] = {}
    for planned in found:
        for path in planned.targets:
            same.setdefault(os.path.normcase(path), []).append(planned)
    shared = {path: group for path, group in same.items() if len(group) > 1}
    for planned in found:
        mine = [path for path in planned.targets if os.path.normcase(path) in shared]
        if not mine:
            yield planned
        else:
            with_it = shared[os.path.normcase(mine[0])]
            others = ", ".join(other.image.label for other in with_it if other is not planned)
            reason = f"would become {mine[0]}, as {others} would; use different --output"
            conclude(
                Outcome(planned.image, Status.failed, None, f"{planned.image.label}: {reason}")
            )


def _mapper(distribution: Distribution) -> Any:
    if not distribution.elsewhere:
        return nullcontext()
    from w2s_export.restore.cluster import mapped_over

    return mapped_over(distribution.workers, distribution.scheduler)


class _Run:
    """The images of one run: small ones a few at once, for the engine's threads to be busy."""

    def __init__(
        self,
        todo: list[Plan],
        setup: Setup,
        mapper: Mapper | None,
        progress: Callable[[Progress], None],
        identify: Callable[[Path], str],
    ) -> None:
        self._todo, self._setup, self._mapper = todo, setup, mapper
        self._progress, self._identify = progress, identify
        self._total, self._done = sum(planned.pixels for planned in todo), 0
        self._counting = threading.Lock()
        self._last = 0.0  # when an image was done

    def outcomes(self) -> Iterator[Outcome]:
        """What became of each image, in their order."""

        def is_small(numbered: tuple[int, Plan]) -> bool:
            return numbered[1].pixels <= _SMALL and self._mapper is None

        for small, images in groupby(enumerate(self._todo, 1), is_small):
            if small:
                for _, outcome in in_order(self._outcome, images, self._setup.engines.stop):
                    yield outcome
            else:
                yield from map(self._outcome, images)

    def _outcome(self, numbered: tuple[int, Plan]) -> Outcome:
        number, planned = numbered
        image, begun, told = planned.image, time.perf_counter(), 0

        def step(pixels: int) -> None:
            nonlocal told
            told += pixels
            with self._counting:
                self._done += pixels
                files, done = len(self._todo), self._done
                self._progress(Progress(image.path, number, files, done, self._total))

        try:
            restored = self._restore(planned, step)
        except (ConfigError, MissingExtraError, DiskError):  # the same for every image
            raise
        except W2SExportError as error:
            reason = _named(error, image)
        except OSError as error:
            reason = f"{image.label}: cannot be read: {error.strerror or error}"
        except MemoryError:
            reason = f"{image.label}: does not fit in memory; allow less with --memory, or crop it"
        else:
            with self._counting:
                now = time.perf_counter()
                spent, self._last = round(now - max(begun, self._last), 3), now
            return Outcome(image, Status.restored, planned.target, "", restored, spent)
        with self._counting:
            self._done += planned.pixels - told
        return Outcome(image, Status.failed, planned.target, reason)

    def _restore(self, planned: Plan, step: Callable[[int], None]) -> Restored:
        setup = self._setup
        record = record_of(planned, setup.network.model, setup.options, self._identify)
        with claimed(planned.target) as part:
            if planned.format == "ome-zarr":
                return restore_to_zarr(planned, part, setup, record, step, self._mapper)
            return restore_to_tiff(planned, part, setup, record, step)


def _is_finished(
    planned: Plan,
    model: Model,
    options: ImageOptions,
    identify: Callable[[Path], str],
    conclude: Conclude,
) -> bool:
    """Whether there is nothing to do: made from this image in this way, or something in the way."""
    try:
        there = [path for path in planned.targets if os.path.lexists(path)]
        if not there or options.overwrite:
            return False
        record = record_of(planned, model, options, identify)
        records = dict(zip(planned.targets, (record, record_of_spread(record)), strict=False))
        differs = {path: _difference(path, records[path]) for path in there}
    except OSError as error:
        reason = f"{planned.image.label}: cannot be read: {error.strerror or error}"
        conclude(Outcome(planned.image, Status.failed, planned.target, reason))
        return True
    for path, difference in differs.items():
        if difference:
            reason = (
                f"{path}: is there already and {difference}; use --overwrite to replace it or "
                "choose another --output"
            )
            conclude(Outcome(planned.image, Status.failed, None, reason))
            return True
    if len(there) < len(planned.targets):
        return False
    conclude(Outcome(planned.image, Status.skipped, planned.target, "finished already"))
    return True


def _difference(path: Path, record: Record) -> str:
    """How the output that is there differs from the one that would be made; empty if it is that."""
    found, expected = recorded(path), record.as_dict()
    if found == expected:
        return ""
    if found is None:
        return "was not made by restore"
    keys = [key for key in {**expected, **found} if found.get(key) != expected.get(key)]
    return f"was made with another {', '.join(keys)}"


def _named(error: W2SExportError, image: Input) -> str:
    text = str(error)
    if image.of > 1:
        return f"{image.label}: {text.removeprefix(f'{image.path}: ')}"
    return text if str(image.path) in text else f"{image.path}: {text}"
