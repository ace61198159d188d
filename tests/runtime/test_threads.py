"""Cores a process may use, by what control groups state."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from w2s_export.io import control_groups
from w2s_export.runtime import threads


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 6),
        ({"cpu.max": "max 100000\n"}, 6),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "2000000 100000\n"}, 6),
        ({"cpu.max": "nonsense\n"}, 6),
        ({"job/cpu.max": "200000 100000\n", "cpu.max": "max 100000\n"}, 2),
        ({"job/cpu.max": "max 100000\n", "cpu.max": "300000 100000\n"}, 3),
        ({"job/cpu.max": "500000 100000\n", "cpu.max": "300000 100000\n"}, 3),
        ({"other/cpu.max": "200000 100000\n"}, 6),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 6),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    ],
)
def test_the_control_group_is_heeded(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "own").write_text("1:cpu:/job\n0::/job\n")
    monkeypatch.setattr(control_groups, "ROOT", tmp_path)
    monkeypatch.setattr(control_groups, "OWN", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert threads.usable_cores() == cores
