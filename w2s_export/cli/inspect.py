"""`w2s-export inspect`: what a checkpoint is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.table import Table

from w2s_export.cli.console import console, options_of
from w2s_export.options import ReadingOptions

if TYPE_CHECKING:
    from w2s_export.sources.inspect import Inspection

DEFAULTS = ReadingOptions()


def inspect_command(
    weights: Path,
    /,
    *,
    scale: int | None = None,
    options: Annotated[ReadingOptions, options_of(ReadingOptions)] = DEFAULTS,
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
    from w2s_export.data.normalise import in_words

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
        table.add_row("normalisation", in_words(inspection.normalisation))
    elif inspection.exportable:
        table.add_row("normalisation", "not recorded; see --normalisation")
    for key, value in inspection.provenance.model_dump(exclude_defaults=True).items():
        if key == "scores":
            for name, begin in ((key, ""), ("validation", "validation_")):
                if text := _scores(value, begin):
                    table.add_row(name, text)
        elif isinstance(value, dict):
            table.add_row(key, "\n".join(f"{name} {one}" for name, one in value.items()))
        else:
            table.add_row(key, str(value))
    table.add_row("exportable", "yes" if inspection.exportable else f"no: {inspection.reason}")
    console.print(table)


def _scores(scores: Mapping[str, float], begin: str) -> str:
    """A line per metric whose names begin so: the network's mean, and bicubic enlargement's."""
    from w2s_export.metrics.registry import metrics

    lines = [f"{scores[begin + 'fields']:g} fields"] if f"{begin}fields" in scores else []
    for one in metrics().values():
        if (own := scores.get(begin + one.key)) is not None:
            other = scores.get(begin + one.bicubic_key)
            lines.append(f"{one.label} {own:g}" + (f" (bicubic {other:g})" if other else ""))
    return "\n".join(lines)
