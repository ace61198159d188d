"""What is free, by the machine and by control groups; freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from w2s_export.io import control_groups, memory
from w2s_export.io.memory import free_bytes, release_freed_memory


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries give back by themselves")
def test_freed_memory_goes_back() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("another C library than glibc")
    process, size = psutil.Process(), 96_000  # glibc maps blocks from 128 kB on by themselves
    blocks = [np.ones(size, np.uint8) for _ in range(1500)]
    last = blocks.pop()  # below it glibc keeps what is freed
    del blocks
    kept = process.memory_info().rss
    release_freed_memory()
    assert kept - process.memory_info().rss > 100e6
    assert last.all()


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 4_096_000_000),
        ({"memory.max": "max\n", "memory.current": "100\n"}, 4_096_000_000),
        ({"memory.max": "900\n", "memory.current": "100\n"}, 800),
        # Files that were read and are kept are no reason to refuse.
        ({"memory.max": "900\n", "memory.current": "890\n", "cached": "700"}, 710),
        ({"memory.max": "900\n", "memory.current": "950\n"}, 0),
        ({"job/memory.max": "500\n", "job/memory.current": "100\n", "memory.max": "max\n"}, 400),
        (
            {
                "memory/job/memory.limit_in_bytes": "700\n",
                "memory/job/memory.usage_in_bytes": "600\n",
                "total": "250",
            },
            350,
        ),
    ],
)
def test_what_is_free(
    files: dict[str, str], free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = files.pop("cached", "0"), files.pop("total", "0")
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
        stat = f"anon 5\ninactive_file {kept[0]}\ntotal_inactive_file {kept[1]}\n"
        (tmp_path / name).with_name("memory.stat").write_text(stat)
    (tmp_path / "own").write_text("4:memory:/job\n0::/job\n")
    (tmp_path / "meminfo").write_text("MemFree:  7 kB\nMemAvailable:    4000000 kB\n")
    monkeypatch.setattr(control_groups, "ROOT", tmp_path)
    monkeypatch.setattr(control_groups, "OWN", tmp_path / "own")
    monkeypatch.setattr(memory, "MEMORY", tmp_path / "meminfo")
    assert free_bytes() == free


def test_psutil_says_it_where_linux_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_groups, "OWN", tmp_path / "absent")
    monkeypatch.setattr(memory, "MEMORY", tmp_path / "absent")
    there = psutil.virtual_memory()
    assert 0 < free_bytes() <= there.total
    monkeypatch.undo()
    assert free_bytes() == pytest.approx(psutil.virtual_memory().available, rel=0.2)
