"""Batches that mix sources: the pairs of `data`, further folders, and simulated fields.

Every batch has its share of each source, to one patch. Which patches is a function of the seed and
the step alone, so a training that is resumed sees the very patches it would have seen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from w2s_export.data.pairs import Pair
from w2s_export.data.patches import Batch, PatchSampler, random_patch
from w2s_export.simulation.stream import SimulatedStream
from w2s_export.simulation.workers import FieldPlan, FieldPool
from w2s_export.training.config import TrainingConfig

Image = NDArray[np.float32]
Draw = Callable[[int, np.random.Generator], tuple[Image, Image]]
"""(step, generator) → one patch and its target."""


class Sampler(Protocol):
    """What a training asks for batches."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps that show every patch of the pairs about once."""
        ...

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


def make_sampler(
    config: TrainingConfig, training: Sequence[Pair], mixed: Sequence[Sequence[Pair]] = ()
) -> Sampler:
    """The sampler of a configuration: half-overlapping patches in turn, or a mixture.

    Args:
        config: sources, patch, batch and seed.
        training: the pairs of `data`.
        mixed: the pairs of each source of `config.mix`, none for a simulated one.

    Raises:
        ImageError: no pairs, or an image smaller than a patch.
    """
    pairs = _grid(config, training)
    if not config.mix:
        return pairs
    draws, pools = [_from_pairs(training, config)], []
    for number, (source, its) in enumerate(zip(config.mix, mixed, strict=True)):
        if isinstance(source, SimulatedStream):
            plan = FieldPlan(
                stream=source,
                seed=config.seed + 1000 * number,
                normalisation=config.normalisation,
                target_normalisation=config.target_normalisation,
            )
            workers = config.simulation_workers
            pools.append(FieldPool(plan, _spare_cores() if workers is None else workers))
            draws.append(_from_stream(pools[-1], config))
        else:
            _grid(config, its)
            draws.append(_from_pairs(its, config))
    return MixedSampler(config, pairs.steps_per_epoch, draws, pools)


def _grid(config: TrainingConfig, pairs: Sequence[Pair]) -> PatchSampler:
    return PatchSampler(pairs, config.patch, config.batch, config.generator.scale, config.seed)


def _spare_cores() -> int:
    return max(1, (os.cpu_count() or 1) - 1)


class MixedSampler:
    """Batches of a mixture."""

    def __init__(
        self,
        config: TrainingConfig,
        steps_per_epoch: int,
        draws: Sequence[Draw],
        pools: Sequence[FieldPool],
    ) -> None:
        self._config, self._draws, self._pools = config, draws, pools
        self.steps_per_epoch = steps_per_epoch

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        rng = np.random.default_rng((self._config.seed, 2, step))
        shares = np.cumsum(self._config.shares(step))
        # One random start and equal steps: each source gets its share, rounded up or down.
        places = (np.arange(self._config.batch) + rng.random()) / self._config.batch
        chosen = np.searchsorted(shares, places * shares[-1], side="right")
        drawn = [self._draws[source](step, rng) for source in chosen]
        low, high = (np.stack(images) for images in zip(*drawn, strict=True))
        return Batch(low=low, high=high)

    def close(self) -> None:
        """End the processes that simulate."""
        for pool in self._pools:
            pool.close()


def _from_pairs(pairs: Sequence[Pair], config: TrainingConfig) -> Draw:
    def draw(_: int, rng: np.random.Generator) -> tuple[Image, Image]:
        pair = pairs[int(rng.integers(len(pairs)))]
        return random_patch(pair.low, pair.high, config.patch, config.generator.scale, rng)

    return draw


def _from_stream(pool: FieldPool, config: TrainingConfig) -> Draw:
    def draw(step: int, rng: np.random.Generator) -> tuple[Image, Image]:
        window = pool.window(step)
        field = pool.get(step, window[int(rng.integers(len(window)))])
        return random_patch(*field, config.patch, config.generator.scale, rng)

    return draw
