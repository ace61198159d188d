"""The loop: fit the generator to pairs, phase by phase, on one device or many.

Every step is a function of the state and the step's number alone, and the state is saved whole, so
a training that was killed and resumed ends with the weights of one that was not.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_export.data.pairs import Pair
from w2s_export.data.patches import Batch
from w2s_export.errors import CheckpointMismatchError, ConfigError, OutputError, W2SExportError
from w2s_export.io.temporary import naming_full_disk
from w2s_export.networks.features import FeatureNetwork
from w2s_export.runtime.onednn import onednn
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.feature_weights import load_features
from w2s_export.sources.load import load_checkpoint
from w2s_export.sources.npz_checkpoint import load_own, save_checkpoint
from w2s_export.training.config import TrainingConfig
from w2s_export.training.distribution import choose_strategy, is_chief, wait_for_all
from w2s_export.training.learner import TOTAL, Learner, reproducible
from w2s_export.training.mixture import Sampler, make_sampler
from w2s_export.training.phases import Phase, phases
from w2s_export.training.pictures import draw_fields
from w2s_export.training.state import Standing, TrainingState, load_state, save_state
from w2s_export.training.validation import Validator

if TYPE_CHECKING:
    from w2s_export.training.journal import Journal

logger = logging.getLogger(__name__)

STATE = "state.npz"


@dataclass(frozen=True, slots=True)
class Step:
    """What a progress callback hears after each step (scores only after a validation)."""

    step: int
    steps: int
    phase: str
    losses: dict[str, float]
    rate: float
    scores: dict[str, float] | None = None

    @property
    def loss(self) -> float:
        """What the generator minimises."""
        return self.losses[TOTAL]


class DivergedError(W2SExportError):
    """A loss became NaN or infinite."""


@onednn(True)
def fit(
    config: TrainingConfig,
    training: Sequence[Pair],
    validation: Sequence[Pair],
    output: Path,
    *,
    mixed: Sequence[Sequence[Pair]] = (),
    resume: bool = False,
    progress: Callable[[Step], None] | None = None,
) -> Path:
    """Train, and return the path of the last phase's best checkpoint (by its validation score).

    Args:
        config: everything that decides the result.
        training: fields that patches are cut from.
        validation: fields that choose the best weights.
        output: folder for the state, the best weights of each phase, records and pictures. Workers
            on several machines share it.
        mixed: the pairs of each source of `config.mix`, none for a simulated one.
        resume: go on from the folder's state.
        progress: called after each step.

    Raises:
        ConfigError: no validation field, feature weights that cannot be used, a batch that does not
            spread evenly over the devices.
        OutputError: the folder holds a training already and `resume` is false; or its disk is full.
        CheckpointError: there is no training to resume, or it is of another configuration; or
            `start` cannot be used.
        DivergedError: a loss is not finite.
        ImageError: an image is smaller than a patch.
    """
    if not validation:
        raise ConfigError("data.validation lists no field; name at least one")
    sampler = make_sampler(config, training, mixed)
    if (output / STATE).exists() and not resume:
        raise OutputError(f"{output}: holds a training already; use --resume or another folder")
    # Killed before its first state was written, a training has nothing to go on from but its start.
    just_begun = output.is_dir() and not (output / STATE).exists()
    state = load_state(output / STATE, config) if resume and not just_begun else None
    features = None
    if config.adversarial:
        features = load_features(config.adversarial.feature_weights)
        logger.info("features: %s of %s", features.layer, features.kind)
    start = _start(config) if config.start and state is None else None

    try:
        with reproducible(), naming_full_disk(output):
            return _run(config, sampler, validation, output, features, (state, start), progress)
    finally:
        sampler.close()


def _run(
    config: TrainingConfig,
    sampler: Sampler,
    validation: Sequence[Pair],
    output: Path,
    features: FeatureNetwork | None,
    beginning: tuple[TrainingState | None, Checkpoint | None],
    progress: Callable[[Step], None] | None,
) -> Path:
    strategy = choose_strategy()
    if config.batch % strategy.num_replicas_in_sync:
        raise ConfigError(
            f"batch {config.batch} does not spread evenly over {strategy.num_replicas_in_sync} "
            "devices; choose a multiple"
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output}: cannot be made: {error.strerror}") from None
    wait_for_all(strategy)
    loop = _Loop(config, sampler, validation, output, features, strategy, progress)
    return loop.run(*beginning)


def _start(config: TrainingConfig) -> Checkpoint:
    assert config.start  # noqa: S101 - for the type checker
    checkpoint = load_checkpoint(config.start)
    if checkpoint.config != config.generator:
        raise CheckpointMismatchError(
            f"start: {config.start} is {checkpoint.config!r}, the configuration asks for "
            f"{config.generator!r}"
        )
    if checkpoint.normalisation not in (None, config.normalisation):
        logger.warning("start: its images were normalised by %s", checkpoint.normalisation)
    return checkpoint


class _Loop:
    """One call of `fit`: what stays the same while phases and steps pass."""

    def __init__(
        self,
        config: TrainingConfig,
        sampler: Sampler,
        validation: Sequence[Pair],
        output: Path,
        features: FeatureNetwork | None,
        strategy: Any,
        progress: Callable[[Step], None] | None,
    ) -> None:
        self._config, self._sampler, self._validation = config, sampler, validation
        self._output, self._features, self._strategy = output, features, strategy
        self._progress = progress or (lambda step: None)
        self._phases = phases(config)
        self._steps = sum(phase.steps for phase in self._phases)

    def run(self, state: TrainingState | None, start: Checkpoint | None) -> Path:
        standing = state.standing if state else Standing()
        for index, phase in enumerate(self._phases):
            if index < standing.phase:
                continue
            learner = Learner(
                self._config, phase, self._features if phase.adversarial else None, self._strategy
            )
            if state and index == state.standing.phase:
                learner.restore(state.variables)
            else:
                if index:
                    wait_for_all(self._strategy)
                    start = load_own(self._output / self._phases[index - 1].best)
                if start:
                    learner.start(start.weights)
                now = standing.step
                standing = Standing(step=now, phase=index, first=now, best_step=now)
                self._save(learner, standing)
            standing = self._run_phase(phase, learner, standing)
        wait_for_all(self._strategy)
        return self._output / self._phases[-1].best

    def _run_phase(self, phase: Phase, learner: Learner, standing: Standing) -> Standing:
        config = self._config
        journal = self._journal(phase, standing.step)
        validator = Validator(self._validation, self._features, phase.loss)
        for step, batch in _prefetch(self._sampler, standing.step, standing.first + phase.steps):
            if self._has_stalled(standing):
                logger.warning(
                    "phase %s ends early: no better %s since step %d",
                    phase.name, phase.choose_by, standing.best_step,
                )  # fmt: skip
                break
            taken = step - standing.first
            rate = phase.schedule.rate(taken, self._sampler.steps_per_epoch, phase.steps)
            losses = learner.learn(batch, rate)
            standing = replace(standing, step=step + 1)
            _check_finite(losses, standing.step)
            if journal:
                journal.losses(standing.step, {"rate": rate, **losses})
            taken, scores = taken + 1, None
            if taken % config.validate_every == 0 or taken == phase.steps:
                seen = validator(learner.restored)
                scores = seen.scores
                standing = self._keep_best(phase, learner, standing, scores)
                if journal:
                    journal.scores(
                        standing.step, scores, draw_fields(self._validation, seen.images)
                    )
            if config.keep_every and taken % config.keep_every == 0:
                self._write(learner, f"step-{standing.step:07d}.npz", scores or {})
            if scores or (config.save_every and taken % config.save_every == 0):
                self._save(learner, standing)
            self._progress(Step(standing.step, self._steps, phase.name, losses, rate, scores))
        return standing

    def _has_stalled(self, standing: Standing) -> bool:
        patience = self._config.patience
        since = standing.step - standing.best_step
        return patience is not None and since >= patience * self._config.validate_every

    def _keep_best(
        self, phase: Phase, learner: Learner, standing: Standing, scores: dict[str, float]
    ) -> Standing:
        score = scores[phase.choose_by]
        if not phase.better(score, standing.best):
            return standing
        self._write(learner, phase.best, scores)
        return replace(standing, best=score, best_step=standing.step)

    def _journal(self, phase: Phase, step: int) -> Journal | None:
        from w2s_export.training.journal import Journal

        return Journal(self._output, phase.name, step) if is_chief() else None

    def _save(self, learner: Learner, standing: Standing) -> None:
        if is_chief():
            state = TrainingState(standing, learner.state())
            save_state(self._output / STATE, state, self._config)

    def _write(self, learner: Learner, name: str, scores: dict[str, float]) -> None:
        """Write the averaged generator as a checkpoint."""
        if is_chief():
            config = self._config
            checkpoint = Checkpoint(
                config.generator,
                learner.weights(),
                config.normalisation,
                config.provenance.model_copy(update={"name": config.name}),
            )
            named = {f"validation_{k}": v for k, v in scores.items()}
            save_checkpoint(with_scores(checkpoint, named), self._output / name)


def _check_finite(losses: dict[str, float], step: int) -> None:
    for name, value in losses.items():
        if not math.isfinite(value):
            raise DivergedError(
                f"the {name.removesuffix('loss') or 'total '}loss became {value} at step {step}; "
                "look at the images for NaN, lower schedule.initial or set clip_norm, and start "
                "again in another --output"
            )


def _prefetch(sampler: Sampler, first: int, last: int) -> Iterator[tuple[int, Batch]]:
    """Cut the next batch while the current one is learned."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = pool.submit(sampler.batch, first)
        for step in range(first, last):
            batch = coming.result()
            coming = pool.submit(sampler.batch, step + 1)
            yield step, batch


def with_scores(checkpoint: Checkpoint, scores: dict[str, float]) -> Checkpoint:
    """The checkpoint, its provenance carrying `scores` beside those it has."""
    provenance = checkpoint.provenance
    merged = provenance.model_copy(update={"scores": {**provenance.scores, **scores}})
    return replace(checkpoint, provenance=merged)
