"""A whole training: read and split the fields, fit, score the best weights on unseen fields."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from w2s_export.config import GeneratorConfig
from w2s_export.counting import counted
from w2s_export.data.layouts import MixedFolders
from w2s_export.data.pairs import Pair, pixel_size_um, read_files, stored_target
from w2s_export.data.split import Split, compare_with_split
from w2s_export.data.split import read_split as split_pairs
from w2s_export.errors import ImageError
from w2s_export.metrics.sanity import sanity_warnings
from w2s_export.sources.feature_weights import load_features
from w2s_export.sources.npz_checkpoint import load_own, save_checkpoint
from w2s_export.training.config import TrainingConfig
from w2s_export.training.distribution import is_chief
from w2s_export.training.evaluate import (
    FieldScores,
    Image,
    Restore,
    mean_scores,
    restore_mirrored,
    score_fields,
)
from w2s_export.training.fit import Step, fit, with_scores
from w2s_export.training.phases import phases

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trained:
    """The finished checkpoint and its scores on the test fields."""

    checkpoint: Path
    fields: list[FieldScores]
    scores: dict[str, float]


def read_split(config: TrainingConfig, folder: Path) -> Split:
    """Read every pair under `folder` and split as the configuration says.

    Raises:
        ConfigError: a listed name is not there, or nothing is left to train on.
        ImageError: see `data.split.read_split`, or channels that do not fit the network.
    """
    split = split_pairs(
        config.data,
        folder,
        config.generator.scale,
        config.normalisation,
        config.target_normalisation,
    )
    _check_fit(config.generator, [*split.training, *split.validation, *split.test])
    return split


def read_mixed(config: TrainingConfig, folder: Path, split: Split) -> list[list[Pair]]:
    """Read the further pairs of `config.mix`, none for a simulated source.

    Raises:
        ImageError: as `read_split`; or a further pair looks like a held-out field.
    """
    result: list[list[Pair]] = []
    for source in config.mix:
        pairs: list[Pair] = []
        if isinstance(source, MixedFolders):
            how = (config.normalisation, config.target_normalisation)
            pairs = read_files(source.files(folder), config.generator.scale, *how)
            _check_fit(config.generator, pairs)
            compare_with_split(split, pairs, f"mix ({source.low})", config.data.duplicates)
        result.append(pairs)
    return result


def _check_fit(generator: GeneratorConfig, pairs: Iterable[Pair]) -> None:
    """Name the first pair that the network cannot take or make."""
    for pair in pairs:
        for image, channels, role in (
            (pair.low, generator.in_nc, "input"),
            (pair.high, generator.out_nc, "target"),
        ):
            if image.shape[2] != channels:
                raise ImageError(
                    f"'{pair.name}': its {role} has {counted(image.shape[2], 'channel')}, the "
                    f"network {channels}; convert the images or set generator.in_nc and out_nc"
                )
        if any(size % generator.pixel_unshuffle for size in pair.low.shape[:2]):
            raise ImageError(
                f"'{pair.name}': is {pair.low.shape[0]}×{pair.low.shape[1]} pixels; this network "
                f"takes multiples of {generator.pixel_unshuffle}, crop the pairs"
            )


def _with_pixel_size(config: TrainingConfig, split: Split) -> TrainingConfig:
    """The pixel size of the first input, where the configuration gives none."""
    first = split.training[0].files
    if config.provenance.pixel_size_um is not None or first is None:
        return config
    known = config.provenance.model_copy(update={"pixel_size_um": pixel_size_um(first)})
    return config.model_copy(update={"provenance": known})


def _with_details(config: TrainingConfig) -> TrainingConfig:
    """How it is trained, by the names of bioimage.io's model card, in the provenance."""
    taken = phases(config)
    losses = [
        f"{phase.loss.upper()}, {phase.adversarial.features} and relativistic adversarial"
        if phase.adversarial
        else phase.loss.upper()
        for phase in taken
    ]
    details: dict[str, str | float] = {
        "training_batch_size": config.batch,
        "training_steps": config.all_steps,
        "training_patch": config.patch,
        "initial_learning_rate": taken[0].schedule.initial,
        "learning_rate_schedule": ", then ".join(phase.schedule.kind for phase in taken),
        "loss_function": ", then ".join(losses),
        "optimizer": f"Adam with AMSGrad, beta_1 {config.beta_1:g}, beta_2 {config.beta_2:g}",
    }
    known = config.provenance
    known = known.model_copy(update={"training": {**details, **known.training}})
    return config.model_copy(update={"provenance": known})


def _warnings(restore: Restore, pair: Pair) -> list[str]:
    """What makes the result on one field look wrong."""
    scale = pair.high.shape[0] // pair.low.shape[0]
    output = np.moveaxis(restore_mirrored(restore, pair.low, scale), -1, 0)
    found = sanity_warnings(np.moveaxis(pair.low, -1, 0), output, stored_target(pair))
    return [f"'{pair.name}': {text}" for text in found]


def train(
    config: TrainingConfig,
    folder: Path,
    output: Path,
    *,
    resume: bool = False,
    progress: Callable[[Step], None] | None = None,
) -> Trained:
    """Train and write `output/NAME.npz`, its provenance carrying the test scores.

    Raises:
        W2SExportError: see `read_split` and `fit`.
    """
    split = read_split(config, folder)
    config = _with_details(_with_pixel_size(config, split))
    best = load_own(
        fit(
            config,
            split.training,
            split.validation,
            output,
            mixed=read_mixed(config, folder, split),
            resume=resume,
            progress=progress,
        )
    )
    from w2s_export.networks.rrdbnet import build_generator, set_weights

    model = build_generator(best.config)
    set_weights(model, best.config, best.weights)

    def restore(low: Image) -> Image:
        restored: Image = model(low).numpy()
        return restored

    second = config.adversarial
    features = load_features(second.feature_weights).stages if second and split.test else None
    fields = score_fields(restore, split.test, features)
    scores = mean_scores(fields) if fields else {}
    for warning in _warnings(restore, [*split.test, *split.validation][0]):
        logger.warning("%s", warning)
    path = output / f"{config.name}.npz"
    if is_chief():
        save_checkpoint(with_scores(best, scores), path)
    return Trained(path, fields, scores)
