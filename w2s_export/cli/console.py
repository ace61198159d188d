"""Where commands print, and what several of them share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyclopts import Parameter
from rich.console import Console

if TYPE_CHECKING:
    from rich.status import Status

Flag = Parameter(negative="")
Several = Parameter(consume_multiple=True, negative="")
console = Console()
errors = Console(stderr=True)


def announce(stage: str, status: Status) -> None:
    """Say which stage begins: in the status line of a terminal, else as a line of its own."""
    if console.is_terminal:
        status.update(f"{stage} …")
    else:
        console.print(f"{stage} …")
