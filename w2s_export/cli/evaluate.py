"""`w2s-export evaluate`: checkpoints and bicubic enlargement side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.box import SIMPLE
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from w2s_export.cli.console import Flag, Several, console
from w2s_export.data.normalise import parse_normalisation

if TYPE_CHECKING:
    from w2s_export.data.pairs import PairFiles
    from w2s_export.evaluate.compare import Evaluation


def evaluate_command(
    *checkpoints: Path,
    data: Path,
    output: Path,
    low: str = "lr",
    high: str = "hr",
    config: Path | None = None,
    split: Literal["training", "validation", "test"] = "test",
    normalisation: str | None = None,
    dynamic: Annotated[bool, Flag] = False,
    signature: str | None = None,
    show: Annotated[list[str] | None, Several] = None,
    feature_weights: Path | None = None,
    tile: Annotated[int | None, Parameter(show_default=False)] = None,
    overwrite: Annotated[bool, Flag] = False,
) -> int:
    """Compare any number of checkpoints, and bicubic enlargement, on paired images.

    Parameters
    ----------
    checkpoints
        Files of any format that `w2s-export inspect` knows; none for bicubic alone.
    data
        Folder that holds the folders of inputs and targets.
    output
        Folder for images.csv, summary.csv, summary.md and comparison.png.
    low
        Folder of inputs in the data folder.
    high
        Folder of targets in the data folder.
    config
        Training configuration: its `data` says where the pairs lie (W2S, noise levels …) and which
        are held out. Takes the place of --low and --high.
    split
        Which of the configuration's fields to evaluate.
    normalisation
        percentile:LOW:HIGH or range:LOW:HIGH, for checkpoints that do not record it.
    dynamic
        Let networks take images of other sizes than their files fix.
    signature
        Signature of SavedModels that have several.
    show
        Images to draw. Default: the worst, the median and the best of the last checkpoint.
    feature_weights
        Weights of VGG19 or VGG16 (.npz, .h5): adds the distance of features.
    tile
        Side of what is restored at once, input pixels; smaller takes less memory. Default: 256.
    overwrite
        Replace the files of an earlier comparison.
    """
    from w2s_export.evaluate.compare import TILE, evaluate
    from w2s_export.evaluate.report import check_request, write_evaluation
    from w2s_export.sources.feature_weights import load_features
    from w2s_export.sources.load import Reading

    how = parse_normalisation(normalisation) if normalisation else None
    features = load_features(feature_weights).stages if feature_weights else None
    files = _files(data, low, high, config, split)
    check_request(output, overwrite, files, show or ())
    columns = (TextColumn("Restoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None)
        evaluation = evaluate(
            checkpoints,
            files,
            normalisation=how,
            tile=tile or TILE,
            features=features,
            reading=Reading(dynamic, signature),
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
    report = write_evaluation(evaluation, output, shown=show or ())
    print_evaluation(evaluation)
    for path in (report.images, report.summary, report.markdown, report.figure):
        console.print(str(path), soft_wrap=True, highlight=False)
    return 0


def print_evaluation(evaluation: Evaluation) -> None:
    """A row per method."""
    from w2s_export.evaluate.tables import summarise, summary_rows

    header, cells = summary_rows(summarise(evaluation))
    first = Column(header[0], overflow="fold", min_width=12)
    title = f"Means over {len(evaluation.files)} images"
    table = Table(first, *header[1:], title=title, title_justify="left", box=SIMPLE)
    for line in cells:
        table.add_row(*line)
    console.print(table)


def _files(data: Path, low: str, high: str, config: Path | None, split: str) -> list[PairFiles]:
    from w2s_export.data.pairs import match_names
    from w2s_export.data.split import assign
    from w2s_export.errors import ConfigError
    from w2s_export.training.config import read_training_config

    if config is None:
        return match_names(data / low, data / high)
    files = assign(read_training_config(config).data, data)[split]
    if not files:
        raise ConfigError(f"{config}: its data leave no field for {split}; choose another --split")
    return files
