"""Freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import sys

import numpy as np
import psutil
import pytest

from w2s_export.io.memory import release_freed_memory


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
