"""The tutorials, copied and pasted: every command they show is run as written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(bash|yaml)\n(.*?)^```$", re.M | re.S)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["first-package", "own-weights", "own-data"])
def test_a_tutorial_works_to_its_end(name: str, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(ROOT / "models")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = 0
    for kind, text in BLOCK.findall((DOCS / "tutorials" / f"{name}.md").read_text("utf-8")):
        if kind == "yaml":
            (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
            continue
        for line in text.splitlines():
            if line.startswith("w2s-export "):
                command = line.replace("w2s-export", f'"{sys.executable}" -m w2s_export', 1)
                done = subprocess.run(  # noqa: S602 - the documentation's own text
                    command,
                    shell=True,
                    cwd=tmp_path,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=300,
                    check=False,
                )
                assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
                ran += 1
    assert ran >= 2


def test_every_page_is_in_the_menu_and_every_link_leads_somewhere() -> None:
    menu = (ROOT / "mkdocs.yml").read_text("utf-8")
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert pages == set(re.findall(r"[\w/-]+\.md", menu))
    for page in pages:
        text = (DOCS / page).read_text("utf-8")
        for target in re.findall(r"\]\((?!https?:|#|assets/)([^)#]+)", text):
            assert (DOCS / page).parent.joinpath(target).exists(), f"{page}: {target}"
