"""Tiles over the workers of a dask.distributed scheduler, or over processes of this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from w2s_export.errors import ConfigError, MissingExtraError, OutputError
from w2s_export.io.files import sha256_of
from w2s_export.restore.engines import open_engines
from w2s_export.restore.tiles import Tile
from w2s_export.restore.zarr_job import Mapper, TileJob, restore_one
from w2s_export.runtime.protocol import Runtime
from w2s_export.runtime.threads import usable_cores

if TYPE_CHECKING:
    import distributed

_opening = threading.Lock()
_sessions: dict[tuple[object, ...], Runtime] = {}

_CONNECT_SECONDS = 30
_RETRIES = 2
"""Of a tile whose worker fails, besides the moves to other workers that dask makes by itself."""


@contextmanager
def mapped_over(workers: int | None, scheduler: str | None) -> Iterator[Mapper]:
    """A mapper over the scheduler at an address, or over new local processes.

    Raises:
        ConfigError: no scheduler answers.
        MissingExtraError: dask.distributed is not installed.
    """
    try:
        import distributed
    except ImportError:
        raise MissingExtraError(
            "--workers and --scheduler need dask.distributed: python -m pip install "
            "'w2s-export[dask,zarr]'"
        ) from None
    if scheduler is None:
        cluster = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,  # the tile is chosen for the budget; dask would kill near its limit
            dashboard_address=None,
        )
        with cluster, distributed.Client(cluster) as client:
            yield _mapper(client, max(1, usable_cores() // (workers or 1)))
        return
    try:
        client = distributed.Client(scheduler, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"--scheduler {scheduler}: does not answer ({reason})") from None
    with client:
        yield _mapper(client, None)


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
                network, options.engine, threads, options.precision, options.memory, 0
            ).runtime
        return _sessions[key]
