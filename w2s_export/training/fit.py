"""Phase one: fit the generator to pairs with a pixel loss.

Every step is a function of the state and the step's number alone, and the state is saved whole, so
a training that was killed and resumed ends with the weights of one that was not.
"""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from w2s_export.checkpoint.artifact import Checkpoint
from w2s_export.checkpoint.own import save_checkpoint
from w2s_export.data.pairs import Pair
from w2s_export.data.patches import Batch, PatchSampler
from w2s_export.errors import ConfigError, OutputError, W2SExportError
from w2s_export.losses import pixel_loss
from w2s_export.networks.generator import build_generator, get_weights
from w2s_export.training.config import TrainingConfig
from w2s_export.training.evaluate import mean_scores, score_fields
from w2s_export.training.state import TrainingState, load_state, save_state

logger = logging.getLogger(__name__)

STATE, BEST, LOG = "state.npz", "best.npz", "log.csv"


@dataclass(frozen=True, slots=True)
class Step:
    """What a progress callback hears after each step (scores only after a validation)."""

    step: int
    steps: int
    loss: float
    rate: float
    scores: dict[str, float] | None = None


class DivergedError(W2SExportError):
    """The loss became NaN or infinite."""


def fit(
    config: TrainingConfig,
    training: Sequence[Pair],
    validation: Sequence[Pair],
    output: Path,
    *,
    resume: bool = False,
    progress: Callable[[Step], None] | None = None,
) -> Path:
    """Train, and return the path of the best checkpoint (by validation PSNR).

    Args:
        config: everything that decides the result.
        training: fields that patches are cut from.
        validation: fields that choose the best weights.
        output: folder for `state.npz`, `best.npz` and `log.csv`.
        resume: go on from the folder's state.
        progress: called after each step.

    Raises:
        OutputError: the folder holds a training already and `resume` is false.
        CheckpointError: there is no state to resume, or it is of another configuration.
        DivergedError: the loss is not finite.
        ImageError: an image is smaller than a patch.
    """
    if not validation:
        raise ConfigError("data.validation lists no field; name at least one")
    sampler = PatchSampler(
        training, config.patch, config.batch, config.generator.scale, config.seed
    )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output}: cannot be made: {error.strerror}") from None
    if (output / STATE).exists() and not resume:
        raise OutputError(f"{output}: holds a training already; use --resume or another folder")

    learner = _Learner(config)
    if resume:
        learner.restore(load_state(output / STATE, config))
        _forget_after(output / LOG, learner.step)
    else:
        (output / LOG).unlink(missing_ok=True)
        save_state(output / STATE, learner.state(), config)
    for step, batch in _prefetch(sampler, learner.step, config.steps):
        rate = config.schedule.rate(step, sampler.steps_per_epoch, config.steps)
        loss = learner.learn(batch, rate)
        if not math.isfinite(loss):
            raise DivergedError(
                f"the loss became {loss} at step {step + 1}; look at the images for NaN, lower "
                "schedule.initial and start again in another --output"
            )
        scores = None
        if learner.step % config.validate_every == 0 or learner.step == config.steps:
            scores = mean_scores(score_fields(learner.restored, validation))
            if scores["psnr_db"] > learner.best:
                learner.best = scores["psnr_db"]
                save_checkpoint(learner.checkpoint(scores), output / BEST)
            _log(output / LOG, learner.step, loss, rate, scores)
            save_state(output / STATE, learner.state(), config)
        if progress is not None:
            progress(Step(learner.step, config.steps, loss, rate, scores))
    return output / BEST


class _Learner:
    """The generator, its optimizer and the moving average, and their step."""

    def __init__(self, config: TrainingConfig) -> None:
        import keras
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(config.seed)
        self.config, self.step, self.best = config, 0, -math.inf
        self._model = build_generator(config.generator, config.seed)
        self._average = build_generator(config.generator, config.seed)
        self._optimizer = keras.optimizers.Adam(
            config.schedule.initial, config.beta_1, config.beta_2, amsgrad=True
        )
        self._optimizer.build(self._model.trainable_variables)
        self._learn = tf.function(self._graph, reduce_retracing=True)
        self._infer = tf.function(lambda x: self._average(x), reduce_retracing=True)

    def _graph(self, low: Any, high: Any) -> Any:
        import tensorflow as tf

        variables = self._model.trainable_variables
        with tf.GradientTape() as tape:
            loss = pixel_loss(high, self._model(low, training=True), self.config.loss)
        gradients = tape.gradient(loss, variables)
        self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
        for mean, value in zip(self._average.trainable_variables, variables, strict=True):
            mean.assign(self.config.ema * mean + (1 - self.config.ema) * value)
        return loss

    def learn(self, batch: Batch, rate: float) -> float:
        """One step; returns the loss."""
        import tensorflow as tf

        self._optimizer.learning_rate.assign(rate)
        loss = float(self._learn(tf.constant(batch.low), tf.constant(batch.high)))
        self.step += 1
        return loss

    def restored(self, low: Any) -> Any:
        """The averaged generator on (N, H, W, C)."""
        import tensorflow as tf

        return self._infer(tf.constant(low)).numpy()

    def state(self) -> TrainingState:
        return TrainingState(
            self.step,
            self.best,
            self._model.get_weights(),
            self._average.get_weights(),
            [np.asarray(variable) for variable in self._optimizer.variables],
        )

    def restore(self, state: TrainingState) -> None:
        self._model.set_weights(state.weights)
        self._average.set_weights(state.average)
        for variable, value in zip(self._optimizer.variables, state.optimizer, strict=True):
            variable.assign(value)
        self.step, self.best = state.step, state.best_psnr_db

    def checkpoint(self, scores: dict[str, float]) -> Checkpoint:
        config = self.config
        weights = get_weights(self._average, config.generator)
        provenance = config.provenance.model_copy(
            update={
                "name": config.name,
                "scores": {f"validation_{k}": v for k, v in scores.items()},
            }
        )
        return Checkpoint(config.generator, weights, config.normalisation, provenance)


def _prefetch(sampler: PatchSampler, first: int, last: int) -> Iterator[tuple[int, Batch]]:
    """Cut the next batch while the current one is learned."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = pool.submit(sampler.batch, first)
        for step in range(first, last):
            batch = coming.result()
            coming = pool.submit(sampler.batch, step + 1)
            yield step, batch


def _log(path: Path, step: int, loss: float, rate: float, scores: dict[str, float]) -> None:
    row = {"step": step, "loss": f"{loss:.6f}", "rate": f"{rate:.3e}", **scores}
    fresh = not path.exists()
    with path.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, list(row))
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def _forget_after(path: Path, step: int) -> None:
    """Drop log rows of steps that the state does not hold (killed between log and state)."""
    if not path.exists():
        return
    lines = path.read_text().splitlines(keepends=True)
    numbered = [(line.split(",")[0], line) for line in lines[1:]]
    kept = [line for number, line in numbered if number.isdigit() and int(number) <= step]
    path.write_text("".join([*lines[:1], *kept]))


def with_scores(checkpoint: Checkpoint, scores: dict[str, float]) -> Checkpoint:
    """The checkpoint, its provenance carrying `scores` beside those it has."""
    provenance = checkpoint.provenance
    merged = provenance.model_copy(update={"scores": {**provenance.scores, **scores}})
    return replace(checkpoint, provenance=merged)
