"""A small data folder, stand-in feature weights, and a configuration of both phases."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml

from tests.vgg import layers, write_npz
from w2s_export.training import fit
from w2s_export.training.config import TrainingConfig
from w2s_export.training.learner import Learner
from w2s_export.training.phases import Phase

_NOT_COMPILED = (
    "name", "data", "mix", "normalisation", "target_normalisation", "start", "steps", "schedule",
    "choose_by", "patience", "validate_every", "save_every", "keep_every", "simulation_workers",
    "provenance",
)  # fmt: skip
"""Fields of a configuration that a step does not depend on."""
_learners: dict[str, tuple[Learner, list[tuple[Any, Any]]]] = {}
"""And what their variables were at first."""


def _compiled(config: TrainingConfig, phase: Phase) -> str:
    """Everything that a step may depend on."""
    fields = config.model_dump(exclude={*_NOT_COMPILED, "adversarial"})
    return repr((fields, dataclasses.replace(phase, steps=0, choose_by="", schedule=None)))


@pytest.fixture(scope="module")
def compiled_once() -> Iterator[None]:
    """Trainings in this process share a learner where their steps are the same.

    Modules that use it stand in the group `fit`: to trace a step takes four to fifteen seconds. A
    learner begins each training with every variable that its traced step touches as it was at
    first, whether `Learner.state` knows it or not. `test_killed.py` and `test_many_devices.py`
    train in processes of their own too.
    """
    import tensorflow as tf

    def learner(config: TrainingConfig, phase: Phase, features: Any, strategy: Any) -> Learner:
        key = _compiled(config, phase)
        if key not in _learners:
            new = Learner(config, phase, features, strategy)
            sizes = config.patch, config.patch * config.generator.scale
            channels = config.generator.in_nc, config.generator.out_nc
            specs = (
                tf.TensorSpec((config.batch, size, size, count))
                for size, count in zip(sizes, channels, strict=True)
            )
            touched = new._learn.get_concrete_function(*specs).graph.variables
            _learners[key] = new, [(variable, variable.numpy()) for variable in touched]
        found, beginning = _learners[key]
        for variable, value in beginning:
            variable.assign(value)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "Learner", learner)
        yield


@pytest.fixture(scope="session")
def vgg16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of feature weights that needs no download."""
    return write_npz(tmp_path_factory.mktemp("features") / "vgg16.npz", layers(3))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pairs of noise with some structure, in lr/ and hr/."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in "abcd":
        high = rng.integers(0, 4000, (32, 40)).astype(np.uint16)
        low = high.reshape(16, 2, 20, 2).mean((1, 3)).astype(np.uint16)
        for place, pixels in (("lr", low), ("hr", high)):
            (folder / place).mkdir(exist_ok=True)
            tifffile.imwrite(folder / place / f"{name}.tif", pixels)
    return folder


@pytest.fixture
def config(tmp_path: Path, vgg16: Path) -> Path:
    """Both phases, three steps each."""
    values = {
        "name": "tiny-model",
        "data": {"validation": ["c.tif"], "test": ["d.tif"]},
        "generator": {"nf": 4, "gc": 2, "nb": 1},
        "patch": 8,
        "batch": 4,
        "steps": 3,
        "validate_every": 3,
        "ema": 0.75,
        "clip_norm": 0.01,
        "schedule": {"kind": "constant", "initial": 1e-3},
        "adversarial": {
            "steps": 3,
            "schedule": {"kind": "constant", "initial": 1e-3},
            "feature_weights": str(vgg16),
            "discriminator": {"nf": 4, "levels": 3},
        },
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path
