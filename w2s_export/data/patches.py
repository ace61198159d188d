"""Patches cut online, half overlapping, with flips and rotations drawn per sample.

Everything drawn depends only on (seed, step), so an interrupted training that resumes at a step
sees the very patches it would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2s_export.data.pairs import Pair
from w2s_export.errors import ImageError


@dataclass(frozen=True, slots=True)
class Batch:
    """`low` (N, p, p, C) and `high` (N, s·p, s·p, C), float32."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]


class PatchSampler:
    """All half-overlapping patches of the pairs, shuffled anew each epoch."""

    def __init__(self, pairs: Sequence[Pair], patch: int, batch: int, scale: int, seed: int):
        """Lay the grid.

        Args:
            pairs: the training fields.
            patch: side of an input patch, pixels.
            batch: patches per step.
            scale: target pixels per input pixel.
            seed: decides order and augmentation.

        Raises:
            ImageError: no pairs, or an image smaller than a patch.
        """
        if not pairs:
            raise ImageError("there are no training pairs")
        for pair in pairs:
            if min(pair.low.shape[:2]) < patch:
                raise ImageError(
                    f"'{pair.name}' is {pair.low.shape[0]}×{pair.low.shape[1]}, smaller than the "
                    f"patch of {patch}; choose a smaller patch"
                )
        self._pairs, self._patch, self._batch = pairs, patch, batch
        self._scale, self._seed = scale, seed
        self._places = [
            (index, top, left)
            for index, pair in enumerate(pairs)
            for top in grid(pair.low.shape[0], patch)
            for left in grid(pair.low.shape[1], patch)
        ]

    @property
    def steps_per_epoch(self) -> int:
        """Batches that show every patch once (the last one filled from the next shuffle)."""
        return -(-len(self._places) // self._batch)

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0 over all epochs."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = self._order(epoch)
        chosen = order[position * self._batch : (position + 1) * self._batch]
        if len(chosen) < self._batch:
            filler = np.resize(self._order(epoch + 1), self._batch - len(chosen))
            chosen = np.concatenate([chosen, filler])
        rng = np.random.default_rng((self._seed, 1, step))
        samples = [self._cut(int(place), rng) for place in chosen]
        return Batch(
            low=np.stack([low for low, _ in samples]), high=np.stack([high for _, high in samples])
        )

    def close(self) -> None:
        """Nothing was started."""

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng((self._seed, 0, epoch)).permutation(len(self._places))

    def _cut(
        self, place: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        index, top, left = self._places[place]
        pair, p, s = self._pairs[index], self._patch, self._scale
        low = pair.low[top : top + p, left : left + p]
        high = pair.high[s * top : s * (top + p), s * left : s * (left + p)]
        return augment(low, high, rng)


def random_patch(
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    patch: int,
    scale: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One patch from anywhere in a field, augmented, with its target."""
    top, left = (int(rng.integers(size - patch + 1)) for size in low.shape[:2])
    x = low[top : top + patch, left : left + patch]
    y = high[scale * top : scale * (top + patch), scale * left : scale * (left + patch)]
    return augment(x, y, rng)


def grid(length: int, patch: int) -> list[int]:
    """Starts of patches of `patch` along `length`, half overlapping, the last flush at the end."""
    starts = list(range(0, length - patch + 1, max(1, patch // 2)))
    if starts[-1] != length - patch:
        starts.append(length - patch)
    return starts


def augment(
    low: NDArray[np.float32], high: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """With probability ½: flip both ways and rotate by 90°, each with probability ½.

    Both images of the pair get the same. Source: the W2S report's augmentation.
    """
    if rng.random() < 0.5:
        if rng.random() < 0.5:
            low, high = low[::-1], high[::-1]
        if rng.random() < 0.5:
            low, high = low[:, ::-1], high[:, ::-1]
        if rng.random() < 0.5:
            low, high = np.rot90(low), np.rot90(high)
    return low, high
