"""Follows a tutorial of the documentation: writes its files, runs its commands as it shows them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from pathlib import Path

import pytest

from tests.core_unasked import leave_core_out
from w2s_export.cli import run

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "tutorials"
_BLOCK = re.compile(r'^```(bash|yaml)(?: title="([\w.]+)")?\n(.*?)^```$', re.M | re.S)


def follow(name: str, folder: Path, core_in: Collection[str] = ()) -> int:
    """Follow it in a folder, where `models/` lies as in a checkout; how many commands it has.

    They run in this process, which has TensorFlow loaded already: `w2s-export` and
    `python -m w2s_export` call the same function. bioimageio.core's own test, which takes half of
    the time, is made in the commands `core_in`.
    """
    (folder / "models").symlink_to(ROOT / "models")
    ran = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for kind, title, text in _BLOCK.findall((FOLDER / f"{name}.md").read_text("utf-8")):
            if kind == "yaml":
                assert title, "the reader must know the name of the file"
                (folder / title).write_text(text, encoding="utf-8")
                continue
            for line in text.splitlines():
                if line.startswith("w2s-export "):
                    _run(shlex.split(line)[1:], core_in)
                    ran += 1
    return ran


def _run(command: list[str], core_in: Collection[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if ("export" if command[0].startswith("-") else command[0]) not in core_in:
            leave_core_out(patch)
        assert run(command) == 0, command
