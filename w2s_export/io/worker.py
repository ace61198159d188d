"""Runs a program of ours on foreign data in a process of its own, which may crash, hang or grow.

The process is bounded in time, resident memory and file size, and dies with the one that started
it. Where the kernel allows it has no network, starts no program, and sees only Python's own files,
what it is given to read and its own folder (seccomp and Landlock, Linux 5.13:
`confine.protections`).

    python -m w2s_export.io.worker SETTINGS MODULE [ARGUMENT …]

is what `worker` starts: it confines itself, then runs MODULE's `main(arguments)`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import site
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import w2s_export
from w2s_export.errors import WorkerError, WorkerStoppedError
from w2s_export.io import confine
from w2s_export.io.memory import free_bytes

_POLL = 0.05
"""Seconds between two looks at a worker's memory: it may outgrow its limit for that long."""


MOST_MEMORY = 8 << 30
"""Bytes resident. The default model's test takes 0.9 GB, 23 blocks on 256 × 256 pixels 1.5 GB."""


def memory_limit() -> int:
    """Bytes resident that one worker may take: what is free here, at most `MOST_MEMORY`."""
    return int(min(MOST_MEMORY, max(1 << 30, 0.8 * free_bytes())))


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker may take."""

    seconds: float
    """From its start, or from the last `Worker.clock_from_now`."""
    memory: int
    """Bytes resident."""
    file_size: int = 8 << 30
    """Bytes of each file it writes."""


class Worker:
    """A program under way."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, limits: Limits) -> None:
        self._process, self._log, self._limits = process, log, limits
        self._stopped = ""
        self.clock_from_now()
        threading.Thread(target=self._watch, name="w2s-export-worker", daemon=True).start()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the program is through, for whatever reason."""
        return self._process.poll() is not None

    def clock_from_now(self, seconds: float | None = None) -> None:
        """Count the seconds from now, those of its limits by default: it waited for its job."""
        self._seconds = self._limits.seconds if seconds is None else seconds
        self._end = time.monotonic() + self._seconds

    def tell(self, line: bytes, *, last: bool = False) -> None:
        """Write a line to its standard input, and close that after the last one."""
        stdin = self._process.stdin
        with suppress(OSError, ValueError):  # it has ended already, which `wait` reports
            if stdin is not None:
                stdin.write(line + b"\n")
                stdin.close() if last else stdin.flush()

    def wait(self) -> None:
        """Wait for its end.

        Raises:
            WorkerStoppedError: it was stopped at a limit.
            WorkerError: it crashed.
        """
        code = self._process.wait()
        if self._stopped:
            raise WorkerStoppedError(self._stopped)
        if code:
            words = self._last_words() if code > 0 else ""  # a signal leaves addresses
            raise WorkerError(f"crashed ({_exit_text(code)}): {words}".rstrip(": "))

    def end(self) -> None:
        """Kill it if it has not ended."""
        if self._process.poll() is None:
            self._process.kill()
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        self._process.wait()

    def _last_words(self) -> str:
        with suppress(OSError), self._log.open("rb") as stream:
            stream.seek(max(0, self._log.stat().st_size - 4096))
            return " ".join(stream.read().decode("utf-8", "replace").split())[-300:]
        return ""

    def _watch(self) -> None:
        import psutil

        limits = self._limits
        with suppress(psutil.Error):
            process = psutil.Process(self.pid)
            while self._process.poll() is None:
                if time.monotonic() > self._end:
                    self._stopped = f"had not finished after {self._seconds:.3g} s"
                elif process.memory_info().rss > limits.memory:
                    self._stopped = f"took more than {limits.memory / 2**30:.3g} GiB of memory"
                if self._stopped:
                    self._process.kill()
                    return
                time.sleep(_POLL)


@contextmanager
def worker(
    module: str,
    arguments: Sequence[str],
    folder: Path,
    limits: Limits,
    *,
    reads: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Worker]:
    """Start a program; it is killed when the block ends, or when this process does.

    Args:
        module: its module, with a function `main(arguments)`.
        arguments: handed to `main`.
        folder: where it may write; gains `log` and `scratch`, its working directory.
        limits: what it may take.
        reads: files and folders it may read, besides `folder` and Python's own.
        environment: variables to set besides.
    """
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    read_end, write_end = os.pipe()
    settings = {
        "parent": os.getpid(),
        "pipe": read_end,
        "seconds": limits.seconds,
        "memory": limits.memory,
        "file_size": limits.file_size,
        "reads": [str(path.absolute()) for path in reads],
        "writes": [str(folder.absolute())],
    }
    command = [sys.executable, "-m", __name__, json.dumps(settings), module, *arguments]
    try:
        with (folder / "log").open("wb") as log:
            variables = {**_environment(scratch.absolute()), **(environment or {})}
            process = _started(command, scratch, variables, log, read_end)
        os.close(read_end)
        run = Worker(process, folder / "log", limits)
        try:
            yield run
        finally:
            run.end()
    finally:
        os.close(write_end)


def _started(
    command: Sequence[str], folder: Path, variables: Mapping[str, str], log: BinaryIO, pipe: int
) -> subprocess.Popen[bytes]:
    """Start a process from a thread that lives as long as this process.

    The kernel ends a worker with the thread that started it, which may be one of a short pool.
    """

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(pipe,) if os.name == "posix" else (),
        )

    return _starter(os.getpid()).submit(start).result()


@cache
def _starter(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix=f"w2s-export-starter-{process}")


def die_with(parent: int, pipe: int | None = None) -> None:
    """Make this process end with its parent.

    Linux ends it even inside a loop of C code; elsewhere a thread does when it next can.

    Args:
        parent: number of the process that started this one.
        pipe: reading end of a pipe whose other end only the parent holds.
    """
    confine.signal_at_death_of_parent()
    if os.name == "posix" and os.getppid() != parent:  # it died before this line
        os._exit(1)

    def watch() -> None:
        import psutil

        if pipe is not None and os.name == "posix":
            os.read(pipe, 1)
        else:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(parent).wait()
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _environment(scratch: Path) -> dict[str, str]:
    """Variables of a worker: ours, without those that change what a program prints or does."""
    changing = ("PYTHONOPTIMIZE", "PYTHONWARNINGS", "PYTHONINSPECT", "PYTHONSTARTUP")
    root = str(Path(w2s_export.__file__).absolute().parents[1])
    return {
        **{name: value for name, value in os.environ.items() if name not in changing},
        "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONUSERBASE": site.getuserbase(),  # HOME is another one
        "PYTHONUTF8": "1",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "TEMP": str(scratch),
        "TMP": str(scratch),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # glibc: memory freed by one thread serves the others, and feature maps are not given back
        # to the system only to be asked for, page by page, by the next layer.
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    }


def _exit_text(code: int) -> str:
    import signal

    if code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


def _run(settings: Mapping[str, Any], module: str, arguments: Sequence[str]) -> None:
    """In the worker: confine this process, then run the program."""
    sys.path[:] = [entry for entry in sys.path if entry not in ("", str(Path.cwd()))]
    confine.limit(settings["seconds"], settings["memory"], settings["file_size"])
    confine.shut_in(settings["reads"], settings["writes"])
    die_with(settings["parent"], settings["pipe"])
    importlib.import_module(module).main(list(arguments))
    gc.freeze()  # at its end Python would look through all that was imported for garbage


if __name__ == "__main__":
    _run(json.loads(sys.argv[1]), sys.argv[2], sys.argv[3:])
