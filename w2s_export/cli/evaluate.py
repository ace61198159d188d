"""`w2s-export evaluate`: checkpoints and bicubic enlargement side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.box import SIMPLE
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from w2s_export.cli.console import console, options_of, progress_bar
from w2s_export.counting import counted
from w2s_export.options import EvaluateOptions

if TYPE_CHECKING:
    from w2s_export.evaluate.compare import Evaluation


def evaluate_command(
    *checkpoints: Path, options: Annotated[EvaluateOptions, options_of(EvaluateOptions)]
) -> int:
    """Compare any number of checkpoints, and bicubic enlargement, on paired images.

    Parameters
    ----------
    checkpoints
        Files of any format that `w2s-export inspect` knows; none for bicubic alone.
    """
    from w2s_export.api import evaluate
    from w2s_export.evaluate.report import FILES

    columns = (TextColumn("Restoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with progress_bar(*columns) as bar:
        task = bar.add_task("", total=None)
        evaluation = evaluate(
            checkpoints,
            **vars(options),
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
    print_evaluation(evaluation)
    if options.output is not None:
        for name in FILES:
            console.print(str(Path(options.output, name)), soft_wrap=True, highlight=False)
    return 0


def print_evaluation(evaluation: Evaluation) -> None:
    """A row per method."""
    from w2s_export.evaluate.tables import summarise, summary_rows

    header, cells = summary_rows(summarise(evaluation))
    first = Column(header[0], overflow="fold", min_width=12)
    title = f"Means over {counted(len(evaluation.files), 'image')}"
    table = Table(first, *header[1:], title=title, title_justify="left", box=SIMPLE)
    for line in cells:
        table.add_row(*line)
    console.print(table)
