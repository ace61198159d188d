"""A runtime in a process of its own: runs graphs of others within limits (`io.worker`).

The program on the other side is any that calls `serve`. Batches travel as files.
"""

from __future__ import annotations

import json
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export import errors
from w2s_export.errors import W2SExportError, WorkerError
from w2s_export.foreign_text import shown
from w2s_export.io.temporary import temporary_folder
from w2s_export.io.worker import Limits, worker

OPENED = "opened.json"
_OPENING = 900.0
"""Seconds until a program has opened its file, and for each batch besides those of its pixels."""
_PER_PIXEL = 0.02
"""Seconds: the default network takes 0.004 on one slow core."""
_ANSWER = 0.002  # seconds between two looks for an answer
_YEAR = 365 * 86400.0

Run = Callable[[NDArray[np.float32]], NDArray[Any]]


class Served:
    """A program that runs batches: float32 NCHW in and out.

    Args:
        program: its module, whose `main` is told a folder to answer in, then `arguments`.
        arguments: handed to it.
        reads: what it may read.
        memory: bytes resident that it may take.
        fault: the error for what it refuses.

    Raises:
        W2SExportError: it does not open its file; the kind is the program's own.
    """

    def __init__(
        self,
        program: str,
        arguments: Sequence[str],
        reads: Sequence[Path],
        memory: int,
        fault: type[W2SExportError],
    ) -> None:
        self.name, self._fault, self._count = program.rpartition(".")[2], fault, 0
        with ExitStack() as stack:
            self.folder = stack.enter_context(temporary_folder())
            told = [str(self.folder), *arguments]
            limits = Limits(_YEAR, memory)
            run = stack.enter_context(worker(program, told, self.folder, limits, reads=reads))
            self._worker = run
            run.clock_from_now(_OPENING)
            self.opened = self._opened()
            """What the program tells of the file."""
            run.clock_from_now()
            self.name = str(self.opened["runtime"])
            self.close = weakref.finalize(self, stack.pop_all().close)

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Restore: (N, C, H, W) → (N, C', scale·H, scale·W).

        Raises:
            W2SExportError: the program refuses the batch, or it ended.
        """
        self._count += 1
        number = self._count
        given = self.folder / f"in-{number}.npy"
        np.save(given, np.ascontiguousarray(batch, np.float32))
        self._worker.clock_from_now(_OPENING + _PER_PIXEL * len(batch) * batch[0, 0].size)
        self._worker.tell(str(number).encode())
        made = self._answer(f"out-{number}.npy", f"out-{number}.json")
        self._worker.clock_from_now()
        try:
            if made.suffix == ".json":
                reason = json.loads(made.read_bytes())["refused"]
                named = reason.startswith(self.name)  # an engine of ours says all of it
                raise self._fault(reason if named else f"{self.name} cannot run it: {reason}")
            output: NDArray[np.float32] = np.load(made, allow_pickle=False)
            return output
        finally:
            made.unlink()
            given.unlink()

    def stop(self) -> None:
        """Give up the batch at work: its call fails, and every later one."""
        self._worker.end()

    def _opened(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._answer(OPENED).read_bytes())
        if "refused" in found:
            kind = getattr(errors, str(found["class"]), self._fault)
            raise (kind if issubclass(kind, W2SExportError) else self._fault)(found["refused"])
        return found

    def _answer(self, *names: str) -> Path:
        """Wait for a file.

        Raises:
            W2SExportError: the program ended without one.
        """
        paths = [self.folder / name for name in names]
        while True:
            ended = self._worker.ended
            found = next((path for path in paths if path.exists()), None)
            if found is not None:
                return found
            if ended:
                try:
                    self._worker.wait()
                    reason = "ended without an answer"
                except WorkerError as error:
                    reason = str(error)
                raise self._fault(f"its framework, in a process of its own, {reason}")
            time.sleep(_ANSWER)


def refuse(folder: Path, error: W2SExportError) -> None:
    """In the program: say why the file is not opened."""
    _put(folder / OPENED, json.dumps({"refused": str(error), "class": type(error).__name__}))


def serve(
    folder: Path, opened: dict[str, Any], run: Run, questions: Iterable[bytes] | None = None
) -> None:
    """In the program: tell what was opened, then run what is asked for.

    Args:
        folder: of the exchange.
        opened: told first.
        run: the runtime.
        questions: lines, by default of standard input; N means run in-N.npy and write out-N.npy,
            or out-N.json with the reason why not.
    """
    _put(folder / OPENED, json.dumps(opened))
    for line in sys.stdin.buffer if questions is None else questions:
        number = line.strip().decode()
        try:
            output = run(np.load(folder / f"in-{number}.npy", allow_pickle=False))
            with (folder / "writing").open("wb") as stream:
                np.save(stream, np.ascontiguousarray(output))
            (folder / "writing").replace(folder / f"out-{number}.npy")
        except Exception as error:  # whatever a framework raises: the file or the image is at fault
            _put(folder / f"out-{number}.json", json.dumps({"refused": shown(error, 400)}))


def _put(path: Path, content: str) -> None:
    beside = path.with_name("writing")
    beside.write_text(content, encoding="utf-8")
    beside.replace(path)
