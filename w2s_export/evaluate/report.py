"""Writes a comparison: tables, and the figure of some of its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from w2s_export.data.pairs import PairFiles
from w2s_export.errors import ConfigError, OutputError
from w2s_export.evaluate.compare import Evaluation, read_pair
from w2s_export.evaluate.figure import Column, Row, draw_comparison
from w2s_export.evaluate.tables import images_csv, summarise, summary_csv, summary_markdown
from w2s_export.io.files import write_atomically
from w2s_export.metrics.scores import score

FILES = ("images.csv", "summary.csv", "summary.md", "comparison.png")


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """Where everything is."""

    images: Path
    summary: Path
    markdown: Path
    figure: Path


def check_request(
    output: Path, overwrite: bool, files: Sequence[PairFiles], shown: Sequence[str]
) -> None:
    """Refuse, before anything is restored, what could not be written afterwards.

    Raises:
        OutputError: the output is no folder, or it holds an earlier comparison.
        ConfigError: an image to show that is not there.
    """
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: is not a folder")
    present = [name for name in FILES if (output / name).exists()]
    if present and not overwrite:
        raise OutputError(
            f"{output / present[0]} exists already; use --overwrite to replace it or choose "
            "another --output"
        )
    known = [pair.name for pair in files]
    absent = [name for name in shown if name not in known]
    if absent:
        raise ConfigError(f"there is no image '{absent[0]}' to show; the first is '{known[0]}'")


def extremes(evaluation: Evaluation) -> list[str]:
    """Images with the last method's worst, median and best PSNR."""
    rows = evaluation.of(evaluation.methods[-1].name)
    order = np.argsort([row.scores["psnr_db"] for row in rows], kind="stable")
    chosen = dict.fromkeys(int(order[i]) for i in (0, (len(order) - 1) // 2, -1))
    return [rows[index].image for index in chosen]


def write_evaluation(
    evaluation: Evaluation, output: Path, *, shown: Sequence[str] = ()
) -> EvaluationReport:
    """Write `images.csv`, `summary.csv`, `summary.md` and `comparison.png` under `output`.

    Args:
        evaluation: what was found.
        output: folder, made where it is missing.
        shown: images to draw; `extremes` by default.

    Raises:
        OutputError: the folder cannot be written.
    """
    names = shown or extremes(evaluation)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output}: cannot be made: {error.strerror}") from None
    summaries = summarise(evaluation)
    contents = (
        images_csv(evaluation).encode(),
        summary_csv(summaries).encode(),
        summary_markdown(summaries).encode(),
        draw_comparison([_row(evaluation, name) for name in names]),
    )
    paths = [output / name for name in FILES]
    for path, content in zip(paths, contents, strict=True):
        write_atomically(path, content)
    return EvaluationReport(*paths)


def _row(evaluation: Evaluation, name: str) -> Row:
    """One image restored again by every method: keeping all of them would fill the memory."""
    pair = next(pair for pair in evaluation.files if pair.name == name)
    images = read_pair(pair)
    low, target = images.low[0], images.high[0].astype(np.float64)
    scale = target.shape[0] // low.shape[0]
    columns = [Column("input", low.repeat(scale, 0).repeat(scale, 1), None)]
    for method in evaluation.methods:
        restored = method(images.low)
        columns.append(
            Column(method.name, restored[0], score(restored, images.high, only=("psnr_db", "ssim")))
        )
    columns.append(Column("target", target, None))
    return Row(name, target, images.pixel_um, tuple(columns))
