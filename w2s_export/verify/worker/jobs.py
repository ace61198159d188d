"""Gives jobs to the one program in which foreign data is run, and collects what came of them.

Nothing of a package runs in this process, and in the other only its graph of numbers: no Python of
the package, no custom operators, no operation that touches files (`program`).

The process is confined by `io.worker`: bounded in time, memory and file sizes, without network or
other programs, with no files but those it is given, and dead when this process is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import (
    OutputError,
    PackageError,
    WithheldError,
    WorkerError,
    WorkerStoppedError,
)
from w2s_export.io.worker import Limits, Worker, memory_limit, worker

TIME_LIMIT = 900.0
"""Seconds from the last job on. The default model takes about 10 with TensorFlow's start, 23 blocks
about 40 on two cores."""
MOST_FILE = 2 << 30
"""Bytes of a file that a worker writes: outputs, unpacked weights."""

ENVIRONMENT = {
    # Without AVX-512 oneDNN takes 2.5 times as long over 23 blocks (7.4 against 2.9 s).
    "TF_ENABLE_ONEDNN_OPTS": "0",
}


Arrays = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a weights file made of its cases."""

    runtime: str
    """Program and version."""
    cases: tuple[Arrays, ...]


class Jobs:
    """A program under way that takes jobs, one after the other."""

    def __init__(self, process: Worker, folder: Path) -> None:
        self._process, self.folder, self._count = process, folder, 0
        self._failure: WorkerError | None = None
        self._ended = False

    def give(self, do: str, **what: Any) -> int:
        """Hand over a job; its number."""
        self._count += 1
        job = {"number": self._count, "do": do, **what}
        self._process.tell(json.dumps(job).encode())
        self._process.clock_from_now()
        return self._count

    def result(self, number: int) -> dict[str, Any]:
        """What came of a job, waiting for the end of all.

        Raises:
            WorkerStoppedError: it was stopped at a limit.
            WorkerError: it crashed.
        """
        if not self._ended:
            self._end()
        try:
            found: dict[str, Any] = json.loads((self.folder / f"{number}.json").read_bytes())
        except (OSError, ValueError):
            raise self._failure or WorkerError("has no result") from None
        return found

    def outputs(self, number: int) -> Outputs:
        """What weights made of their cases, waiting for the end of all.

        Raises:
            PackageError: the runtime refuses them, or crashes.
            WithheldError: not run here, too slow or too large.
            OutputError: the disk is full.
        """
        try:
            result = self.result(number)
        except WorkerError as error:
            kind = WithheldError if isinstance(error, WorkerStoppedError) else PackageError
            raise kind(str(error)) from None
        kinds = {"withheld": WithheldError, "full": OutputError, "refused": PackageError}
        for key, refusal in kinds.items():
            if key in result:
                raise refusal(result[key])
        with np.load(self.folder / result["outputs"], allow_pickle=False) as archive:
            cases = tuple(
                tuple(archive[f"{case}-{index}"] for index in range(count))
                for case, count in enumerate(result["counts"])
            )
        return Outputs(result["runtime"], cases)

    def _end(self) -> None:
        self._process.tell(b"{}", last=True)
        self._ended = True
        try:
            self._process.wait()
        except WorkerError as error:
            self._failure = error


@contextmanager
def job_program(folder: Path, reads: Sequence[Path]) -> Iterator[Jobs]:
    """Start the program, which writes to a folder that is made; it ends with the block."""
    variables: Mapping[str, str] = {**ENVIRONMENT, "BIOIMAGEIO_CACHE_PATH": str(folder / "cache")}
    module, limits = f"{__package__}.program", Limits(TIME_LIMIT, memory_limit(), MOST_FILE)
    arguments = [str(folder.absolute())]
    with worker(module, arguments, folder, limits, reads=reads, environment=variables) as process:
        yield Jobs(process, folder)
