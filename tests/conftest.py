"""What every test process starts with.

The modules with a mark `xdist_group` share something that takes long to make: one process has all
their tests.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import pytest

# `export` sets it too, but a process that has loaded TensorFlow before does not heed it: with
# oneDNN the same input does not always give the same bytes.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"


def _take_one_core() -> None:
    """Where every core has a process of tests: threads of all on all only wait for each other."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if int(os.environ["PYTEST_XDIST_WORKER_COUNT"]) >= len(cores):
            os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


_take_one_core()


gc.disable()  # imports leave none


def pytest_collection_finish() -> None:
    """Look for garbage seldom, and not among what the tests' modules have imported, which is much.

    As often as Python does by itself it takes a twentieth of all time.
    """
    gc.freeze()
    gc.set_threshold(20_000)
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What runs on this machine have found out is neither used nor added to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def first_package(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The folder in which the tutorial `first-package` was followed, and how many commands it has.

    It exports as the README's first command does, into `first`. Tests that share it stand in the
    group `default-model`.
    """
    from tests.tutorials import follow

    folder = tmp_path_factory.mktemp("tutorial")
    return folder, follow("first-package", folder, core_in=["export"])


@pytest.fixture
def core_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tests.core_unasked`, for one test."""
    from tests.core_unasked import leave_core_out

    leave_core_out(monkeypatch)


class _Here:
    """A worker's program in a thread of this process."""

    pid = 0

    def __init__(self, module: str, arguments: Sequence[str], folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._questions: SimpleQueue[bytes | None] = SimpleQueue()
        main = import_module(module).main
        given = [list(arguments)]
        if module.endswith("foreign_program"):
            given.append(iter(self._questions.get, None))
        self._thread = Thread(target=main, args=given, daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def clock_from_now(self, seconds: float | None = None) -> None:
        pass

    def tell(self, line: bytes) -> None:
        self._questions.put(line)

    def wait(self) -> None:
        self._thread.join()

    def end(self) -> None:
        self._questions.put(None)
        self._thread.join()


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Foreign files are read here: what is read matters, not who reads it.

    A worker imports TensorFlow anew, for five seconds and more each time, or PyTorch, for ten.
    `sources/test_files.py`, `sources/test_hostile.py` and `test_cli.py` have the worker. PyTorch is
    not loaded beside TensorFlow: it has a process that is loaded once.
    """
    from tests.torch_process import TorchProcess
    from w2s_export.runtime import in_worker
    from w2s_export.sources import isolated

    apart = isolated.worker

    @contextmanager
    def here(
        module: str, arguments: Sequence[str], folder: Path, *limits: Any, **files: Any
    ) -> Iterator[Any]:
        if module.endswith("engine_program"):
            with apart(module, arguments, folder, *limits, **files) as run:
                yield run
            return
        kind = TorchProcess if "torch_network" in arguments else _Here
        run = kind(module, arguments, folder)
        try:
            yield run
        finally:
            run.end()

    monkeypatch.setattr(in_worker, "worker", here)
    monkeypatch.setattr(isolated, "worker", here)
