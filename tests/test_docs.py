"""The tutorials, copied and pasted: every command they show is run as written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from w2s_export.verify.findings import Code
from w2s_export.verify.rules import registry

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
BLOCK = re.compile(r'^```(bash|yaml)(?: title="([\w.]+)")?\n(.*?)^```$', re.M | re.S)
TUTORIALS = {
    "first-package": 2,
    "own-weights": 2,
    "own-data": 4,
    "acquisition": 3,
    "zoo": 2,
}
"""Commands in each, so that none is lost on the way."""


@pytest.mark.slow
@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_works_to_its_end(name: str, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(ROOT / "models")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = 0
    for kind, title, text in BLOCK.findall((DOCS / "tutorials" / f"{name}.md").read_text("utf-8")):
        if kind == "yaml":
            assert title, "the reader must know the name of the file"
            (tmp_path / title).write_text(text, encoding="utf-8")
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
    assert ran == TUTORIALS[name]
    assert set(TUTORIALS) == {path.stem for path in (DOCS / "tutorials").glob("*.md")}


def test_every_finding_is_explained_with_its_remedy() -> None:
    for module in (ROOT / "w2s_export" / "verify" / "rules").glob("*.py"):
        import_module(f"w2s_export.verify.rules.{module.stem}")
    by_rule = {rule.code.value for rule in registry.RULES}
    text = (DOCS / "reference" / "findings.md").read_text("utf-8")
    by_hand = re.findall(r"^\| `([a-z0-9-]+)` \| [^|]{9,} \| [^|]{9,} \|$", text, re.M)
    assert len(by_hand) == len(set(by_hand))
    assert by_rule | set(by_hand) == {code.value for code in Code}
    assert by_rule & set(by_hand) <= {"test-tensor-invalid", "seams-visible"}


def test_every_page_is_in_the_menu_and_every_link_leads_somewhere() -> None:
    menu = (ROOT / "mkdocs.yml").read_text("utf-8")
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    books = {f"notebooks/{path.stem}.md" for path in DOCS.glob("notebooks/*.ipynb")}
    assert pages | books == set(re.findall(r"[\w/-]+\.md", menu))
    for page in pages:
        text = (DOCS / page).read_text("utf-8")
        for target in re.findall(r"\]\((?!https?:|#|assets/)([^)#]+)", text):
            place = (DOCS / page).parent / target
            book = place.with_suffix(".ipynb") if place.parent.name == "notebooks" else place
            assert place.exists() or book.exists(), f"{page}: {target}"
