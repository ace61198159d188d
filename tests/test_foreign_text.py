"""Foreign text on a terminal: spelled out, cut, without markup, whatever the terminal can show."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import w2s_export
from w2s_export.cli.console import PlainConsole, styled
from w2s_export.errors import W2SExportError
from w2s_export.foreign_text import cell, markdown, shown

HOSTILE = "\x1b]0;title\x07[/bold][red]\x1b[2J\u202e\ud800"


def test_what_steers_a_terminal_is_spelled_out() -> None:
    assert shown(HOSTILE) == "\\x1b]0;title\\x07[/bold][red]\\x1b[2J\\u202e\\ud800"
    assert shown("10 µm × 3\u00a0… Größe 日本") == "10 µm × 3 … Größe 日本"
    assert shown("a\nb") == "a\\nb"
    assert shown("a\nb", lines=True) == "a\nb"


def test_long_text_is_cut() -> None:
    assert shown("x" * 200) == "x" * 200
    assert shown("x" * 201) == "x" * 199 + "…"
    assert len(shown("\x1b" * 10_000_000)) == 200
    assert len(str(W2SExportError("x" * 10_000_000))) == 2000


@pytest.mark.parametrize("terminal", [False, True])
def test_a_console_prints_markup_as_text(terminal: bool) -> None:
    stream = io.StringIO()
    console = PlainConsole(file=stream, force_terminal=terminal, width=200, color_system=None)
    console.print(HOSTILE)
    console.print(styled(("[/]\x1b[31m", "bold"), HOSTILE))
    assert "\x1b]" not in stream.getvalue()
    assert stream.getvalue().count("[/bold][red]") == 2


@pytest.mark.parametrize(
    "encoding",
    [
        {"PYTHONIOENCODING": "ascii:strict"},
        {"PYTHONIOENCODING": "latin-1:strict"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
)
def test_commands_print_on_any_terminal(tmp_path: Path, encoding: dict[str, str]) -> None:
    """`inspect` of a file whose key is hostile: the fault is named, whatever can be shown."""
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}
    header = json.dumps({HOSTILE[:-1] + "…×": tensor}).encode()
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    done = subprocess.run(
        [sys.executable, "-m", "w2s_export", "inspect", str(tmp_path / "w.safetensors")],
        env={**os.environ, **encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    said = b" ".join(re.sub(rb"[^ -~]|\|", b" ", done.stdout).split())  # without the table's lines
    assert b"claims (2,) float32 but has 4 bytes" in said
    assert b"\x1b" not in done.stdout


def test_warnings_of_libraries_steer_no_terminal() -> None:
    """Zarr warns of a file's name, which may be anything."""
    program = (
        "import warnings\nfrom w2s_export.cli.console import fit_to_terminal\nfit_to_terminal()\n"
        f"warnings.warn({HOSTILE!r} + 10_000 * 'x')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stderr.startswith(b"UserWarning: \\x1b]0;title\\x07[/bold]")
    assert b"\x1b" not in done.stderr
    assert len(done.stderr) < 3000


def _calls() -> list[tuple[str, ast.Call]]:
    root = Path(w2s_export.__file__).parent
    return [
        (str(path.relative_to(root)), node)
        for path in sorted(root.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
    ]


def test_nothing_is_printed_around_the_consoles() -> None:
    """JSON alone is printed as it is: it spells out whatever is not ASCII."""
    around = [
        f"{where}:{call.lineno} {ast.unparse(call)[:60]}"
        for where, call in _calls()
        if where != "cli/console.py"
        and ast.unparse(call.func)
        in {"print", "Console", "Text", "Text.assemble", "Text.from_markup", "sys.stderr.write"}
        and "json.dumps(" not in ast.unparse(call)
        # Words of its own, where no console has been imported yet.
        and not (where == "cli/__init__.py" and isinstance(call.args[0], ast.Constant))
    ]
    assert around == []


def test_a_column_that_shows_a_name_reads_no_markup() -> None:
    columns = [
        (where, call)
        for where, call in _calls()
        if ast.unparse(call.func) == "TextColumn" and "{task" in ast.unparse(call)
    ]
    assert columns
    for where, call in columns:
        assert "markup=False" in ast.unparse(call), where


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("[Update](http://e.example/x.jar)", "\\[Update\\]\\(http://e.example/x.jar)"),
        ("![](http://e.example/x.png)", "!\\[\\]\\(http://e.example/x.png)"),
        ("fine\n# Heading\n===", "fine\n\\# Heading\n\\==="),
        ("A & B &lt;", "A & B &amp;lt;"),
        ("a\n\n# b", "a\n\n\\# b"),
        ("a|b `c` \\", "a\\|b \\`c\\` \\\\"),
        ("W2S (Zhou et al., 2020): 10 µm × 3_4*5", "W2S (Zhou et al., 2020): 10 µm × 3_4*5"),
    ],
)
def test_foreign_text_in_markdown_is_text(text: str, expected: str) -> None:
    assert markdown(text) == expected


def test_foreign_text_in_a_spreadsheet_is_no_formula() -> None:
    for text in ("=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\t=1"):
        assert cell(text) == f"'{text}"
    assert cell("cell_1=2.tif") == "cell_1=2.tif"
