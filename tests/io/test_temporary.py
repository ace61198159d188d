"""Temporary folders go, those of killed processes too; a full disk is named."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

from w2s_export.errors import OutputError
from w2s_export.io import temporary
from w2s_export.io.temporary import check_not_full, naming_full_disk, temporary_folder


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    temporary._sweep.cache_clear()
    return tmp_path


def test_it_is_gone_afterwards(parent: Path) -> None:
    with temporary_folder() as folder:
        (folder / "x").write_text("x")
        assert parent in folder.parents
    assert not list(parent.iterdir())


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills as POSIX does")
def test_that_of_a_killed_process_goes_with_the_next(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import os, signal\n"
        "from w2s_export.io.temporary import temporary_folder\n"
        "with temporary_folder():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "TMPDIR": str(parent)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    (left,) = parent.iterdir()
    monkeypatch.setattr(temporary, "_YOUNG", 0.0)
    with temporary_folder() as folder:
        assert not left.exists()
        temporary._sweep.cache_clear()
        with temporary_folder():
            assert folder.exists()  # its lock is held


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        with naming_full_disk(tmp_path):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match=r"the disk of .* is full; make room"):
        full()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, 0))
    with pytest.raises(OutputError, match="is full"):
        check_not_full(tmp_path)

    def framework() -> None:
        with naming_full_disk(tmp_path):
            raise RuntimeError("could not write")

    with pytest.raises(OutputError, match="is full"):
        framework()
