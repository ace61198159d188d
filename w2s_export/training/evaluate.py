"""Scores of a generator, and of bicubic enlargement, over whole fields: as `evaluate` scores them.

The target is the image as stored and the borders are mirrored; only the tiles of `evaluate` are
missing, whose seams are below what scores can show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2s_export.data.pairs import Pair, stored_target
from w2s_export.metrics.registry import Features, metrics
from w2s_export.metrics.scores import Scores, bicubic, score

MARGIN = 20
"""Mirrored pixels around an input: the halo of the full network, and a multiple of any step."""
Image = NDArray[np.float32]
Restore = Callable[[Image], Image]
"""(1, H, W, C) → (1, s·H, s·W, C')."""


@dataclass(frozen=True, slots=True)
class FieldScores:
    """Scores of one field: restored, and bicubic for comparison (empty if channels differ)."""

    name: str
    restored: Scores
    bicubic: Scores


def restore_mirrored(restore: Restore, low: Image, scale: int) -> Image:
    """Restore (H, W, C) → (s·H, s·W, C') with the borders mirrored as the clients do it."""
    padded = np.pad(low, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), "symmetric")
    cut = slice(scale * MARGIN, -scale * MARGIN)
    return restore(padded[None])[0, cut, cut]


def score_fields(
    restore: Restore, pairs: Sequence[Pair], features: Features | None = None
) -> list[FieldScores]:
    """Restore and score every field by every metric."""
    return [score_field(restore, pair, features)[0] for pair in pairs]


def score_field(
    restore: Restore, pair: Pair, features: Features | None = None, known: Scores | None = None
) -> tuple[FieldScores, Image]:
    """Scores of one field, and the field restored (s·H, s·W, C'). `known`: bicubic's, if it is."""
    scale = pair.high.shape[0] // pair.low.shape[0]
    output = restore_mirrored(restore, pair.low, scale)
    target = stored_target(pair)
    if known is None:
        known = {}
        if pair.low.shape[2] == len(target):
            enlarged = [bicubic(channel, scale) for channel in np.moveaxis(pair.low, -1, 0)]
            known = score(np.stack(enlarged), target, features=features)
    own = score(np.moveaxis(output, -1, 0), target, features=features)
    return FieldScores(pair.name, own, known), output


def mean_scores(fields: Sequence[FieldScores]) -> dict[str, float]:
    """Means over fields, rounded to what they mean."""
    result: dict[str, float] = {}
    for one in metrics().values():
        for key, side in ((one.key, "restored"), (one.bicubic_key, "bicubic")):
            values = [scores[one.key] for f in fields if one.key in (scores := getattr(f, side))]
            if values:
                result[key] = round(float(np.mean(values)), one.digits)
    return {**result, "fields": float(len(fields))}
