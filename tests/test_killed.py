"""Commands killed at random moments: nothing lives on, nothing is half there, the next run tidies.

W2S_KILLS asks for more than the few that every test run does.
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

from tests.inputs import checkpoint, noise

KILLS = int(os.environ.get("W2S_KILLS", 1))
PROC = Path("/proc")

pytestmark = [
    pytest.mark.slow,
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
def lasted(commands: Commands) -> float:
    """Seconds of an undisturbed export, whose files lie in `expected`."""
    return commands.run(*_export("w.npz", "expected"))


def test_killed_exports(commands: Commands, lasted: float) -> None:
    """Over the files of another run."""
    moments = random.Random(1)  # noqa: S311
    output = commands.folder / "output"
    output.mkdir()
    expected = _zips(commands.folder / "expected")
    for name in expected:
        (output / name).write_bytes(b"of another run")
    (output / "report.json").write_text("{}", encoding="utf-8")
    runs = [_zips(output), expected]
    killed = 0
    while killed < 2 * KILLS:
        process = commands.start(*_export("w.npz", output.name), "--overwrite")
        time.sleep(moments.uniform(0.1, 1.0) * lasted)
        if process.poll() is None:
            process.send_signal((signal.SIGKILL, signal.SIGTERM)[killed % 2])
            killed += 1
        process.wait()
        assert commands.all_end(), commands.living()
        seen = _zips(output)
        assert any(seen.items() <= run.items() for run in runs), "files of two runs"
        assert len(seen) == 2 or not (output / "report.json").exists()
    commands.age_leftovers()
    commands.run(*_export("w.npz", output.name), "--overwrite")
    assert _zips(output) == expected
    assert sorted(path.name for path in output.iterdir() if path.name.startswith(".")) == []
    assert list(commands.temporary.iterdir()) == []


@pytest.mark.parametrize("command", ["verify", "restore"])
def test_killed_commands_leave_no_process_and_no_folder(
    commands: Commands, lasted: float, command: str
) -> None:
    package = str(next((commands.folder / "expected").glob("*.bioimageio.zip")))
    given = {
        "verify": ["verify", package],
        "restore": ["restore", "cell.tif", "--weights", "w.npz", "--output", "r", "--overwrite"],
    }[command]
    # What is through before its kill is not counted. A verification takes over half of an export.
    long = 0.6 * lasted if command == "verify" else commands.run(*given)
    killed, moments = 0, random.Random(2)  # noqa: S311
    while killed < KILLS:
        process = commands.start(*given)
        time.sleep(moments.uniform(0.1, 1.0) * long)
        if process.poll() is None:
            process.kill()
            killed += 1
        process.wait()
        assert commands.all_end(), commands.living()
    commands.age_leftovers()
    commands.run(*given)
    assert list(commands.temporary.iterdir()) == []
    hidden = [path.name for path in (commands.folder / "r").glob(".*")]
    assert hidden == []
