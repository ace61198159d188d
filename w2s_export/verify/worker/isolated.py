"""Runs weights of anybody's making in a process of their own, which may crash, hang or be refused.

Nothing of a package runs in this process, and in the other only its graph of numbers: no Python of
the package, no custom operators, no operation that touches files (`program`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import PackageError
from w2s_export.verify.worker.environment import worker_environment

TIME_LIMIT = 600.0
"""Seconds for all inputs of one weights file. The default model takes about 10 with TensorFlow's
start."""
MEMORY_LIMIT = 32 << 30
"""Bytes of address space; TensorFlow reserves several GiB that it never uses."""

Arrays = tuple[NDArray[np.float32], ...]


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


class Running:
    """A job under way; `finish` waits for it."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, job: Job) -> None:
        self._process, self._folder, self._job = process, folder, job

    def finish(self) -> Outputs:
        """Wait for the outputs.

        Raises:
            PackageError: refused, crashed, too slow or too large.
        """
        try:
            code = self._process.wait(TIME_LIMIT)
        except subprocess.TimeoutExpired:
            raise PackageError(f"had not finished after {TIME_LIMIT:g} s") from None
        try:
            result = json.loads((self._folder / "result.json").read_bytes())
        except (OSError, ValueError):
            log = (self._folder / "log").read_text("utf-8", "replace").split()
            reason = " ".join(log)[-300:] or f"exit code {code}"
            raise PackageError(f"the runtime crashed: {reason}") from None
        if "refused" in result:
            raise PackageError(result["refused"])
        with np.load(self._folder / "outputs.npz", allow_pickle=False) as archive:
            cases = tuple(
                tuple(archive[f"{case}-{index}"] for index in range(count))
                for case, count in enumerate(result["counts"])
            )
        return Outputs(result["runtime"], cases)


@contextmanager
def running(jobs: Sequence[Job]) -> Iterator[tuple[Running, ...]]:
    """Start every job; those that have not finished when the block ends are killed."""
    with tempfile.TemporaryDirectory(prefix="w2s-export-run-") as temporary:
        started: list[tuple[subprocess.Popen[bytes], Running]] = []
        try:
            for number, job in enumerate(jobs):
                folder = Path(temporary) / str(number)
                (folder / "scratch").mkdir(parents=True)
                started.append(_start(job, folder))
            yield tuple(run for _, run in started)
        finally:
            for process, _ in started:
                if process.poll() is None:
                    process.kill()
                process.wait()


def _start(job: Job, folder: Path) -> tuple[subprocess.Popen[bytes], Running]:
    arrays = {
        f"{case}-{index}": array
        for case, inputs in enumerate(job.cases)
        for index, array in enumerate(inputs)
    }
    np.savez(folder / "inputs.npz", **arrays)  # type: ignore[arg-type]
    request = {
        "format": job.weights_format,
        "path": str(job.path.absolute()),
        "inputs": job.input_ids,
        "outputs": job.output_ids,
        "cases": [len(inputs) for inputs in job.cases],
        "memory": MEMORY_LIMIT,
    }
    (folder / "job.json").write_text(json.dumps(request), encoding="utf-8")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.program", str(folder)],
            cwd=folder / "scratch",
            env=worker_environment(TMPDIR=str(folder / "scratch")),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    return process, Running(process, folder, job)
