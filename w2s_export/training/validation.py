"""What validation says of a generator: scores to choose by, and images to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from w2s_export.data.pairs import Pair
from w2s_export.metrics.scores import Scores
from w2s_export.networks.features import FeatureNetwork
from w2s_export.training.evaluate import Image, Restore, mean_scores, score_field
from w2s_export.training.losses import perceptual_loss


@dataclass(frozen=True, slots=True)
class Validation:
    """Mean scores by name, and each field restored, (s·H, s·W, C)."""

    scores: dict[str, float]
    images: tuple[Image, ...]


class Validator:
    """Restores and scores fields, again and again."""

    def __init__(self, pairs: Sequence[Pair], features: FeatureNetwork | None, kind: str) -> None:
        """Remember the fields.

        Args:
            pairs: fields with targets.
            features: adds the metrics that need them, and the score `perceptual`: the loss itself.
            kind: `l1` or `l2`, of that loss.
        """
        self._pairs, self._features, self._kind = pairs, features, kind
        self._bicubic: dict[str, Scores] = {}

    def __call__(self, restore: Restore) -> Validation:
        """Score `restore`, (1, H, W, C) → (1, s·H, s·W, C)."""
        stages = self._features.stages if self._features else None
        fields, images = [], []
        for pair in self._pairs:
            field, image = score_field(restore, pair, stages, self._bicubic.get(pair.name))
            self._bicubic[pair.name] = field.bicubic
            fields.append(field)
            images.append(image)
        scores = mean_scores(fields)
        if self._features:
            distances = [
                float(perceptual_loss(target, self._features(image[None]), self._kind))
                for target, image in zip(self._targets, images, strict=True)
            ]
            scores["perceptual"] = round(float(np.mean(distances)), 4)
        return Validation(scores, tuple(images))

    @cached_property
    def _targets(self) -> list[Any]:
        return [self._features(pair.high[None]) for pair in self._pairs] if self._features else []
