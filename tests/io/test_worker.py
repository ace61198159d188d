"""Processes of their own: what they may not do, their limits, that they die with their parent."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from w2s_export.errors import WorkerError
from w2s_export.io.confine import protections
from w2s_export.io.worker import Limits, worker

_PROGRAM = """
import json, os, socket, subprocess, sys
from pathlib import Path

def main(arguments):
    tries = {
        "socket": lambda: socket.socket(),
        "local socket": lambda: socket.socket(socket.AF_UNIX),
        "program": lambda: subprocess.run(["true"]),
        "foreign file": lambda: Path(arguments[0]).read_text(),
        "foreign folder": lambda: os.listdir(Path(arguments[0]).parent),
        "write elsewhere": lambda: Path(arguments[0]).with_name("new").write_text("x"),
        "signal": lambda: os.kill(os.getppid(), 0),
        "given file": lambda: Path(arguments[1]).read_text(),
        "own folder": lambda: Path("new").write_text("x"),
    }
    done = []
    for name, attempt in tries.items():
        try:
            attempt()
            done.append(name)
        except OSError:
            pass
    print(json.dumps(done))
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))

    def write(text: str) -> str:
        (folder / "foreign_program.py").write_text(text)
        return "foreign_program"

    return write


@pytest.mark.skipif(protections() != ("seccomp", "Landlock"), reason="needs Linux 5.13")
def test_a_worker_reaches_nothing_but_what_it_is_given(tmp_path: Path, program) -> None:
    secret, given = tmp_path / "secret", tmp_path / "given"
    secret.write_text("secret")
    given.write_text("given")
    module = program(_PROGRAM)
    with worker(
        module, [str(secret), str(given)], tmp_path / "w", Limits(60, 1 << 30), reads=[given]
    ) as run:
        run.wait()
    log = (tmp_path / "w" / "log").read_text()
    # From kernel 6.12 on signals to other processes are refused too.
    assert set(json.loads(log)) - {"signal"} == {"given file", "own folder"}


def test_a_worker_reads_byte_code_that_lies_elsewhere(
    tmp_path: Path, program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it each worker compiles all of TensorFlow, for ten seconds."""
    module = program("import os, sys\ndef main(_): print('one' in os.listdir(sys.pycache_prefix))")
    (tmp_path / "cache" / "one").mkdir(parents=True)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "cache"))
    with worker(module, [], tmp_path / "w", Limits(60, 1 << 30)) as process:
        process.wait()
    assert (tmp_path / "w" / "log").read_text().strip() == "True"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("while True: pass", r"^had not finished after 3 s$"),
        ("held = [b'x' * (1 << 24) for _ in range(1000)]", r"^took more than 0\.25 GiB of memory$"),
        ("import os; os.abort()", r"^crashed \(SIGABRT\)"),
        ("raise ValueError('its own words')", r"^crashed \(exit code 1\): .*its own words$"),
    ],
)
def test_a_limit_is_named(tmp_path: Path, program, body: str, message: str) -> None:
    module = program(f"def main(arguments):\n    {body}\n")
    with (
        worker(module, [], tmp_path / "w", Limits(3, 1 << 28)) as run,
        pytest.raises(WorkerError, match=message),
    ):
        run.wait()
    assert not psutil.pid_exists(run.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread looks, when it can")
def test_a_worker_dies_with_its_parent_even_inside_c_code(tmp_path: Path, program) -> None:
    # A regular expression holds the interpreter's lock for hours.
    module = program("import re\ndef main(arguments):\n    re.match('(a*)*b', 'a' * 40)\n")
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from pathlib import Path\n"
            "from w2s_export.io.worker import Limits, worker\n"
            f"folder = Path({str(tmp_path / 'w')!r})\n"
            f"with worker({module!r}, [], folder, Limits(600, 1 << 30)) as run:\n"
            "    print(run.pid, flush=True)\n"
            "    run.wait()\n",
        ],
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    while child.cpu_times().user < 0.5:  # past its start
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    child.wait(20)
