"""Mean scores of a generator, and of bicubic enlargement, over whole fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2s_export.data.pairs import Pair
from w2s_export.metrics.scores import Scores, bicubic, score


@dataclass(frozen=True, slots=True)
class FieldScores:
    """Scores of one field: restored, and bicubic for comparison."""

    name: str
    restored: Scores
    bicubic: Scores


def score_fields(
    restore: Callable[[NDArray[np.float32]], NDArray[np.float32]], pairs: Sequence[Pair]
) -> list[FieldScores]:
    """Restore and score the first channel of every field.

    Args:
        restore: (1, H, W, C) → (1, s·H, s·W, C).
        pairs: fields with targets.
    """
    result = []
    for pair in pairs:
        target = pair.high[..., 0]
        output = restore(pair.low[None])[0, ..., 0]
        scale = pair.high.shape[0] // pair.low.shape[0]
        result.append(
            FieldScores(
                pair.name, score(output, target), score(bicubic(pair.low[..., 0], scale), target)
            )
        )
    return result


def mean_scores(fields: Sequence[FieldScores]) -> dict[str, float]:
    """Means over fields, rounded as cards print them."""

    def mean(of: str, what: str, digits: int) -> float:
        values = [getattr(getattr(field, of), what) for field in fields]
        return round(float(np.mean(values)), digits)

    return {
        "psnr_db": mean("restored", "psnr_db", 3),
        "ssim": mean("restored", "ssim", 4),
        "nrmse": mean("restored", "nrmse", 5),
        "resolution_px": mean("restored", "resolution_px", 3),
        "psnr_bicubic_db": mean("bicubic", "psnr_db", 3),
        "ssim_bicubic": mean("bicubic", "ssim", 4),
        "nrmse_bicubic": mean("bicubic", "nrmse", 5),
        "resolution_bicubic_px": mean("bicubic", "resolution_px", 3),
        "fields": float(len(fields)),
    }
