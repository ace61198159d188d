"""Sections of the page: what holds them, and those that are tables of facts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from w2s_export.rdf.whole_image import MEMORIES_GB

if TYPE_CHECKING:
    from w2s_export.rdf.whole_image import WholeImageMemory
    from w2s_export.verify.report import Report


def section(title: str, body: str) -> str:
    """A part of the page with its heading; `body` is HTML already."""
    return f"<section><h2>{escape(title)}</h2>\n{body}</section>"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already; on a phone each row becomes a list."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td data-label="{escape(column)}">{cell}</td>'
            for column, cell in zip(columns, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f'<table class="stack"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def memory(needed: WholeImageMemory) -> Iterator[str]:
    """The largest image in DeepImageJ 3.1, by the memory of the computer."""
    rows = [
        (f"{size} GB", f'<span class="number">{_largest_image(needed, size)}</span>')
        for size in MEMORIES_GB
    ]
    yield section(
        "Memory in DeepImageJ 3.1",
        f"<p>DeepImageJ 3.1 restores the whole image at once: about "
        f"{needed.gb_per_megapixel:.2g} GB for each megapixel of the input.</p>"
        f"{table(('memory of the computer', 'largest image, about'), rows)}"
        f'<p class="soft">Above {needed.largest_megapixels:.1f} megapixels it hangs, however much '
        "memory there is. DeepImageJ 2.1 and 3.0 and <code>w2s-export restore</code> work in "
        "tiles. By the graph, and a rule measured with ONNX Runtime 1.12.1.</p>",
    )


def _largest_image(needed: WholeImageMemory, memory_gb: int) -> str:
    side = math.sqrt(max(0.0, needed.megapixels(memory_gb)) * 1e6)
    return f"{needed.largest_image(memory_gb)}, {side:.0f}×{side:.0f}"


def files(report: Report) -> Iterator[str]:
    """Every package with the SHA-256 of its files."""
    parts = []
    for package in report.packages:
        rows = [
            (f"<code>{escape(name)}</code>", f"<code>{escape(sha256)}</code>")
            for name, sha256 in package.files.items()
        ]
        parts.append(
            f"<details><summary><code>{escape(package.name)}</code>, "
            f"{package.bytes / 1e6:.2f} MB</summary><p>SHA-256 <code>{escape(package.sha256)}"
            f"</code></p>{table(('file', 'SHA-256'), rows)}</details>"
        )
    if parts:
        yield section("Files", "".join(parts))


def versions(environment: Mapping[str, Any]) -> Iterator[str]:
    """What took part in the verification."""
    rows = [
        (escape(name), f"<code>{escape(text)}</code>")
        for name, text in environment.get("versions", {}).items()
    ]
    rows += [("replaced in core", escape(text)) for text in environment.get("patched", ())]
    held = ", ".join(environment.get("isolation", ())) or "time and memory alone"
    rows.append(("held workers", escape(held)))
    yield section("Versions and environment", table(("what", "version"), rows))


def timings(stages: Mapping[str, float], steps: Mapping[str, float]) -> Iterator[str]:
    """Seconds of each stage of an export and each step of the verification."""
    named = [*stages.items(), *((f"verifying: {name}", spent) for name, spent in steps.items())]
    longest = max((spent for _, spent in named), default=0.0) or 1.0
    rows = [
        (
            escape(name),
            f'<span><span class="number">{spent:.1f} s</span> <span class="meter" '
            f'aria-hidden="true"><i style="width: {100 * spent / longest:.0f}%"></i></span></span>',
        )
        for name, spent in named
    ]
    if rows:
        yield section("Time", table(("stage", "seconds"), rows))
