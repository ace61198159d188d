"""No command opens a socket to another machine, or needs one; ONNX Runtime's telemetry is off."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml

from tests.inputs import checkpoint, noise

ROOT = Path(__file__).resolve().parents[1]
STRACE = shutil.which("strace")
LOCAL = re.compile(
    r"AF_UNIX|AF_NETLINK|AF_UNSPEC|inet_addr\(\"127\.|\"::1\"|sin_addr=inet_addr\(\"0\.0\.0\.0\"\)"
)


def _alone() -> list[str]:
    """What runs a command in a network namespace of its own, without a single address."""
    for command in (["unshare", "-n"], ["unshare", "-rn"]):
        allowed = (
            shutil.which("unshare")
            and not subprocess.run([*command, "true"], check=False, capture_output=True).returncode
        )
        if allowed:
            return command
    return []


def traced(command: list[str], tmp_path: Path) -> list[str]:
    """Addresses of other machines that a command and its children connect or send to.

    Where the system has network namespaces, the command runs in one and finds no network.
    """
    return found(trace(command, tmp_path), tmp_path)


def trace(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """Start it."""
    # By seccomp, no other call stops the process: to load TensorFlow makes hundreds of thousands.
    calls = ["-f", "--seccomp-bpf", "-qq", "-e", "trace=connect,sendto,sendmsg"]
    return subprocess.Popen(
        [str(STRACE), *calls, "-o", "strace", *_alone(), *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, "HOME": str(folder), "PYTHONPATH": str(ROOT)},
    )


def found(process: subprocess.Popen[bytes], folder: Path) -> list[str]:
    """What it has connected or sent to, when it has ended."""
    said, log = process.communicate()[1], folder / "strace"
    if b"ptrace" in said or not log.exists():
        pytest.skip("strace may not trace here")
    assert process.returncode == 0, said.decode()[-2000:]
    lines = log.read_text("utf-8", "replace").splitlines()
    return [line for line in lines if "sa_family=" in line and not LOCAL.search(line)]


@pytest.fixture(scope="module", autouse=True)
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path] | None]:
    """A process with ONNX Runtime that does nothing while the other tests run, and its folder."""
    if STRACE is None:
        yield None
        return
    program = "import time, w2s_export, onnxruntime\ntime.sleep(15)\n"
    folder = tmp_path_factory.mktemp("idle")
    with trace([sys.executable, "-c", program], folder) as process:
        yield process, folder
        process.kill()


pytestmark = pytest.mark.xdist_group("offline")
needs_strace = pytest.mark.skipif(STRACE is None, reason="strace is not installed")


@needs_strace
def test_the_tracer_sees_a_connection(tmp_path: Path) -> None:
    program = (
        "import socket\nwith socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:\n"
        "    try:\n        s.connect(('192.0.2.1', 9))\n    except OSError:\n        pass\n"
    )
    assert traced([sys.executable, "-c", program], tmp_path)


@needs_strace
def test_commands_stay_offline(tmp_path: Path) -> None:
    """One after the other in one process, which loads TensorFlow once.

    bioimageio.core's own test is made when the package is verified, by the program that an export
    has for it too.
    """
    weights = str(checkpoint(tmp_path / "w.npz"))
    tifffile.imwrite(tmp_path / "cell.tif", noise(48, 64))
    _training(tmp_path)
    package = "o/tiny-model.bioimageio.zip"
    commands = [
        ["inspect", weights],
        ["--weights", weights, "--sample", "cell.tif", "--output", "o"],
        ["restore", "cell.tif", "--package", package, "--output", "r"],
        ["verify", package],
        ["train", "c.yaml", "--data", "data", "--output", "t"],
    ]
    program = (
        "from pytest import MonkeyPatch\nfrom tests.core_unasked import leave_core_out\n"
        f"from w2s_export.cli import run\nfor command in {commands!r}:\n"
        "    with MonkeyPatch.context() as patch:\n"
        "        if command[0] != 'verify':\n            leave_core_out(patch)\n"
        "        assert run(command) == 0, command\n"
    )
    assert traced([sys.executable, "-c", program], tmp_path) == []
    assert len(list((tmp_path / "r").glob("*.tif"))) == 1
    assert (tmp_path / "t" / "tiny-model.npz").is_file()


def _training(folder: Path) -> None:
    """Write `c.yaml`, and what it trains on into `data`."""
    rng = np.random.default_rng(0)
    for name in "abc":
        low = rng.integers(0, 4000, (16, 20)).astype(np.uint16)
        for place, pixels in (("lr", low), ("hr", low.repeat(2, 0).repeat(2, 1))):
            (folder / "data" / place).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(folder / "data" / place / f"{name}.tif", pixels)
    values = {
        "name": "tiny-model",
        "data": {"validation": ["b.tif"], "test": ["c.tif"]},
        "generator": {"nf": 4, "gc": 2, "nb": 1},
        **{"patch": 8, "batch": 2, "steps": 2, "validate_every": 2},
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(values))


def test_telemetry_is_off_before_onnx_runtime_is_imported() -> None:
    program = (
        "import os, sys\nimport w2s_export\n"
        "assert 'onnxruntime' not in sys.modules\nprint(os.environ['ORT_DISABLE_TELEMETRY'])\n"
    )
    environment = {
        key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    )
    assert done.stdout.strip() == b"1"


@needs_strace
def test_onnx_runtime_sends_nothing_in_its_first_quarter_of_a_minute(
    idle: tuple[Any, Path],
) -> None:
    """With telemetry on, 1.32 looks up its host after ten seconds."""
    assert found(*idle) == []
