"""What validation says of a generator: scores to choose by, and images to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.data.pairs import Pair
from w2s_export.networks.features import FeatureNetwork
from w2s_export.training.evaluate import mean_scores, score_fields
from w2s_export.training.losses import perceptual_loss

Image = NDArray[np.float32]


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
            features: adds the score `perceptual`, the mean distance of these features.
            kind: `l1` or `l2`, of that distance.
        """
        self._pairs, self._features, self._kind = pairs, features, kind

    def __call__(self, restore: Callable[[Image], Image]) -> Validation:
        """Score `restore`, (1, H, W, C) → (1, s·H, s·W, C)."""
        images: list[Image] = []

        def remembered(low: Image) -> Image:
            images.append(restore(low)[0])
            return images[-1][None]

        scores = mean_scores(score_fields(remembered, self._pairs))
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
