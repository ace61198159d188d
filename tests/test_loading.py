"""What a library writes to the terminal while it is loaded, by one that is named TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = r"""
import os
os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written\n")
os.write(2, b"I0000 00:00:1796044256.957307   12578 cudart_stub.cc:31] Could not find drivers\n")
os.write(2, b"E0000 00:00:1796044256.957307   12578 device.cc:31] a fault\n")
if os.environ.get("ABORT"):
    os.abort()
"""


def load(tmp_path: Path, **environment: str) -> tuple[int, str]:
    (tmp_path / "tensorflow.py").write_text(LIBRARY, encoding="utf-8")
    program = (
        "import os, sys; from w2s_export.cli.loading import load_tensorflow_quietly as quietly; "
        "quietly(); quietly(); import tensorflow; print('I0000 00:00: mine', file=sys.stderr)"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_faults_are_shown_and_chatter_is_not(tmp_path: Path) -> None:
    code, said = load(tmp_path)
    assert code == 0
    assert said.splitlines() == [
        "E0000 00:00:1796044256.957307   12578 device.cc:31] a fault",
        "I0000 00:00: mine",
    ]


def test_a_crash_is_not_silent(tmp_path: Path) -> None:
    code, said = load(tmp_path, ABORT="1")
    assert code < 0
    assert "Fatal Python error: Aborted" in said
    assert "tensorflow.py" in said
