"""The tutorials, copied and pasted: every command they show is run as written."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.tutorials import FOLDER, ROOT, follow
from w2s_export.verify.findings import Code
from w2s_export.verify.rules import registry

DOCS = ROOT / "docs"
TUTORIALS = {"own-weights": 2, "own-data": 4, "acquisition": 3, "zoo": 2}
"""Commands in each, so that none is lost on the way."""
FIRST = {"first-package": 2}
"""Whose package another module looks at too."""


@pytest.mark.xdist_group("default-model")
def test_the_first_tutorial_works_to_its_end(first_package: tuple[Path, int]) -> None:
    folder, ran = first_package
    assert ran == FIRST["first-package"]
    assert len(list((folder / "first").iterdir())) == 4


@pytest.mark.xdist_group("default-model")
@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_works_to_its_end(name: str, tmp_path: Path) -> None:
    assert follow(name, tmp_path, core_in=["submit"]) == TUTORIALS[name]


def test_every_tutorial_is_followed() -> None:
    assert {*TUTORIALS, *FIRST} == {path.stem for path in FOLDER.glob("*.md")}


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
