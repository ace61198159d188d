"""Draws the engines' times as SVG: `python -m tests.benchmarks.figure RESULTS.json… > speed.svg`.

Bars are times relative to ONNX Runtime in the same turns; their whiskers are the quartiles.
"""

from __future__ import annotations

import json
import sys
from html import escape
from pathlib import Path
from typing import Any

_NAME, _BAR, _END = 250, 330, 90
_ROW, _HEAD = 20, 46
_UNIT = "ONNX Runtime (--engine cpu)"
_COLOURS = {"float32": "#3b6ea5", "16 bits": "#d17a22"}


def main(results: list[Path]) -> None:
    """Write one figure of all results to standard output."""
    parts: list[str] = []
    top = 10
    for path in results:
        document = json.loads(path.read_text(encoding="utf-8"))
        machine = document["machine"]
        title = f"{machine['processor']}, {machine['cores']} cores ({machine['features']})"
        parts.append(_text(10, top + 14, title, weight="bold"))
        top += 26
        for network, topics in _by_network(document["topics"]).items():
            drawn, height = _panel(network, topics, top)
            parts += drawn
            top += height
    width = _NAME + _BAR + _END
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" '
        f'font-family="sans-serif" font-size="12"><rect width="{width}" height="{top}" '
        f'fill="white"/>{"".join(parts)}</svg>'
    )


def _by_network(topics: list[dict[str, Any]]) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """Rows of each network and size, each with its arithmetic."""
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for topic in topics:
        network, _, arithmetic = topic["title"].rpartition(", ")
        if arithmetic in _COLOURS:
            found.setdefault(network, []).extend((arithmetic, row) for row in topic["rows"])
    return found


def _panel(
    network: str, rows: list[tuple[str, dict[str, Any]]], top: float
) -> tuple[list[str], int]:
    unit = next(row["time, ms"] for _, row in rows if row["engine"] == _UNIT)
    most = max(_high(row) for _, row in rows) / unit
    parts = [_text(10, top + 26, network), _text(_NAME, top + 40, "0", size=10)]
    one = _NAME + _BAR / most
    parts.append(f'<path d="M{one:.1f} {top + 44}v{_ROW * len(rows)}" stroke="#999"/>')
    parts.append(_text(one - 3, top + 40, "1", size=10))
    for number, (arithmetic, row) in enumerate(rows):
        y = top + _HEAD + _ROW * number
        length = _BAR * row["time, ms"] / unit / most
        parts.append(_text(_NAME - 6, y + 12, row["engine"], anchor="end"))
        parts.append(
            f'<rect x="{_NAME}" y="{y + 2}" width="{length:.1f}" height="{_ROW - 6}" '
            f'fill="{_COLOURS[arithmetic]}"/>'
        )
        low, high = (_NAME + _BAR * ms / unit / most for ms in (_low(row), _high(row)))
        parts.append(f'<path d="M{low:.1f} {y + 9}H{high:.1f}" stroke="black"/>')
        parts.append(_text(max(high, _NAME + length) + 5, y + 13, _shown(row["time, ms"])))
    return parts, _HEAD + _ROW * len(rows) + 8


def _low(row: dict[str, Any]) -> float:
    return float(row["quartiles, ms"].split(" – ")[0])


def _high(row: dict[str, Any]) -> float:
    return float(row["quartiles, ms"].split(" – ")[1])


def _shown(milliseconds: float) -> str:
    return f"{milliseconds / 1e3:.1f} s" if milliseconds >= 1000 else f"{milliseconds:.0f} ms"


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
