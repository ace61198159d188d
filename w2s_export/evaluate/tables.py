"""The comparison in numbers: a row an image and method, and a row a method."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from w2s_export.evaluate.compare import Evaluation, ImageScores
from w2s_export.evaluate.methods import BICUBIC


@dataclass(frozen=True, slots=True)
class MethodSummary:
    """Means of one method over all images; `gain_db` and `better` compare with bicubic.

    better: images with a higher PSNR than bicubic's. resolution_nm: None where a pixel size is
    missing.
    """

    method: str
    images: int
    psnr_db: float
    psnr_std_db: float
    gain_db: float | None
    better: int | None
    ssim: float
    nrmse: float
    resolution_px: float
    resolution_nm: float | None


def summarise(evaluation: Evaluation) -> list[MethodSummary]:
    """A row a method, in the order of the methods."""
    base = [row.scores.psnr_db for row in evaluation.of(BICUBIC)]
    result = []
    for method in evaluation.methods:
        rows = evaluation.of(method.name)
        psnr = np.array([row.scores.psnr_db for row in rows])
        gains = psnr - np.array(base) if base and method.name != BICUBIC else None
        sizes = [nanometres(row) for row in rows]
        result.append(
            MethodSummary(
                method=method.name,
                images=len(rows),
                psnr_db=float(psnr.mean()),
                psnr_std_db=float(psnr.std(ddof=1)) if len(psnr) > 1 else 0.0,
                gain_db=None if gains is None else float(gains.mean()),
                better=None if gains is None else int((gains > 0).sum()),
                ssim=_mean([row.scores.ssim for row in rows]),
                nrmse=_mean([row.scores.nrmse for row in rows]),
                resolution_px=_mean([row.scores.resolution_px for row in rows]),
                resolution_nm=None if None in sizes else _mean(sizes),
            )
        )
    return result


def nanometres(row: ImageScores) -> float | None:
    """Resolution of one image in nanometres, None where the pixel size is not known."""
    return None if row.pixel_um is None else 1000 * row.pixel_um * row.scores.resolution_px


def images_csv(evaluation: Evaluation) -> str:
    """One line an image and method."""
    header = ["image", "method", "psnr_db", "ssim", "nrmse", "resolution_px", "resolution_nm"]
    lines = [
        [
            row.image,
            row.method,
            f"{row.scores.psnr_db:.4f}",
            f"{row.scores.ssim:.5f}",
            f"{row.scores.nrmse:.5f}",
            f"{row.scores.resolution_px:.3f}",
            "" if (size := nanometres(row)) is None else f"{size:.1f}",
        ]
        for row in evaluation.rows
    ]
    return _csv([header, *lines])


def summary_csv(summaries: Sequence[MethodSummary]) -> str:
    """One line a method."""
    names = [*MethodSummary.__dataclass_fields__]
    return _csv([names, *([_plain(getattr(row, name)) for name in names] for row in summaries)])


def summary_rows(summaries: Sequence[MethodSummary]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the table that people read."""
    sizes = [row.resolution_nm for row in summaries]
    unit = "px" if None in sizes else "nm"
    header = ["method", "PSNR dB", "± SD", "gain dB", "better", "SSIM", "NRMSE", f"detail {unit}"]
    cells = [
        [
            row.method,
            f"{row.psnr_db:.2f}",
            f"{row.psnr_std_db:.2f}",
            "" if row.gain_db is None else f"{row.gain_db:+.2f}",
            "" if row.better is None else f"{row.better} of {row.images}",
            f"{row.ssim:.3f}",
            f"{row.nrmse:.4f}",
            f"{row.resolution_px:.2f}" if None in sizes else f"{row.resolution_nm:.0f}",
        ]
        for row in summaries
    ]
    return header, cells


def summary_markdown(summaries: Sequence[MethodSummary]) -> str:
    """The same table in Markdown, with how it was scored."""
    header, cells = summary_rows(summaries)
    lines = [header, ["---"] * len(header), *cells]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        f"{table}\n\nMeans over {summaries[0].images} images, after a least-squares intensity fit "
        "`a·x + b`; the range of PSNR, SSIM and NRMSE is the target's 99.9 % minus its 0.1 % "
        "percentile. Gain and the number of better images compare PSNR with bicubic. Detail: the "
        "finest period whose ring correlation with the target is at least ½.\n"
    )


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
