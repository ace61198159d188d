"""Tiles over the workers of a dask.distributed scheduler, or over processes of this machine."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from w2s_export.errors import ConfigError, MissingExtraError, OutputError
from w2s_export.io.files import sha256_of
from w2s_export.io.worker import die_with
from w2s_export.restore.engines import open_engines
from w2s_export.restore.tiles import Tile
from w2s_export.restore.zarr_job import Mapper, TileJob, restore_one
from w2s_export.runtime.protocol import Runtime
from w2s_export.runtime.threads import usable_cores

if TYPE_CHECKING:
    import distributed

_log = logging.getLogger(__name__)
_opening = threading.Lock()
_sessions: dict[tuple[object, ...], Runtime] = {}

_CONNECT_SECONDS = 30
_RETRIES = 2
"""Of a tile whose worker fails; dask besides moves tiles to other workers by itself."""


@contextmanager
def mapped_over(workers: int | None, scheduler: str | None) -> Iterator[Mapper]:
    """A mapper over the scheduler at an address, or over new processes of this machine.

    The processes talk with this one through pipes: nothing listens, so nobody else can give them
    work. A scheduler is another matter: whoever can reach it can run programs as its workers'
    user, and whoever runs it can read and change what is restored.

    Raises:
        ConfigError: no scheduler answers.
        MissingExtraError: dask.distributed is not installed.
    """
    if scheduler is None:
        yield _processes(workers or 1)
        return
    try:
        import distributed
    except ImportError:
        raise MissingExtraError(
            '--scheduler needs dask.distributed: python -m pip install "w2s-export[dask,zarr]"'
        ) from None
    if not scheduler.startswith("tls://"):
        _log.warning(
            "--scheduler %s: the connection is neither encrypted nor authenticated; whoever "
            "reaches that scheduler can run programs as you on its workers. Use it in a network "
            "you trust, or dask's tls:// addresses",
            scheduler,
        )
    log = logging.getLogger("distributed")
    level = log.level
    log.setLevel(logging.ERROR)  # a line per handshake
    try:
        try:
            client = distributed.Client(scheduler, timeout=_CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"--scheduler {scheduler}: does not answer ({reason})") from None
        with client:
            yield _mapper(client, None)
    finally:
        log.setLevel(level)


def _processes(workers: int) -> Mapper:
    """A mapper over processes that end with this one; a tile whose process dies is done again.

    They are killed where the run ends before its tiles, which they would finish first: minutes.
    """
    threads = max(1, usable_cores() // workers)

    def restore(job: TileJob, tiles: list[Tile]) -> Iterator[tuple[Tile, int]]:
        sent, left = _portable(job), dict.fromkeys(tiles)
        for _ in range(1 + _RETRIES):
            others = set(active_children())
            pool = ProcessPoolExecutor(
                workers, get_context("spawn"), initializer=_begin, initargs=(os.getpid(),)
            )
            try:
                with _without_main(), _interruptions_later():
                    futures = {pool.submit(_in_process, sent, tile, threads): tile for tile in left}
                for future in as_completed(futures):
                    clipped = future.result()
                    del left[futures[future]]
                    yield futures[future], clipped
                return
            except BrokenProcessPool:
                _log.warning("a worker ended; its tiles are restored again")
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in set(active_children()) - others if left else ():
                    process.kill()
        raise OutputError(
            "the workers of --workers keep ending, perhaps for want of memory; give fewer "
            "--workers or less --memory"
        )

    return restore


@contextmanager
def _without_main() -> Iterator[None]:
    """Start processes that do not run the user's script again: they need nothing of it.

    Otherwise a script without `if __name__ == "__main__"` would restore in each process once more.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _interruptions_later() -> Iterator[None]:
    """Start processes that hear of Ctrl-C when they have begun: until then Python would complain.

    A terminal interrupts all that runs in it. Windows has no such thing.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(parent: int) -> None:
    """In a process of the pool: it ends with its parent, and by Ctrl-C at once, without a word."""
    die_with(parent)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _portable(job: TileJob) -> TileJob:
    """The job without what only this process can call: the fast graph as a file."""
    make = job.network.fast
    if make is None:
        return job
    return replace(job, network=replace(job.network, fast=partial(Path, make())))


def _in_process(job: TileJob, tile: Tile, threads: int) -> int:
    return restore_one(job, tile, _session(job, job.options.threads or threads))


def _mapper(client: distributed.Client, threads: int | None) -> Mapper:
    from distributed import as_completed

    def restore(job: TileJob, tiles: list[Tile]) -> Iterator[tuple[Tile, int]]:
        shared = client.scatter(job, broadcast=False, hash=False) if tiles else job
        futures = {
            client.submit(_on_worker, shared, tile, threads, pure=False, retries=_RETRIES): tile
            for tile in tiles
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            client.cancel(list(futures), force=True)

    return restore


def _on_worker(job: TileJob, tile: Tile, threads: int | None) -> int:
    """Restore a tile with as many threads as the worker was given."""
    from distributed import get_worker

    chosen = job.options.threads or threads or get_worker().state.nthreads
    return restore_one(job, tile, _session(job, chosen))


def _session(job: TileJob, threads: int) -> Runtime:
    """The one session of this worker, for its threads one after the other.

    Raises:
        OutputError: the file is not the one that was sent.
    """
    network, options = job.network, job.options
    key = (network.onnx, job.network_sha256, options.engine, threads, options.precision)
    with _opening:
        if key not in _sessions:
            if sha256_of(network.onnx) != job.network_sha256:
                raise OutputError(
                    f"{network.onnx}: has been changed since the run began; start it again"
                )
            _sessions.clear()
            _sessions[key] = open_engines(
                network, options.engine, threads, options.precision, job.memory, 0
            ).runtime
        return _sessions[key]
