"""Commands killed at random moments: nothing lives on, nothing is half there, the next run tidies.

W2S_KILLS asks for more than the few that `nox -s thorough` does.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import tifffile

from tests.core_unasked import leave_core_out
from tests.inputs import checkpoint, noise
from w2s_export.cli import run
from w2s_export.io import temporary

KILLS = int(os.environ.get("W2S_KILLS", 1))
PROC = Path("/proc")

pytestmark = [
    pytest.mark.skipif(not (PROC / "self/environ").exists(), reason="looks into /proc"),
    pytest.mark.xdist_group("killed"),
]


class Commands:
    """Runs the command line in a folder, with temporary files and a mark of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.temporary = folder, folder / "tmp"
        self.temporary.mkdir()
        self._mark = f"W2S_MARK={uuid.uuid4()}"
        name, _, value = self._mark.partition("=")
        self._environment = {**os.environ, "TMPDIR": str(self.temporary), name: value}
        tifffile.imwrite(folder / "cell.tif", noise(48, 64))
        checkpoint(folder / "w.npz")

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "w2s_export", *command],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def run(self, *command: str) -> float:
        """Seconds that the command took."""
        begun = time.monotonic()
        assert self.start(*command).wait() == 0
        return time.monotonic() - begun

    def run_here(self, *command: str) -> None:
        """In this process, which has TensorFlow loaded, and without bioimageio.core's own test."""
        with pytest.MonkeyPatch.context() as patch:
            leave_core_out(patch)
            patch.chdir(self.folder)
            patch.setattr("tempfile.tempdir", str(self.temporary))
            patch.setenv("TMPDIR", str(self.temporary))
            temporary._sweep.cache_clear()  # as a process of its own begins
            assert run([*command]) == 0

    def living(self) -> list[str]:
        """Processes that carry the mark: those started here, and theirs."""
        found = []
        for place in PROC.glob("[0-9]*"):
            try:
                if self._mark.encode() in (place / "environ").read_bytes().split(b"\0"):
                    found.append((place / "cmdline").read_bytes().decode("utf-8", "replace"))
            except OSError:  # it has ended, or is another user's
                continue
        return [command for command in found if command]

    def all_end(self) -> bool:
        """Whether none lives any more, within the time a process needs to end."""
        end = time.monotonic() + 20
        while self.living() and time.monotonic() < end:
            time.sleep(0.05)
        return not self.living()

    def age_leftovers(self) -> None:
        """Let what lies in the temporary folder be as old as what is taken away."""
        for lock in self.temporary.glob("*/lock"):
            os.utime(lock, (0, 0))


def _zips(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.zip")}


def _export(weights: str, output: str) -> list[str]:
    return ["--weights", weights, "--sample", "cell.tif", "--output", output, "--name", "a model"]


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    return Commands(tmp_path_factory.mktemp("killed"))


@pytest.fixture(scope="module")
def expected(commands: Commands) -> Path:
    """The folder of an undisturbed export."""
    commands.run_here(*_export("w.npz", "expected"))
    return commands.folder / "expected"


@pytest.fixture(scope="module")
def lasted(commands: Commands) -> float:
    """Seconds of an undisturbed export."""
    return commands.run(*_export("w.npz", "lasted"))


@pytest.mark.parametrize("kills", [1, pytest.param(1 + 2 * KILLS, marks=pytest.mark.thorough)])
def test_killed_exports(
    commands: Commands, expected: Path, kills: int, request: pytest.FixtureRequest
) -> None:
    """Over the files of another run; the first as soon as it verifies what it has written."""
    moments = random.Random(1)  # noqa: S311
    output = commands.folder / f"output-{kills}"
    output.mkdir()
    whole = _zips(expected)
    for name in whole:
        (output / name).write_bytes(b"of another run")
    (output / "report.json").write_text("{}", encoding="utf-8")
    runs = [_zips(output), whole]
    killed = 0
    while killed < kills:
        process = commands.start(*_export("w.npz", output.name), "--overwrite")
        if killed:
            time.sleep(moments.uniform(0.1, 1.0) * request.getfixturevalue("lasted"))
        while not killed and process.poll() is None and not [*output.glob(".*/*.zip")]:
            time.sleep(0.01)
        if process.poll() is None:
            process.send_signal((signal.SIGKILL, signal.SIGTERM)[killed % 2])
            killed += 1
        process.wait()
        assert commands.all_end(), commands.living()
        seen = _zips(output)
        assert any(seen.items() <= run.items() for run in runs), "files of two runs"
        assert len(seen) == 2 or not (output / "report.json").exists()
    commands.age_leftovers()
    commands.run_here(*_export("w.npz", output.name), "--overwrite")
    assert _zips(output) == whole
    assert sorted(path.name for path in output.iterdir() if path.name.startswith(".")) == []
    assert list(commands.temporary.iterdir()) == []


@pytest.mark.parametrize("command", [pytest.param("verify", marks=pytest.mark.thorough), "restore"])
def test_killed_commands_leave_no_process_and_no_folder(
    commands: Commands, expected: Path, command: str
) -> None:
    package = str(next(expected.glob("*.bioimageio.zip")))
    given = {
        "verify": ["verify", package],
        "restore": ["restore", "cell.tif", "--weights", "w.npz", "--output", "r", "--overwrite"],
    }[command]
    long = commands.run(*given)  # what is through before its kill is not counted
    killed, moments = 0, random.Random(2)  # noqa: S311
    while killed < KILLS:
        process = commands.start(*given)
        time.sleep(moments.uniform(0.1, 1.0) * long)
        if process.poll() is None:
            process.send_signal((signal.SIGTERM, signal.SIGKILL)[killed % 2])
            killed += 1
        process.wait()
        assert commands.all_end(), commands.living()
    commands.age_leftovers()
    commands.run(*given)
    assert list(commands.temporary.iterdir()) == []
    hidden = [path.name for path in (commands.folder / "r").glob(".*")]
    assert hidden == []
