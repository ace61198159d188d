"""Restores a list of images: finished ones skipped, bad ones reported, the rest done."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from w2s_export.errors import (
    ConfigError,
    ImageError,
    MissingExtraError,
    OutputError,
    W2SExportError,
)
from w2s_export.io.files import sha256_of
from w2s_export.restore.image import Options, Plan, Restored, plan, record_of, restore_to_tiff
from w2s_export.restore.inputs import Input
from w2s_export.restore.network import Model, Network
from w2s_export.restore.output import claimed
from w2s_export.restore.record import recorded
from w2s_export.restore.zarr_job import Mapper, in_this_process, restore_to_zarr, session

logger = logging.getLogger(__name__)


class Status(Enum):
    """What became of an image."""

    restored = "restored"
    skipped = "skipped"
    """It was finished already."""
    failed = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image."""

    source: Path
    status: Status
    target: Path | None
    reason: str = ""
    """Why it failed or was skipped."""
    restored: Restored | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Told of every tile."""

    source: Path
    file: int
    files: int
    done: int
    """Input pixels restored so far, of all images."""
    total: int


@dataclass(frozen=True, slots=True)
class Distribution:
    """Where tiles of Zarr outputs are restored; by default in this process."""

    workers: int | None = None
    """Processes on this machine."""
    scheduler: str | None = None
    """Address of a dask scheduler."""

    def __bool__(self) -> bool:
        return self.workers is not None or self.scheduler is not None


OpenNetwork = Callable[[Path], Network]
"""Makes the network ready to run, its files in the given folder."""


def restore_files(
    images: Sequence[Input],
    output: Path,
    model: Model,
    open_network: OpenNetwork,
    options: Options,
    *,
    distribution: Distribution = Distribution(),
    progress: Callable[[Progress], None] = lambda _: None,
    finished: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Restore every image into the folder. The network is opened if there is anything to do.

    Args:
        images: from `inputs.find`.
        output: folder for the results, made if missing.
        model: the network's description.
        open_network: called once at most.
        options: how to restore.
        distribution: where tiles are restored.
        progress: told of every tile.
        finished: told of every image.

    Returns:
        One outcome an image, in their order.

    Raises:
        ConfigError: a memory budget too small for any tile, or no scheduler.
        MissingExtraError: a library is not installed.
        OutputError: the temporary folder cannot be written.
        W2SExportError: the network cannot be used.
    """
    outcomes: dict[Path, Outcome] = {}

    def conclude(outcome: Outcome) -> None:
        outcomes[outcome.source] = outcome
        finished(outcome)

    plans: list[Plan] = []
    for image in images:
        try:
            planned = plan(image, output, model, options)
            if _is_finished(planned, model, options):
                reason = "finished already"
                conclude(Outcome(image.path, Status.skipped, planned.target, reason))
            else:
                plans.append(planned)
        except (ImageError, OutputError) as error:
            conclude(Outcome(image.path, Status.failed, None, str(error)))
    if distribution and any(planned.format != "ome-zarr" for planned in plans):
        raise ConfigError(
            "--workers and --scheduler restore tiles of OME-Zarr outputs; add --format ome-zarr"
        )
    if plans:
        with tempfile.TemporaryDirectory(prefix="w2s-export-") as folder:
            try:
                network = open_network(Path(folder))
            except OSError as error:
                reason = f"cannot be written: {error.strerror}; set TMPDIR to a folder with space"
                raise OutputError(f"{folder}: {reason}") from None
            with _mapper(distribution) as mapper:
                _restore_all(plans, network, options, mapper, progress, conclude)
    return [outcomes[image.path] for image in images]


def _mapper(distribution: Distribution) -> Any:
    if not distribution:
        return nullcontext(in_this_process)
    from w2s_export.restore.cluster import mapped_over

    return mapped_over(distribution.workers, distribution.scheduler)


def _restore_all(
    plans: list[Plan],
    network: Network,
    options: Options,
    mapper: Mapper,
    progress: Callable[[Progress], None],
    conclude: Callable[[Outcome], None],
) -> None:
    total, done = sum(planned.pixels for planned in plans), 0
    for number, planned in enumerate(plans, 1):
        source, begun, before = planned.image.path, time.perf_counter(), done

        def step(pixels: int, source: Path = source, number: int = number) -> None:
            nonlocal done
            done += pixels
            progress(Progress(source, number, len(plans), done, total))

        try:
            restored = _restore(planned, network, options, mapper, step)
        except (ConfigError, MissingExtraError):  # the same for every image
            raise
        except W2SExportError as error:
            conclude(Outcome(source, Status.failed, planned.target, _named(error, source)))
        except MemoryError:
            reason = f"{source}: does not fit in memory; allow less with --memory, or crop it"
            conclude(Outcome(source, Status.failed, planned.target, reason))
        else:
            spent = round(time.perf_counter() - begun, 3)
            conclude(Outcome(source, Status.restored, planned.target, "", restored, spent))
        done = before + planned.pixels


def _restore(
    planned: Plan, network: Network, options: Options, mapper: Mapper, step: Callable[[int], None]
) -> Restored:
    with claimed(planned.target) as part:
        record = record_of(planned, network.model, options)
        if planned.format == "ome-zarr":
            return restore_to_zarr(planned, part, network, options, record, step, mapper)
        runtime = session(network.onnx, sha256_of(network.onnx), options.engine, options.threads)
        return restore_to_tiff(planned, part, network, runtime, options, record, step)


def _is_finished(planned: Plan, model: Model, options: Options) -> bool:
    """Whether the output is there, made from this image in this way.

    Raises:
        OutputError: something else is in its place.
    """
    if not planned.target.exists() or options.overwrite:
        return False
    found, expected = recorded(planned.target), record_of(planned, model, options).as_dict()
    if found == expected:
        return True
    if found is None:
        differs = "was not made by restore"
    else:
        keys = [key for key in expected if found.get(key) != expected[key]]
        differs = f"was made with another {', '.join(keys)}"
    raise OutputError(
        f"{planned.target}: is there already and {differs}; use --overwrite to replace it or "
        "choose another --output"
    )


def _named(error: W2SExportError, source: Path) -> str:
    text = str(error)
    return text if str(source) in text else f"{source}: {text}"
