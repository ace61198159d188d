"""The comparison in numbers: a row per image and method, and a row per method."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from w2s_export.counting import counted
from w2s_export.evaluate.compare import Evaluation, ImageScores
from w2s_export.evaluate.methods import BICUBIC
from w2s_export.foreign_text import cell, markdown
from w2s_export.metrics.registry import metrics


@dataclass(frozen=True, slots=True)
class MethodSummary:
    """Means of one method over all images; `gain_db` and `better` compare with bicubic.

    means: by the metric's key. better: images with a higher PSNR than bicubic's.
    resolution_nm: None where a pixel size is missing.
    """

    method: str
    images: int
    means: dict[str, float]
    psnr_std_db: float
    gain_db: float | None
    better: int | None
    resolution_nm: float | None


def summarise(evaluation: Evaluation) -> list[MethodSummary]:
    """A row per method, in the order of the methods."""
    base = [row.scores["psnr_db"] for row in evaluation.of(BICUBIC)]
    result = []
    for method in evaluation.methods:
        rows = evaluation.of(method.name)
        psnr = np.array([row.scores["psnr_db"] for row in rows])
        gains = psnr - np.array(base) if base and method.name != BICUBIC else None
        sizes = [nanometres(row) for row in rows]
        result.append(
            MethodSummary(
                method=method.name,
                images=len(rows),
                means={key: _mean([row.scores[key] for row in rows]) for key in rows[0].scores},
                psnr_std_db=float(psnr.std(ddof=1)) if len(psnr) > 1 else 0.0,
                gain_db=None if gains is None else float(gains.mean()),
                better=None if gains is None else int((gains > 0).sum()),
                resolution_nm=None if None in sizes else _mean(sizes),
            )
        )
    return result


def nanometres(row: ImageScores) -> float | None:
    """Resolution of one image in nanometres, None where the pixel size is not known."""
    return None if row.pixel_um is None else 1000 * row.pixel_um * row.scores["resolution_px"]


def images_csv(evaluation: Evaluation) -> str:
    """One line per image and method."""
    keys = list(evaluation.rows[0].scores)
    lines = [
        [
            cell(row.image),
            cell(row.method),
            *(f"{row.scores[key]:.5f}" for key in keys),
            "" if (size := nanometres(row)) is None else f"{size:.1f}",
        ]
        for row in evaluation.rows
    ]
    return _csv([["image", "method", *keys, "resolution_nm"], *lines])


def summary_csv(summaries: Sequence[MethodSummary]) -> str:
    """One line per method."""
    keys = list(summaries[0].means)
    others = ("psnr_std_db", "gain_db", "better", "resolution_nm")
    lines = [
        [
            cell(row.method),
            str(row.images),
            *(_plain(row.means[key]) for key in keys),
            *(_plain(getattr(row, name)) for name in others),
        ]
        for row in summaries
    ]
    return _csv([["method", "images", *keys, *others], *lines])


def summary_rows(summaries: Sequence[MethodSummary]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the table that people read."""
    shown = [one for key, one in metrics().items() if key in summaries[0].means]
    nanometre = all(row.resolution_nm is not None for row in summaries)
    first, *others = (
        "detail nm" if one.key == "resolution_px" and nanometre else one.label for one in shown
    )
    header = ["method", first, "± SD", "gain dB", "better", *others]
    cells = []
    for row in summaries:
        values = [
            f"{row.resolution_nm:.0f}"
            if one.key == "resolution_px" and nanometre
            else f"{row.means[one.key]:.{one.digits - 1}f}"
            for one in shown
        ]
        cells.append(
            [
                row.method,
                values[0],
                f"{row.psnr_std_db:.2f}",
                "" if row.gain_db is None else f"{row.gain_db:+.2f}",
                "" if row.better is None else f"{row.better} of {row.images}",
                *values[1:],
            ]
        )
    return header, cells


def summary_markdown(summaries: Sequence[MethodSummary]) -> str:
    """The same table in Markdown, with how it was scored."""
    header, cells = summary_rows(summaries)
    escaped = [[markdown(first), *others] for first, *others in cells]
    lines = [header, ["---"] * len(header), *escaped]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    shown = [one for key, one in metrics().items() if key in summaries[0].means]
    labels = [header[1], *header[5:]]
    meanings = "\n".join(
        f"- {label}: {_in_unit_of(label, one.meaning)}"
        for label, one in zip(labels, shown, strict=True)
    )
    return (
        f"{table}\n\nMeans over {counted(summaries[0].images, 'image')}, targets as stored, "
        "borders mirrored as the clients do, after a least-squares intensity fit `a·x + b`; the "
        "range is the target's 99.9 % minus its 0.1 % percentile. Gain and the number of better "
        f"images compare PSNR with bicubic.\n\n{meanings}\n"
    )


def _in_unit_of(label: str, meaning: str) -> str:
    return meaning.replace("target pixels", "nanometres") if label.endswith(" nm") else meaning


def _mean(values: Sequence[float | None]) -> float:
    return float(np.mean([value for value in values if value is not None]))


def _plain(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.5f}" if isinstance(value, float) else str(value)


def _csv(lines: Sequence[Sequence[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue()
