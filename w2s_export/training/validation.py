"""What validation says of a generator: scores to choose by, and images to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2s_export.data.pairs import Pair
from w2s_export.losses import perceptual_loss
from w2s_export.networks.features import FeatureNetwork
from w2s_export.training.evaluate import mean_scores, score_fields

Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Validation:
    """Mean scores by name, and each field restored, (s·H, s·W, C)."""

    scores: dict[str, float]
    images: tuple[Image, ...]


def validate(
    restore: Callable[[Image], Image],
    pairs: Sequence[Pair],
    features: FeatureNetwork | None,
    kind: str,
) -> Validation:
    """Restore and score every field.

    Args:
        restore: (1, H, W, C) → (1, s·H, s·W, C).
        pairs: fields with targets.
        features: adds the score `perceptual`, the mean distance of these features.
        kind: `l1` or `l2`, of that distance.
    """
    images: list[Image] = []

    def remembered(low: Image) -> Image:
        images.append(restore(low)[0])
        return images[-1][None]

    scores = mean_scores(score_fields(remembered, pairs))
    if features is not None:
        distances = [
            float(perceptual_loss(features(pair.high[None]), features(image[None]), kind))
            for pair, image in zip(pairs, images, strict=True)
        ]
        scores["perceptual"] = round(float(np.mean(distances)), 4)
    return Validation(scores, tuple(images))
