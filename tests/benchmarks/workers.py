"""How far restoration scales over workers: real ones up to the cores, then ones that only wait.

Beyond the cores of this machine nothing can be computed in parallel, but the scheduler can be
measured: up to 64 workers of a dask scheduler on the loopback interface take tiles, wait as long as
a tile takes, and answer. What is lost is what handing out tiles costs, and the end, at which some
workers have a tile more than others.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.topic import Topic, measured
from w2s_export.runtime.threads import usable_cores

TILE_SECONDS = 2.8
"""What a waiting worker takes for a tile: the default network on one of 512², two cores, AVX2."""
APART = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "1h",
}
"""Settings of dask: here workers share a process, elsewhere their monitors cost another machine."""
EACH = 8
"""Tiles of each worker."""
SIDE = 1024
MEMORY = 600 << 20
"""Bytes for each worker that computes: tiles of 256²."""


def measure(quick: bool) -> list[Topic]:
    """Real workers, and waiting ones."""
    real = [_real(measured("workers", "real", count)) for count in range(1, usable_cores() + 1)]
    for row in real:
        row["efficiency"] = f"{real[0]['time, s'] / row['workers'] / row['time, s']:.0%}"
    waiting = measured("workers", "waiting", 8 if quick else 64)["seconds"]
    rows = [
        {
            "workers": int(count),
            "tiles": int(count) * EACH,
            "time, s": round(seconds, 2),
            "efficiency": f"{EACH * TILE_SECONDS / seconds:.1%}",
            "CPU per tile, ms": round(1e3 * busy / int(count) / EACH, 1),
        }
        for count, (seconds, busy) in waiting.items()
    ]
    return [
        Topic(
            "Workers that compute",
            real,
            f"`restore --workers N --format ome-zarr` of {SIDE}² by the default network, from the "
            "list of files to the last tile, the workers' start included; one thread each.",
        ),
        Topic(
            "Workers that wait: what the scheduler costs",
            rows,
            f"`--scheduler` on loopback, each tile {TILE_SECONDS} s, {EACH} tiles per worker. "
            "CPU: of scheduler, client and all workers, which are threads of one process here.",
        ),
    ]


def _real(result: dict[str, Any]) -> dict[str, Any]:
    return {"workers": result["workers"], "time, s": round(result["seconds"], 2)}


def _restore_with(workers: int) -> dict[str, Any]:
    """One image by real workers of one thread."""
    import tifffile

    from tests.factories import Opener
    from w2s_export.options import Distribution, ImageOptions
    from w2s_export.package.network import read_weights
    from w2s_export.resources import DEFAULT_MODEL, asset
    from w2s_export.restore.batch import Status, restore_files
    from w2s_export.restore.inputs import find

    with tempfile.TemporaryDirectory() as temporary:
        image, output = Path(temporary) / "noise.tif", Path(temporary) / "out"
        pixels = np.random.default_rng(0).integers(100, 900, (SIDE, SIDE)).astype(np.uint16)
        tifffile.imwrite(image, pixels, tile=(256, 256))
        bare = read_weights(asset(f"models/{DEFAULT_MODEL}/weights.npz"))
        ready = bare.open(Path(temporary))
        memory = workers * MEMORY  # so that tiles are the same
        options = ImageOptions(engine="cpu", threads=1, memory=memory, format="ome-zarr")
        begun = time.perf_counter()
        (outcome,) = restore_files(
            find([str(image)], output).images, output, Opener(bare.model, lambda _: ready),
            options,
            distribution=Distribution(workers=workers),
        )  # fmt: skip
        seconds = time.perf_counter() - begun
        assert outcome.status is Status.restored, outcome.reason
    return {"workers": workers, "seconds": seconds}


def _wait(_job: object, _tile: object, _threads: object) -> int:
    time.sleep(TILE_SECONDS)
    return 0


def _waiting(most: int) -> dict[str, Any]:
    """Seconds, and those computed, by the number of workers, each with as many tiles."""
    import dask
    import distributed

    from w2s_export.restore import cluster

    dask.config.set(APART)
    room: Any = cluster
    room._on_worker = _wait  # instead of restoring
    seconds: dict[int, tuple[float, float]] = {}
    count = 1
    while count <= most:
        local = distributed.LocalCluster(
            n_workers=count, threads_per_worker=1, processes=False, protocol="tcp://",
            dashboard_address=None,
        )  # fmt: skip
        with local, distributed.Client(local) as client:
            restore = room._mapper(client, 1)
            list(restore(None, range(count)))  # connections are made
            begun, busy = time.perf_counter(), time.process_time()
            done = list(restore(None, range(count * EACH)))
            seconds[count] = time.perf_counter() - begun, time.process_time() - busy
            assert len(done) == count * EACH
        count *= 2
    return {"seconds": seconds}


def main(kind: str, count: int) -> None:
    """Measure one kind and print it."""
    print(json.dumps(_restore_with(count) if kind == "real" else _waiting(count)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
