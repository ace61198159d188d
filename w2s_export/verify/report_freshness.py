"""Whether the reports that lie beside a package were written about it, not about an earlier one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path

from w2s_export.errors import PackageError
from w2s_export.io.files import regular_size
from w2s_export.verify.findings import Code, Finding, Severity
from w2s_export.verify.page import PAGE_NAME
from w2s_export.verify.report import REPORT_NAME

_LARGEST = 64 << 20
"""Bytes of a report or page that is read. Pages hold pictures: the default model's has 1 MB."""


def check_reports(package: Path, sha256: str) -> Iterator[Finding]:
    """Compare a package with what `report.json` and `report.html` in its folder say of it.

    Reports of other packages, and files that only have these names, say nothing.

    Args:
        package: the zip.
        sha256: of the zip, hexadecimal.
    """
    for name, stated_in in ((REPORT_NAME, _in_report), (PAGE_NAME, _in_page)):
        stated = stated_in(_text(package.with_name(name)), package.name)
        if stated not in (None, sha256):
            yield Finding(
                Code.report_of_another_run,
                name,
                f"describes a {package.name} with SHA-256 {stated}, this one has {sha256}",
                Severity.warning,
                remedy="do not share them together; export again with --overwrite",
                package=package.name,
            )


def _text(path: Path) -> str:
    try:
        if regular_size(path, PackageError) > _LARGEST:
            return ""
        return path.read_text("utf-8", "replace")
    except (OSError, PackageError):
        return ""


def _in_report(text: str, package: str) -> str | None:
    try:
        report = json.loads(text)
        if report["report"] != "w2s-export verification":
            return None
        entries = [entry for entry in report["packages"] if entry["name"] == package]
        return str(entries[0]["sha256"])[:64] if entries else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _in_page(text: str, package: str) -> str | None:
    summary = f"<summary><code>{re.escape(escape(package))}</code>,[^<]*</summary>"
    found = re.search(f"{summary}<p>SHA-256 <code>([0-9a-f]{{64}})</code>", text)
    return found[1] if found else None
