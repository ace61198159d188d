"""Simulated fields made ahead of their use, by processes of their own.

Each process is this module, run by the same Python: it needs no `__main__` guard in the script that
trains, and forks no TensorFlow. It reads one number per line and answers each with a field.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import Frozen, Normalisation, parse_config
from w2s_export.errors import ConfigError, W2SExportError
from w2s_export.simulation.stream import SimulatedStream, simulated_field

_FIRST = 16  # fields that the first step may use: it need not wait for a whole pool
SimulatedField = tuple[NDArray[np.float32], NDArray[np.float32]]


class FieldPlan(Frozen):
    """All that decides the fields of a stream."""

    stream: SimulatedStream
    seed: int
    normalisation: Normalisation | None
    target_normalisation: Normalisation | None

    def field(self, number: int) -> SimulatedField:
        """One field, made here and now; see `simulated_field`."""
        how = (self.normalisation, self.target_normalisation)
        return simulated_field(self.stream, self.seed, number, *how)


class FieldPool:
    """The fields of the stream that a step may use, and those that the next steps will need.

    Close it, or use it as a context, to end the processes.
    """

    def __init__(self, plan: FieldPlan, workers: int, ahead: int = 32) -> None:
        """Start the processes when the first field is asked for.

        Args:
            plan: which fields.
            workers: processes; 0 makes them in this one.
            ahead: steps to make fields ahead for.
        """
        self._plan, self._ahead = plan, ahead
        self._processes: list[subprocess.Popen[bytes]] = []
        self._own = threading.local()
        self._apart = workers > 0
        self._threads = ThreadPoolExecutor(max(1, workers))
        self._futures: dict[int, Future[SimulatedField]] = {}

    def window(self, step: int) -> range:
        """Numbers of the fields that a step may use: few at first, then the newest `pool`."""
        stream = self._plan.stream
        last = _FIRST + int(step * stream.fresh)
        return range(max(0, last - stream.pool), last)

    def get(self, step: int, number: int) -> SimulatedField:
        """A field of the step's window; what is older is forgotten, what comes is begun."""
        wanted = range(self.window(step).start, self.window(step + self._ahead).stop)
        for old in [known for known in self._futures if known < wanted.start]:
            self._futures.pop(old).cancel()
        if number not in self._futures:  # first of all: somebody waits for it
            self._futures[number] = self._threads.submit(self._make, number)
        for coming in wanted:
            if coming not in self._futures:
                self._futures[coming] = self._threads.submit(self._make, coming)
        return self._futures[number].result()

    def _make(self, number: int) -> SimulatedField:
        if not self._apart:
            return self._plan.field(number)
        process = getattr(self._own, "process", None)
        if process is None:
            process = self._own.process = self._start()
        try:
            return _ask(process, number)
        except (OSError, ValueError) as error:
            raise W2SExportError(f"a process that simulates fields has died ({error})") from None

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, self._plan.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a terminal's Ctrl-C is for the process that trains
        )
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End the processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream:
                    stream.close()


def _ask(process: Any, number: int) -> SimulatedField:
    process.stdin.write(f"{number}\n".encode())
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    if "error" in answer:
        raise ConfigError(answer["error"])
    images = []
    for shape in answer["shapes"]:
        data = process.stdout.read(4 * int(np.prod(shape)))
        images.append(np.frombuffer(data, np.float32).reshape(shape))
    return images[0], images[1]


def main() -> None:
    """What a process does until its parent closes the pipe, or dies."""
    plan = parse_config(FieldPlan, json.loads(sys.argv[1]), "simulated")
    for line in sys.stdin:
        images: tuple[NDArray[np.float32], ...] = ()
        try:
            images = plan.field(int(line))
        except W2SExportError as error:
            answer: dict[str, object] = {"error": str(error)}
        else:
            answer = {"shapes": [image.shape for image in images]}
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        for image in images:
            sys.stdout.buffer.write(np.ascontiguousarray(image, np.float32).tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
