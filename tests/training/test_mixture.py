"""Batches of several sources: their shares, that a step decides them, and a short training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from w2s_export.data.pairs import Pair
from w2s_export.data.patches import Batch
from w2s_export.errors import ConfigError, ImageError
from w2s_export.training import fit
from w2s_export.training.config import TrainingConfig, read_training_config
from w2s_export.training.fit import STATE, Step
from w2s_export.training.learner import Learner
from w2s_export.training.mixture import make_sampler
from w2s_export.training.run import train

LARGE = Path(__file__).resolve().parents[2] / "models" / "wf2sim-structures-l"
SIMULATED = {
    "kind": "simulated",
    "share": 0.5,
    "last_share": 0.25,
    "size": 16,
    "pool": 4,
    "fresh": 0.5,
    "structures": {"filaments": 1},
}
VALUES = {
    "name": "tiny-model",
    "data": {"validation": ["c.tif"], "test": ["d.tif"]},
    "mix": [SIMULATED, {"kind": "folders", "share": 0.25, "low": "more/lr", "high": "more/hr"}],
    "generator": {"nf": 4, "gc": 2, "nb": 1},
    "patch": 8,
    "batch": 4,
    "steps": 8,
    "validate_every": 4,
    "ema": 0.75,
    "clip_norm": 0.01,
    "simulation_workers": 1,
}


def constant(value: float) -> list[Pair]:
    """Patches of it show where they come from."""
    return [Pair("p", *(np.full((n, n, 1), value, np.float32) for n in (16, 32)))]


def test_every_batch_has_the_shares() -> None:
    config = TrainingConfig.model_validate({**VALUES, "batch": 8, "simulation_workers": 0})
    sampler = make_sampler(config, constant(5), [[], constant(7)])
    counts = []
    for step in range(8):
        batch = sampler.batch(step)
        assert batch.low.shape == (8, 8, 8, 1)
        assert batch.high.shape == (8, 16, 16, 1)
        middles = [patch[0, 0, 0] for patch in batch.low]
        counts.append((middles.count(5), middles.count(7)))
    # 8 patches: a quarter of pairs and a quarter of further ones; half simulated, later a quarter.
    assert counts == [(2, 2)] * 6 + [(4, 2)] * 2
    again = make_sampler(config, constant(5), [[], constant(7)])
    for step in (7, 2):
        np.testing.assert_array_equal(again.batch(step).low, sampler.batch(step).low)
    sampler.close()
    again.close()


@pytest.mark.usefixtures("compiled_once")
@pytest.mark.xdist_group("fit")
def test_a_training_on_a_mixture_resumes_to_the_same_bits(data: Path, tmp_path: Path) -> None:
    more = tmp_path / "data"
    for folder in ("lr", "hr"):
        (more / "more" / folder).mkdir(parents=True)
        (more / folder).symlink_to(data / folder)
        for name, turn in (("x.tif", 0), ("y.tif", 1)):
            seed = np.random.default_rng(9 + turn)
            pixels = seed.random((32, 40)) if folder == "hr" else seed.random((16, 20))
            tifffile.imwrite(more / "more" / folder / name, pixels.astype(np.float32))
    config = TrainingConfig.model_validate(VALUES)
    whole = train(config, more, tmp_path / "whole")
    assert whole.scores["fields"] == 1

    def interrupt(step: Step) -> None:
        if step.step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, more, tmp_path / "part", progress=interrupt)
    other = config.model_copy(update={"simulation_workers": 0})
    train(other, more, tmp_path / "part", resume=True)
    first, second = (np.load(tmp_path / name / STATE) for name in ("whole", "part"))
    for name in first.files:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.thorough
def test_the_recipe_of_the_large_model_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four steps of its configuration, the network and the pool small: mix, schedule, precision.

    Each alone is tested here, in `test_schedules.py` and in `test_fit.py`.
    """
    stored = read_training_config(LARGE / "config.yaml")
    rng = np.random.default_rng(0)
    names = [f"{letter}.tif" for letter in "abcd"]
    for folder, side in (("lr", 70), ("hr", 140)):
        (tmp_path / folder).mkdir()
        for name in names:  # two values: patches of these pairs are told from simulated ones
            pixels = 1000 * rng.integers(0, 2, (side, side), np.uint16)
            tifffile.imwrite(tmp_path / folder / name, pixels)
    config = stored.model_copy(
        update={
            "data": stored.data.model_copy(update={"validation": ("c.tif",), "test": ("d.tif",)}),
            "mix": tuple(one.model_copy(update={"pool": 2, "fresh": 0.5}) for one in stored.mix),
            "generator": stored.generator.model_copy(update={"nf": 4, "gc": 2, "nb": 1}),
            "steps": 4,
            "validate_every": 4,
        }
    )
    seen: list[tuple[int, float]] = []
    computed: set[str] = set()

    class Watched(Learner):
        def learn(self, batch: Batch, rate: float) -> dict[str, float]:
            assert batch.low.shape == (stored.batch, stored.patch, stored.patch, 1)
            seen.append((sum(len(np.unique(patch)) == 2 for patch in batch.low), rate))
            computed.update(layer.compute_dtype for layer in self._generator.model.layers)
            return super().learn(batch, rate)

    monkeypatch.setattr(fit, "Learner", Watched)
    trained = train(config, tmp_path, tmp_path / "out")
    assert trained.scores["fields"] == 1
    # 60 % of 16 patches are real, in the last quarter 80 %.
    assert [count in (9, 10) for count, _ in seen[:3]] == [True] * 3
    assert seen[3][0] in (12, 13)
    cosine = [2e-6 + (4e-4 - 2e-6) * 0.5 * (1 + np.cos(np.pi * step / 4)) for step in range(4)]
    warm_up = [(step + 1) / 200 for step in range(4)]
    np.testing.assert_allclose([rate for _, rate in seen], np.multiply(cosine, warm_up))
    assert computed == {"bfloat16"}


def test_a_held_out_field_may_not_come_back_as_a_further_one(data: Path, tmp_path: Path) -> None:
    mix = [{"kind": "folders", "share": 0.5, "low": "lr", "high": "hr"}]
    config = TrainingConfig.model_validate({**VALUES, "mix": mix})
    with pytest.raises(ImageError, match=r"validation look like targets of mix \(lr\)"):
        train(config, data, tmp_path / "out")


@pytest.mark.parametrize(
    ("mix", "words"),
    [
        ([{**SIMULATED, "share": 0.8}, {**SIMULATED, "share": 0.3}], "together they exceed 1"),
        ([{**SIMULATED, "size": 8, "share": 1}], None),
        ([{**SIMULATED, "structures": {"actin": 1}}], "structures.actin"),
        ([{**SIMULATED, "photons": 3}], "photons"),
        ([{"kind": "dreamt", "share": 1}], "dreamt"),
    ],
)
def test_mixtures_that_cannot_be(mix: list[object], words: str | None, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({**VALUES, "mix": mix}))  # JSON is YAML
    if words is None:
        assert read_training_config(path).mix[0].share == 1
        return
    with pytest.raises(ConfigError, match=words):
        read_training_config(path)
