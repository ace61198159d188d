"""The phases of a training, each with what differs from the other."""

from __future__ import annotations

from dataclasses import dataclass

from w2s_export.metrics.registry import metrics
from w2s_export.training.config import AdversarialPhase, TrainingConfig
from w2s_export.training.schedules import Schedule


@dataclass(frozen=True, slots=True)
class Phase:
    """Phase one has no `adversarial` part."""

    name: str
    steps: int
    schedule: Schedule
    loss: str
    choose_by: str
    adversarial: AdversarialPhase | None

    @property
    def best(self) -> str:
        """File of the best weights by validation."""
        return f"best-{self.name}.npz"

    def better(self, score: float, best: float | None) -> bool:
        """Whether a score beats the best so far (None: there is none yet)."""
        if best is None:
            return True
        chosen = metrics().get(self.choose_by)
        return score > best if chosen and chosen.higher_is_better else score < best


def phases(config: TrainingConfig) -> list[Phase]:
    """The phases of a configuration, in order; at least one."""
    result = []
    if config.steps:
        result.append(
            Phase("pixel", config.steps, config.schedule, config.loss, config.choose_by, None)
        )
    if config.adversarial:
        two = config.adversarial
        result.append(Phase("adversarial", two.steps, two.schedule, two.loss, two.choose_by, two))
    return result
