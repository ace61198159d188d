"""Reads and writes beside computing: a few things under way at once, results in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from w2s_export.io.source import Source
from w2s_export.runtime.protocol import Runtime, Stoppable

AHEAD = 2
"""Things begun before the first is finished: one is read and one written while one is computed."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], stop: Callable[[], None]
) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, from threads, in the order of the items.

    What fails is raised in its turn, and what follows it is not begun.

    Args:
        work: done to each item.
        items: taken from the calling thread, when their turn comes.
        stop: called when the user interrupts, to make what is under way give up.
    """
    pending: deque[tuple[Item, Future[Result]]] = deque()

    def first() -> tuple[Item, Result]:
        item, future = pending.popleft()
        return item, future.result()

    with ThreadPoolExecutor(AHEAD + 1) as pool:
        try:
            for item in items:
                pending.append((item, pool.submit(work, item)))
                if len(pending) > AHEAD:
                    yield first()
            while pending:
                yield first()
        except (KeyboardInterrupt, SystemExit):
            stop()
            raise
        finally:
            for _, future in pending:
                future.cancel()


class SharedSource:
    """A source that threads share: it reads for one at a time."""

    def __init__(self, source: Source) -> None:
        self.layout = source.layout
        self._read, self._lock = source.read, threading.Lock()

    def read(self, t: int, z: int, c: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Part of a plane as stored: (samples, h, w)."""
        with self._lock:
            return self._read(t, z, c, rows, columns)


class SerialRuntime:
    """A runtime that threads share: it computes for one at a time, with all its own threads."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._lock = threading.Lock()
        self._stopped = False

    @property
    def name(self) -> str:
        """Of what computes."""
        return self.runtime.name

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Restore: (N, C, H, W) → (N, C', scale·H, scale·W).

        Raises:
            KeyboardInterrupt: the run has been stopped.
        """
        with self._lock:
            if self._stopped:
                raise KeyboardInterrupt
            return self.runtime(batch)

    def stop(self) -> None:
        """Let whoever waits or computes give up: the user has interrupted the run."""
        self._stopped = True
        if isinstance(self.runtime, Stoppable):
            self.runtime.stop()
