"""Runs bioimageio.core's own test on packages, beside this process.

In a process of its own, because core unzips weights into the working directory, sets TensorFlow's
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

from w2s_export.verify.worker import worker_environment

TIME_LIMIT = 900.0
"""Seconds. The default model takes about 15 on two cores, 23 blocks about 60."""


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
    """The program, importing what it needs (half its time for small networks) until it has a job.

    Start it with `core_program` as soon as there will be packages to test.
    """

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process, self._folder = process, folder

    def test(self, packages: Sequence[Path], formats: Sequence[str]) -> CoreTests:
        """Give it its only job."""
        absolute = [package.absolute() for package in packages]
        job = {"packages": [str(package) for package in absolute], "formats": list(formats)}
        stdin = self._process.stdin
        with suppress(OSError):  # it crashed already, which `finish` reports
            if stdin is not None:
                stdin.write(json.dumps(job).encode())
                stdin.close()
        wanted = [(package, name) for package in absolute for name in formats]
        return CoreTests(self._process, self._folder, wanted)


class CoreTests:
    """Tests under way; `finish` waits for them."""

    def __init__(
        self, process: subprocess.Popen[bytes], folder: Path, wanted: list[tuple[Path, str]]
    ) -> None:
        self._process, self._folder, self._wanted = process, folder, wanted

    def finish(self) -> tuple[CoreTest, ...]:
        """Wait for every test. One that has no result, because core crashed, has failed."""
        failure = ""
        try:
            if self._process.wait(TIME_LIMIT) != 0:
                log = (self._folder / "log").read_text("utf-8", "replace").strip()
                failure = f"bioimageio.core crashed: {log[-500:] or self._process.returncode}"
        except subprocess.TimeoutExpired:
            failure = f"bioimageio.core had not finished after {TIME_LIMIT:g} s"
        found = self._found()
        return tuple(
            found.get((str(package), weight_format))
            or CoreTest(package.name, weight_format, False, (failure or "no result",), None)
            for package, weight_format in self._wanted
        )

    def _found(self) -> dict[tuple[str, str], CoreTest]:
        try:
            results: list[dict[str, Any]] = json.loads((self._folder / "results").read_bytes())
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
def core_tests(
    packages: Sequence[Path], formats: Sequence[str], program: CoreProgram | None = None
) -> Iterator[CoreTests]:
    """Start testing every format of every package, at core's default tolerances.

    Args:
        packages: zips.
        formats: keys of the rdf's `weights`.
        program: one that has started already; its own otherwise.
    """
    with ExitStack() as stack:
        yield (program or stack.enter_context(core_program())).test(packages, formats)


@contextmanager
def core_program() -> Iterator[CoreProgram]:
    """Start the program; it ends with the block, finished or not."""
    with tempfile.TemporaryDirectory(prefix="w2s-export-core-") as temporary:
        folder = Path(temporary)
        scratch = folder / "scratch"
        scratch.mkdir()
        environment = worker_environment(
            BIOIMAGEIO_CACHE_PATH=str(folder / "cache"),
            # Without AVX-512 oneDNN takes 2.5 times as long over 23 blocks (7.4 against 2.9 s).
            TF_ENABLE_ONEDNN_OPTS="0",
        )
        command = [sys.executable, "-m", f"{__package__}.core_worker", str(folder / "results")]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=scratch,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        try:
            yield CoreProgram(process, folder)
        finally:
            if process.poll() is None:
                process.kill()
            if process.stdin is not None:
                process.stdin.close()
            process.wait()
