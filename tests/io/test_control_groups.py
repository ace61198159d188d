"""Which control groups limit this process, by what Linux says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from w2s_export.io import control_groups


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("0::/\n", [""]),  # a container of version 2
        ("0::/a/b.scope\n", ["a/b.scope", "a", ""]),  # a batch job
        ("0::/../c\n", [""]),
        ("4:memory:/d\n3:cpuset:/e\n0::/\n", ["memory/d", "memory", ""]),
        ("2:cpu,memory:/f\n", ["memory/f", "memory"]),
        ("1:name=systemd:/g\n", []),
    ],
)
def test_own_group_and_those_above(
    own: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cgroup").write_text(own)
    monkeypatch.setattr(control_groups, "OWN", tmp_path / "cgroup")
    monkeypatch.setattr(control_groups, "ROOT", tmp_path)
    assert control_groups.groups("memory") == [tmp_path / name for name in expected]


def test_other_systems_have_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_groups, "OWN", tmp_path / "absent")
    assert control_groups.groups("memory") == []
