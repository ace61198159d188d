"""Where commands print, and what several of them share.

Text goes out as it is: no markup is read in it, so that a name of `[/]` is a name, and what would
steer the terminal is spelled out. Our own styles are given apart from the text (`styled`).
"""

from __future__ import annotations

import codecs
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from cyclopts import Group, Parameter
from rich.console import Console
from rich.text import Text

from w2s_export.errors import W2SExportError
from w2s_export.foreign_text import LONGEST_MESSAGE, shown
from w2s_export.options import IMAGES, NETWORK, RESULT, SPEED

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn
    from rich.status import Status

_GROUPS = {topic: Group.create_ordered(topic) for topic in (NETWORK, IMAGES, RESULT, SPEED)}


def shown_under(topic: str) -> Parameter:
    """An option that help shows under a topic."""
    return Parameter(group=_GROUPS[topic])


@cache
def options_of(options: type) -> Parameter:
    """Every field of an options class as an option of its own, shown under its topic."""
    for name, hint in get_type_hints(options, include_extras=True).items():
        topics = [one for one in getattr(hint, "__metadata__", ()) if isinstance(one, str)]
        for topic in topics:  # what a class inherits may have been given its place already
            options.__annotations__[name] = Annotated[hint, shown_under(topic)]
    return Parameter(name="*")


_LONGEST = 1 << 16
_ASCII = {"…": "...", "×": "x", "µ": "u", "μ": "u", "–": "-", "−": "-", "→": "->", "²": "2"}


class PlainConsole(Console):
    """A console that takes every string for plain text."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """The text with nothing in it that steers a terminal."""
        return super().render_str(shown(text, _LONGEST, lines=True), **settings)


console = PlainConsole()
errors = PlainConsole(stderr=True)


def styled(*parts: str | tuple[str, str]) -> Text:
    """Texts, or (text, style), in a row."""
    plain = [(part, "") if isinstance(part, str) else part for part in parts]
    return Text.assemble(*((shown(text, _LONGEST, lines=True), style) for text, style in plain))


@contextmanager
def progress_bar(*columns: ProgressColumn) -> Iterator[Progress]:
    """A bar of one task; it vanishes where an error comes before anything is done."""
    from rich.progress import Progress

    with Progress(*columns, console=console) as bar:
        try:
            yield bar
        except W2SExportError:
            for task in bar.tasks:
                if not task.completed:
                    bar.remove_task(task.id)
            if not bar.tasks and not console.is_interactive:
                bar.live.stop()
                bar.disable = True  # nor the empty line after it
            raise


def announce(stage: str, status: Status) -> None:
    """Say which stage begins: in the status line of a terminal, else as a line of its own."""
    stage = stage[:1].upper() + stage[1:]  # names within it keep their letters
    if console.is_terminal:
        status.update(f"{stage} …")
    else:
        console.print(f"{stage} …")


def fit_to_terminal() -> None:
    """Print what a poor terminal lacks as what is nearest to it, instead of failing.

    Warnings of libraries go out as our own messages do: they may hold names from a file.
    """
    warnings.formatwarning = _plain_warning
    codecs.register_error("w2s-export", _nearest)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="w2s-export")


def _plain_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> str:
    return f"{category.__name__}: {shown(message, LONGEST_MESSAGE)}\n"


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wanted = error.object[error.start : error.end]
    return "".join(_ASCII.get(character, "?") for character in wanted), error.end


class LogFormatter(logging.Formatter):
    """Lines of the log, with nothing in them that steers a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """One message."""
        return shown(super().format(record), LONGEST_MESSAGE, lines=True)
