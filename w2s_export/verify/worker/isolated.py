"""Runs weights of anybody's making on arrays, in the worker, which may crash, hang or be refused.

Nothing of a package runs in this process, and in the other only its graph of numbers: no Python of
the package, no custom operators, no operation that touches files (`program`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import OutputError, PackageError, WorkerError, WorkerStoppedError
from w2s_export.verify.worker.jobs import Jobs

Arrays = tuple[NDArray[np.float32], ...]


class NotRunError(PackageError):
    """Weights that are not run here, or were stopped: how clients take them is not known."""


@dataclass(frozen=True, slots=True)
class Job:
    """A weights file and what to run through it."""

    weights_format: str
    path: Path
    input_ids: tuple[str, ...]
    output_ids: tuple[str, ...]
    cases: tuple[Arrays, ...]
    """For each case an array for each input."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a weights file made of its cases."""

    runtime: str
    """Program and version."""
    cases: tuple[Arrays, ...]


def give_run(jobs: Jobs, job: Job) -> int:
    """Hand a job over; its number."""
    arrays = {
        f"{case}-{index}": array
        for case, inputs in enumerate(job.cases)
        for index, array in enumerate(inputs)
    }
    np.savez(jobs.folder / "inputs.npz", **arrays)  # type: ignore[arg-type]
    return jobs.give(
        "run",
        format=job.weights_format,
        path=str(job.path.absolute()),
        inputs="inputs.npz",
        input_ids=job.input_ids,
        output_ids=job.output_ids,
        cases=[len(inputs) for inputs in job.cases],
    )


def run_outputs(jobs: Jobs, number: int) -> Outputs:
    """Wait for the outputs.

    Raises:
        PackageError: the runtime refuses them, or crashes.
        NotRunError: withheld, too slow or too large.
        OutputError: the disk is full.
    """
    try:
        result = jobs.result(number)
    except WorkerError as error:
        kind = NotRunError if isinstance(error, WorkerStoppedError) else PackageError
        raise kind(str(error)) from None
    if "withheld" in result:
        raise NotRunError(result["withheld"])
    if "full" in result:
        raise OutputError(result["full"])
    if "refused" in result:
        raise PackageError(result["refused"])
    with np.load(jobs.folder / result["outputs"], allow_pickle=False) as archive:
        cases = tuple(
            tuple(archive[f"{case}-{index}"] for index in range(count))
            for case, count in enumerate(result["counts"])
        )
    return Outputs(result["runtime"], cases)
