"""Learning rate as a pure function of the step, so that a resumed training needs no state."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from w2s_export.config import Frozen


class Schedule(Frozen):
    """How the learning rate falls."""

    kind: Literal["constant", "halving", "milestones", "cosine"] = "halving"
    """`halving`: halved after each epoch, as the W2S report states. `milestones`: multiplied by
    `factor` at each of `milestones`, as ESRGAN does. `cosine`: half a cosine from
    `initial` to `final` over the whole training (https://arxiv.org/abs/1608.03983)."""
    initial: Annotated[float, Field(gt=0, le=1)] = 1e-4
    """Learning rate of the first step (after the warm-up)."""
    final: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Learning rate below which none of them goes."""
    halving_epochs: Annotated[int, Field(ge=1)] = 50
    """Epochs after which halving stops."""
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Steps, rising, from which on the rate is `factor` times lower."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Of `milestones`."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the rate rises linearly from zero."""

    @model_validator(mode="after")
    def _has_its_milestones(self) -> Schedule:
        if (self.kind == "milestones") != bool(self.milestones):
            raise ValueError("kind 'milestones' and the list `milestones` go together")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones must rise, got {list(self.milestones)}")
        return self

    def rate(self, step: int, steps_per_epoch: int, total_steps: int) -> float:
        """Learning rate of a step counted from 0."""
        value = self.initial
        if self.kind == "halving":
            epoch = min(step // steps_per_epoch, self.halving_epochs)
            value = max(self.final, self.initial * 0.5**epoch)
        elif self.kind == "milestones":
            passed = sum(step >= milestone for milestone in self.milestones)
            value = max(self.final, self.initial * self.factor**passed)
        elif self.kind == "cosine":
            progress = min(1.0, step / max(1, total_steps))
            value = self.final + (self.initial - self.final) * (
                0.5 * (1 + math.cos(math.pi * progress))
            )
        if step < self.warmup_steps:
            value *= (step + 1) / self.warmup_steps
        return value
