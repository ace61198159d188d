"""Runs bioimageio.core's own test of packages in the worker, beside this process.

Elsewhere, because core unzips weights into the working directory, sets TensorFlow's random state
for good, and takes seconds to import: meanwhile this process compares outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from w2s_export.errors import WorkerError, WorkerStoppedError
from w2s_export.formats.artifact import Artifact
from w2s_export.io.temporary import temporary_folder
from w2s_export.rdf.reading import ONNX, SAVED_MODEL
from w2s_export.verify.worker.jobs import Jobs, job_program

TESTED = (ONNX, SAVED_MODEL, "keras_v3", "keras_hdf5")
"""Weights formats whose files can be looked into before core loads them."""


class Result(str, Enum):
    """What came of a test."""

    passed = "passed"
    failed = "failed"
    not_run = "not-run"
    """The weights are not given to core, or the test was stopped at a limit."""
    unavailable = "unavailable"
    """Core works here with no package."""

    @property
    def words(self) -> str:
        """For people."""
        return self.value.replace("-", " ")


@dataclass(frozen=True, slots=True)
class CoreTest:
    """What bioimageio.core said of one weights format of one package."""

    package: str
    """Name of the zip."""
    format: str
    """Weights format, a key of the rdf's `weights`."""
    result: Result
    errors: tuple[str, ...] = ()
    """What failed, or why it was not run."""
    seconds: float | None = None

    @property
    def passed(self) -> bool:
        """Whether core takes these weights."""
        return self.result is Result.passed


class CoreProgram:
    """A process that imports what it needs until it has packages.

    Start it with `core_program` as soon as there will be packages to test: of a small network half
    of the time is spent on imports.
    """

    def __init__(self, jobs: Jobs, formats: Sequence[str]) -> None:
        self._jobs, self._formats = jobs, formats
        self._given: list[tuple[Path, str, int]] = []

    def prepare(self, artifact: Artifact) -> None:
        """Let it import, and load a SavedModel that the packages will hold."""
        if artifact.format in self._formats:
            path = str(artifact.path.absolute()) if artifact.format == SAVED_MODEL else ""
            self._jobs.give("prepare", formats=list(self._formats), path=path)

    def test(self, packages: Sequence[Path]) -> CoreProgram:
        """Give it its only packages; `finish` waits for them."""
        self._given = [
            (package, name, give_test(self._jobs, package, name))
            for package in packages
            for name in self._formats
        ]
        return self

    def finish(self) -> tuple[CoreTest, ...]:
        """Wait for every test."""
        return tuple(
            core_test(package.name, name, self._jobs, number)
            for package, name, number in self._given
        )


def give_test(jobs: Jobs, package: Path, weights_format: str) -> int:
    """Hand a test over; the number of the job."""
    return jobs.give("test", package=str(package.absolute()), format=weights_format)


def core_test(package: str, weights_format: str, jobs: Jobs, number: int) -> CoreTest:
    """Wait for a test. A crash is a failure; one that was stopped says nothing of the package."""
    try:
        found = jobs.result(number)
    except WorkerError as error:
        stopped = isinstance(error, WorkerStoppedError)
        result = Result.not_run if stopped else Result.failed
        return CoreTest(package, weights_format, result, (str(error),))
    unmade = {"unavailable": Result.unavailable, "full": Result.unavailable}
    for key, result in {**unmade, "withheld": Result.not_run, "refused": Result.not_run}.items():
        if key in found:
            return CoreTest(package, weights_format, result, (found[key],))
    result = Result.passed if found["passed"] else Result.failed
    return CoreTest(package, weights_format, result, tuple(found["errors"]), found["seconds"])


@contextmanager
def core_program(
    reads: Sequence[Path], formats: Sequence[str] = (ONNX, SAVED_MODEL)
) -> Iterator[CoreProgram]:
    """Start the process; it ends with the block, finished or not.

    Args:
        reads: folders of the packages, or the packages.
        formats: keys of the rdf's `weights`.
    """
    with temporary_folder() as folder, job_program(folder / "core", reads) as jobs:
        yield CoreProgram(jobs, formats)
