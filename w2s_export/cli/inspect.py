"""`w2s-export inspect`: what a checkpoint is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.table import Table

from w2s_export.cli.console import console, each
from w2s_export.options import ReadingOptions

if TYPE_CHECKING:
    from w2s_export.sources.inspect import Inspection

DEFAULTS = ReadingOptions()


def inspect_command(
    weights: Path,
    /,
    *,
    scale: int | None = None,
    options: Annotated[ReadingOptions, each(ReadingOptions)] = DEFAULTS,
) -> int:
    """Show what a checkpoint is, and whether it can be exported.

    Parameters
    ----------
    weights
        Any file or SavedModel folder.
    scale
        1, 2 or 4, where the weights do not record by how much the network enlarges.
    """
    from w2s_export.sources.inspect import inspect_checkpoint

    inspection = inspect_checkpoint(weights, scale=scale, **vars(options))
    print_inspection(inspection)
    return 0 if inspection.exportable else 2


def print_inspection(inspection: Inspection) -> None:
    """What a checkpoint is."""
    table = Table("property", "value", title=str(inspection.path), show_header=False)
    table.add_row("format", inspection.format)
    if inspection.architecture is not None:
        for key, value in inspection.architecture.model_dump().items():
            note = " (assumed: the file does not show it)" if key in inspection.assumed else ""
            table.add_row(key, f"{value}{note}")
    for key, text in inspection.details:
        table.add_row(key, text)
    if inspection.parameters is not None:
        table.add_row("parameters", f"{inspection.parameters:,}")
    if inspection.chosen:
        table.add_row("taken", inspection.chosen)
    if inspection.dtypes:
        table.add_row("stored as", ", ".join(inspection.dtypes))
    if inspection.normalisation is not None:
        table.add_row("normalisation", str(inspection.normalisation))
    elif inspection.exportable:
        table.add_row("normalisation", "not recorded; see --normalisation")
    for key, value in inspection.provenance.model_dump(exclude_defaults=True).items():
        table.add_row(key, str(value))
    table.add_row("exportable", "yes" if inspection.exportable else f"no: {inspection.reason}")
    console.print(table)
