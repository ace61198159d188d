"""Runs bioimageio.core's own test on packages, beside this process.

In processes of their own, because core unzips weights into the working directory, sets TensorFlow's
random state for good, and takes seconds to import: meanwhile this process compares outputs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from w2s_export.formats.artifact import Artifact
from w2s_export.rdf.stated import ONNX, SAVED_MODEL
from w2s_export.verify.worker.environment import worker_environment

TIME_LIMIT = 900.0
"""Seconds. The default model takes about 5 on two cores, 23 blocks about 20."""


@dataclass(frozen=True, slots=True)
class CoreTest:
    """What bioimageio.core said of one weight format of one package."""

    package: str
    """Name of the zip."""
    weight_format: str
    passed: bool
    errors: tuple[str, ...]
    seconds: float | None


class CoreProgram:
    """One process or one a weight format, importing what it needs until it has packages.

    Start it with `core_program` as soon as there will be packages to test: of a small network half
    of the time is spent on imports.
    """

    def __init__(self, workers: Sequence[_Worker]) -> None:
        self._workers = workers

    def prepare(self, artifact: Artifact) -> None:
        """Let it load a SavedModel that the packages will hold, while they are not there yet."""
        for worker in self._workers if artifact.format == SAVED_MODEL else ():
            worker.tell({"load": str(artifact.path.absolute())})

    def test(self, packages: Sequence[Path]) -> CoreTests:
        """Give it its only job."""
        absolute = [package.absolute() for package in packages]
        for worker in self._workers:
            worker.tell({"test": [str(package) for package in absolute]}, last=True)
        return CoreTests(self._workers, absolute)


class CoreTests:
    """Tests under way; `finish` waits for them."""

    def __init__(self, workers: Sequence[_Worker], packages: Sequence[Path]) -> None:
        self._workers, self._packages = workers, packages

    def finish(self) -> tuple[CoreTest, ...]:
        """Wait for every test. One that has no result, because core crashed, has failed."""
        by_worker = [worker.finish(self._packages) for worker in self._workers]
        in_turn = zip(*by_worker, strict=True)
        return tuple(test for of_package in in_turn for tests in of_package for test in tests)


class _Worker:
    """A process that tests some formats."""

    def __init__(self, formats: Sequence[str], folder: Path) -> None:
        self._formats, self._results, self._log = formats, folder / "results", folder / "log"
        scratch = folder / "scratch"
        scratch.mkdir(parents=True)
        environment = worker_environment(
            BIOIMAGEIO_CACHE_PATH=str(folder / "cache"),
            # Without AVX-512 oneDNN takes 2.5 times as long over 23 blocks (7.4 against 2.9 s).
            TF_ENABLE_ONEDNN_OPTS="0",
        )
        command = [sys.executable, "-m", f"{__package__}.core_worker"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, ",".join(formats), str(self._results)],
                cwd=scratch,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )

    def tell(self, job: dict[str, Any], *, last: bool = False) -> None:
        stdin = self._process.stdin
        with suppress(OSError):  # it crashed already, which `finish` reports
            if stdin is not None:
                stdin.write(json.dumps(job).encode() + b"\n")
                stdin.close() if last else stdin.flush()

    def finish(self, packages: Sequence[Path]) -> list[list[CoreTest]]:
        """Tests of each package."""
        failure = ""
        try:
            if self._process.wait(TIME_LIMIT) != 0:
                log = self._log.read_text("utf-8", "replace").strip()
                failure = f"bioimageio.core crashed: {log[-500:] or self._process.returncode}"
        except subprocess.TimeoutExpired:
            failure = f"bioimageio.core had not finished after {TIME_LIMIT:g} s"
        found = self._found()
        return [
            [
                found.get((str(package), name))
                or CoreTest(package.name, name, False, (failure or "no result",), None)
                for name in self._formats
            ]
            for package in packages
        ]

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def _found(self) -> dict[tuple[str, str], CoreTest]:
        try:
            results: list[dict[str, Any]] = json.loads(self._results.read_bytes())
        except (OSError, ValueError):
            return {}
        return {
            (result["package"], result["format"]): CoreTest(
                Path(result["package"]).name,
                result["format"],
                result["passed"],
                tuple(" ".join(error.split()) for error in result["errors"]),
                result["seconds"],
            )
            for result in results
        }


@contextmanager
def core_tests(packages: Sequence[Path], program: CoreProgram | None = None) -> Iterator[CoreTests]:
    """Start testing every format of every package, at core's default tolerances.

    Args:
        packages: zips.
        program: one that has started already; its own otherwise.
    """
    with ExitStack() as stack:
        yield (program or stack.enter_context(core_program())).test(packages)


@contextmanager
def core_program(
    formats: Sequence[str] = (ONNX, SAVED_MODEL), *, apart: bool = False
) -> Iterator[CoreProgram]:
    """Start the processes; they end with the block, finished or not.

    Args:
        formats: keys of the rdf's `weights`.
        apart: each format in a process of its own. Imports take two cores 1 to 2 s longer,
            which large networks win back.
    """
    groups = [[name] for name in formats] if apart else [list(formats)]
    with tempfile.TemporaryDirectory(prefix="w2s-export-core-") as folder, ExitStack() as ends:
        workers = []
        for number, group in enumerate(groups):
            workers.append(_Worker(group, Path(folder) / str(number)))
            ends.callback(workers[-1].end)
        yield CoreProgram(workers)
