"""Foreign text as it may stand in a message, a table or on a terminal."""

from __future__ import annotations

import re

LONGEST_NAME = 200
LONGEST_MESSAGE = 2000
LONGEST_TEXT = 8000


def shown(text: object, most: int = LONGEST_NAME, *, lines: bool = False) -> str:
    r"""The text with everything that steers a terminal spelled out (`\x1b`), and cut.

    Spelled out are control characters, invisible and direction-changing ones, and the lone
    surrogates that stand for bytes of a file name that are no UTF-8.

    Args:
        text: anything that has a text.
        most: characters kept.
        lines: keep line breaks.
    """
    whole = str(text)
    cut = whole[:most]
    if not cut.isprintable():
        cut = "".join(_one(c) if not (lines and c == "\n") else c for c in cut)
    return cut if len(whole) <= most and len(cut) <= 2 * most else f"{cut[: most - 1]}…"


def _one(character: str) -> str:
    if character.isprintable():
        return character
    if character.isspace() and ord(character) > 0x7F:  # a no-break or thin space
        return " "
    return character.encode("unicode_escape").decode("ascii")


def markdown(text: object, most: int = LONGEST_TEXT) -> str:
    """Foreign text inside Markdown: read as it is written, without HTML, links or headings."""
    plain = shown(text, most, lines=True)
    plain = re.sub(r"&(?=#?\w+;)", "&amp;", plain).replace("<", "&lt;")
    special = r"([\\`\[\]|]|(?<=\])\()|^([ \t]*)(?=[#>=-])"
    return re.sub(special, r"\2\\\1", plain, flags=re.MULTILINE)


def cell(text: str) -> str:
    """Foreign text as a cell of a table that spreadsheets open: never a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
