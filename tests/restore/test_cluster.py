"""A scheduler and two workers on loopback, one of which is killed in mid-run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import active_children
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import tifffile

from tests.factories import Opener
from tests.inputs import checkpoint
from tests.restore.conftest import MakeNetwork
from tests.restore.test_zarr_output import contents
from w2s_export.config import PercentileNormalisation
from w2s_export.errors import ConfigError, MissingExtraError
from w2s_export.options import Distribution, ImageOptions
from w2s_export.restore import cluster, memory
from w2s_export.restore.batch import Progress, Status, restore_files
from w2s_export.restore.inputs import find

pytest.importorskip("zarr", reason="zarr is not installed")
distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")

OPTIONS = ImageOptions(engine="cpu", format="ome-zarr")


INTERRUPTED = """
import os, signal, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from w2s_export.restore.cluster import _begin, _interruptions_later
signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run in the background

pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=_begin, initargs=(os.getpid(),))
with _interruptions_later():
    began = pool.submit(os.getpid)
try:
    began.result() if sys.argv[1] == "waiting" else time.sleep(0.3)
    os.killpg(0, signal.SIGINT)  # as a terminal does
    time.sleep(60)
except KeyboardInterrupt:
    print("heard")
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("when", ["waiting", "beginning"])
def test_an_interruption_ends_the_workers_without_a_word(when: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, when],
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "heard\n", "")


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    address = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    command += ["--port", "0", "--no-dashboard", "--scheduler-file", str(address)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        import json

        deadline = time.monotonic() + 60
        while not address.exists() or not address.read_text():
            assert time.monotonic() < deadline, "the scheduler did not start"
            time.sleep(0.1)
        yield json.loads(address.read_text())["address"]
    finally:
        process.kill()
        process.wait()


def worker(scheduler: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler, "--no-nanny"]
    command += ["--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_worker_killed_in_mid_run_changes_nothing(
    box_network: MakeNetwork, tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "LARGEST_TILE", 256)  # one chunk a tile
    image = np.random.default_rng(0).integers(0, 4000, (2300, 2100)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", image)
    network = box_network(PercentileNormalisation())
    found = find([str(tmp_path / "a.tif")], tmp_path / "o").images
    opened = lambda _: network  # noqa: E731
    (alone,) = restore_files(found, tmp_path / "alone", Opener(network.model, opened), OPTIONS)
    assert alone.status is Status.restored

    workers = [worker(scheduler) for _ in range(2)]
    try:
        with distributed.Client(scheduler) as client:
            client.wait_for_workers(2, timeout=60)
        killed = 0

        def kill(progress: Progress) -> None:
            nonlocal killed
            if progress.done > progress.total / 4 and not killed:
                workers[0].kill()
                killed = progress.done

        (outcome,) = restore_files(
            found,
            tmp_path / "o",
            Opener(network.model, opened),
            OPTIONS,
            distribution=Distribution(scheduler=scheduler),
            progress=kill,
        )
        assert workers[0].wait(10) != 0
        assert 0 < killed < image.size
        assert outcome.status is Status.restored
        assert contents(tmp_path / "o") == contents(tmp_path / "alone")
        bad = image.astype(np.float32)
        bad[5, 5] = np.inf
        tifffile.imwrite(tmp_path / "a.tif", bad)
        (outcome,) = restore_files(
            found, tmp_path / "p", Opener(network.model, opened), OPTIONS,
            distribution=Distribution(scheduler=scheduler),
        )  # fmt: skip
        assert outcome.status is Status.failed
        assert "1 NaN or infinite" in outcome.reason
    finally:
        for process in workers:
            process.kill()
            process.wait()


def test_nobody_answers(
    box_network: MakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from w2s_export.restore import cluster

    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 0.2)
    tifffile.imwrite(tmp_path / "a.tif", np.eye(64, dtype=np.uint8))
    found = find([str(tmp_path / "a.tif")], tmp_path / "o").images
    network = box_network()
    for address in ("tcp://127.0.0.1:9", "no address at all"):
        with pytest.raises(ConfigError, match="does not answer"):
            restore_files(
                found, tmp_path / "o", Opener(network.model, lambda _: network), OPTIONS,
                distribution=Distribution(scheduler=address),
            )  # fmt: skip


def test_without_the_extra_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from w2s_export.restore.cluster import mapped_over

    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(MissingExtraError, match=r"w2s-export\[dask,zarr\]"),
        mapped_over(None, "tcp://127.0.0.1:9"),
    ):
        pass


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_own_workers_give_the_same_and_listen_nowhere(
    box_network: MakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them is killed on the way; its tiles are restored again."""
    monkeypatch.setattr(memory, "LARGEST_TILE", 256)
    image = np.random.default_rng(0).integers(0, 4000, (1100, 700)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", image)
    network = box_network(PercentileNormalisation())
    found = find([str(tmp_path / "a.tif")], tmp_path / "o").images
    opened = lambda _: network  # noqa: E731
    restore_files(found, tmp_path / "alone", Opener(network.model, opened), OPTIONS)
    seen: list[int] = []
    doors: list[object] = []

    def look(_: Progress) -> None:
        workers = psutil.Process().children(recursive=True)
        for process in (psutil.Process(), *workers):
            with suppress(psutil.NoSuchProcess):
                doors.extend(process.net_connections())
        if len(workers) > 1 and not seen:
            seen.extend(worker.pid for worker in workers)
            workers[-1].kill()

    (outcome,) = restore_files(
        found, tmp_path / "o", Opener(network.model, opened), OPTIONS,
        distribution=Distribution(workers=2), progress=look,
    )  # fmt: skip
    assert outcome.status is Status.restored
    assert contents(tmp_path / "o") == contents(tmp_path / "alone")
    assert seen
    assert doors == []


def test_a_script_without_a_main_guard_restores_with_workers(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path / "net.npz", strength=0.05)
    rng = np.random.default_rng(0)
    tifffile.imwrite(tmp_path / "a.tif", rng.integers(0, 4000, (96, 80)).astype(np.uint16))
    script = tmp_path / "script.py"
    script.write_text(
        "import w2s_export as w2s\n"
        'print("begun")\n'
        f"(made,) = w2s.restore({str(tmp_path / 'a.tif')!r}, weights={str(weights)!r},\n"
        f"    output={str(tmp_path / 'o')!r}, workers=2, format='ome-zarr', engine='cpu')\n"
        "print(made.status.value, made.reason)\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stdout.split() == ["begun", "restored"], done.stderr


def one_at_once_others_never(job: object, tile: int, threads: int) -> int:
    """In place of restoring a tile."""
    time.sleep(300 if tile else 0)
    return 0


def test_a_run_that_ends_before_its_tiles_does_not_wait_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = set(active_children())
    monkeypatch.setattr(cluster, "_in_process", one_at_once_others_never)
    job: Any = SimpleNamespace(network=SimpleNamespace(fast=None))
    tiles: Any = [0, 1, 2]
    results: Any = cluster._processes(2)(job, tiles)
    assert next(results) == (0, 0)
    started = set(active_children()) - others
    assert started
    results.close()  # as an interruption or a failure does
    for process in started:
        process.join(30)
        assert not process.is_alive()
