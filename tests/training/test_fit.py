"""The loop: it learns, resumes to the same weights, and refuses what it cannot do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from w2s_export.checkpoint.own import load_own
from w2s_export.config import GeneratorConfig
from w2s_export.data.pairs import Pair
from w2s_export.errors import CheckpointError, ConfigError, OutputError
from w2s_export.training.config import TrainingConfig
from w2s_export.training.fit import BEST, LOG, STATE, DivergedError, Step, fit
from w2s_export.training.schedules import Schedule

CONFIG = TrainingConfig(
    name="tiny-model",
    generator=GeneratorConfig(nf=4, gc=2, nb=1),
    patch=8,
    batch=2,
    steps=6,
    validate_every=3,
    ema=0.5,
    schedule=Schedule(kind="constant", initial=1e-3),
)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    rng = np.random.default_rng(0)
    result = []
    for name in "abc":
        high = rng.random((32, 32, 1), np.float32)
        low = high.reshape(16, 2, 16, 2, 1).mean((1, 3))
        result.append(Pair(name, low, high))
    return result


def test_it_learns_and_reports(pairs: list[Pair], tmp_path: Path) -> None:
    heard: list[Step] = []
    config = CONFIG.model_copy(update={"steps": 60, "validate_every": 30, "ema": 0.0})
    best = fit(config, pairs[:2], pairs[2:], tmp_path, progress=heard.append)
    assert [step.step for step in heard] == list(range(1, 61))
    assert np.mean([s.loss for s in heard[-10:]]) < 0.7 * heard[0].loss
    assert [s.step for s in heard if s.scores] == [30, 60]
    checkpoint = load_own(best)
    assert checkpoint.config == config.generator
    assert checkpoint.normalisation == config.normalisation
    assert checkpoint.provenance.scores["validation_psnr_db"] == max(
        s.scores["psnr_db"] for s in heard if s.scores
    )
    assert len((tmp_path / LOG).read_text().splitlines()) == 3


def test_an_interrupted_training_ends_with_the_same_weights(
    pairs: list[Pair], tmp_path: Path
) -> None:
    fit(CONFIG, pairs[:2], pairs[2:], tmp_path / "whole")

    def interrupt(step: Step) -> None:
        if step.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(CONFIG, pairs[:2], pairs[2:], tmp_path / "cut", progress=interrupt)
    heard: list[Step] = []
    fit(CONFIG, pairs[:2], pairs[2:], tmp_path / "cut", resume=True, progress=heard.append)
    assert [step.step for step in heard] == [4, 5, 6]
    whole, cut = (np.load(tmp_path / name / STATE) for name in ("whole", "cut"))
    assert sorted(whole.files) == sorted(cut.files)
    for name in whole.files:
        np.testing.assert_array_equal(whole[name], cut[name], err_msg=name)
    logs = [(tmp_path / name / LOG).read_text() for name in ("whole", "cut")]
    assert logs[0] == logs[1]


def test_the_average_trails_the_weights(pairs: list[Pair], tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"steps": 1, "validate_every": 1, "ema": 0.75})
    fit(config, pairs[:2], pairs[2:], tmp_path)
    state = np.load(tmp_path / STATE)
    from w2s_export.networks.generator import build_generator

    start = build_generator(config.generator, config.seed).get_weights()
    for index, before in enumerate(start):
        after = state[f"weights_{index:05d}"]
        expected = 0.75 * before + 0.25 * after
        np.testing.assert_allclose(state[f"average_{index:05d}"], expected, atol=1e-6)


def test_folders_and_configurations_are_not_mixed_up(pairs: list[Pair], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no training state to resume"):
        fit(CONFIG, pairs[:2], pairs[2:], tmp_path, resume=True)
    fit(CONFIG, pairs[:2], pairs[2:], tmp_path)
    with pytest.raises(OutputError, match="--resume"):
        fit(CONFIG, pairs[:2], pairs[2:], tmp_path)
    other = CONFIG.model_copy(update={"seed": 1})
    with pytest.raises(CheckpointError, match="another configuration"):
        fit(other, pairs[:2], pairs[2:], tmp_path, resume=True)
    with pytest.raises(ConfigError, match="validation"):
        fit(CONFIG, pairs, [], tmp_path / "none")


def test_a_diverging_training_stops(pairs: list[Pair], tmp_path: Path) -> None:
    bad = [Pair("nan", pairs[0].low, np.full_like(pairs[0].high, np.nan))]
    with pytest.raises(DivergedError, match="step 1.*schedule.initial"):
        fit(CONFIG, bad, pairs[2:], tmp_path)
    assert not (tmp_path / BEST).exists()
