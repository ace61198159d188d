"""No command opens a socket to another machine, or needs one; ONNX Runtime's telemetry is off."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from tests.inputs import checkpoint, noise

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
    log = tmp_path / "strace"
    calls = ["-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", str(log)]
    done = subprocess.run(
        [str(STRACE), *calls, *_alone(), *command],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    if b"ptrace" in done.stderr or not log.exists():
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    lines = log.read_text("utf-8", "replace").splitlines()
    return [line for line in lines if "sa_family=" in line and not LOCAL.search(line)]


needs_strace = pytest.mark.skipif(STRACE is None, reason="strace is not installed")


@needs_strace
def test_the_tracer_sees_a_connection(tmp_path: Path) -> None:
    program = (
        "import socket\nwith socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:\n"
        "    try:\n        s.connect(('192.0.2.1', 9))\n    except OSError:\n        pass\n"
    )
    assert traced([sys.executable, "-c", program], tmp_path)


@needs_strace
def test_export_restore_and_verify_stay_offline(tmp_path: Path) -> None:
    """One after the other in one process, which loads TensorFlow once."""
    weights = str(checkpoint(tmp_path / "w.npz"))
    tifffile.imwrite(tmp_path / "cell.tif", noise(48, 64))
    package = "o/tiny-model.bioimageio.zip"
    commands = [
        ["--weights", weights, "--sample", "cell.tif", "--output", "o"],
        ["restore", "cell.tif", "--package", package, "--output", "r"],
        ["verify", package],
    ]
    program = (
        f"from w2s_export.cli import run\nfor command in {commands!r}:\n"
        "    assert run(command) == 0, command\n"
    )
    assert traced([sys.executable, "-c", program], tmp_path) == []
    assert len(list((tmp_path / "r").glob("*.tif"))) == 1


@needs_strace
def test_training_stays_offline(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "abc":
        low = rng.integers(0, 4000, (16, 20)).astype(np.uint16)
        for place, pixels in (("lr", low), ("hr", low.repeat(2, 0).repeat(2, 1))):
            (tmp_path / "data" / place).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(tmp_path / "data" / place / f"{name}.tif", pixels)
    values = {
        "name": "tiny-model",
        "data": {"validation": ["b.tif"], "test": ["c.tif"]},
        "generator": {"nf": 4, "gc": 2, "nb": 1},
        **{"patch": 8, "batch": 2, "steps": 2, "validate_every": 2},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    train = [sys.executable, "-m", "w2s_export", "train", "c.yaml", "--data", "data"]
    assert traced([*train, "--output", "t"], tmp_path) == []


@needs_strace
def test_inspect_stays_offline(tmp_path: Path) -> None:
    weights = str(checkpoint(tmp_path / "w.npz"))
    assert traced([sys.executable, "-m", "w2s_export", "inspect", weights], tmp_path) == []


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
def test_onnx_runtime_sends_nothing_in_its_first_quarter_of_a_minute(tmp_path: Path) -> None:
    """With telemetry on, 1.32 looks up its host after ten seconds."""
    program = "import time, w2s_export, onnxruntime\ntime.sleep(15)\n"
    assert traced([sys.executable, "-c", program], tmp_path) == []
