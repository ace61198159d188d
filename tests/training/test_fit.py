"""The loop: it learns, resumes to the same weights, and refuses what it cannot do."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pytest

import w2s_export.training.fit as fit_module
from w2s_export.config import GeneratorConfig
from w2s_export.data.pairs import Pair
from w2s_export.errors import CheckpointError, ConfigError, OutputError
from w2s_export.networks.discriminator import DiscriminatorConfig
from w2s_export.sources.feature_weights import load_features
from w2s_export.sources.npz_checkpoint import load_own
from w2s_export.training.config import AdversarialPhase, TrainingConfig
from w2s_export.training.fit import STATE, DivergedError, Step, fit
from w2s_export.training.learner import Learner, reproducible
from w2s_export.training.phases import phases
from w2s_export.training.schedules import Schedule

pytestmark = [pytest.mark.usefixtures("compiled_once"), pytest.mark.xdist_group("fit")]

CONFIG = TrainingConfig(
    name="tiny-model",
    generator=GeneratorConfig(nf=4, gc=2, nb=1),
    patch=8,
    batch=2,
    steps=6,
    validate_every=3,
    ema=0.75,
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


def _two_phases(vgg16: Path, **options: object) -> TrainingConfig:
    two = AdversarialPhase(
        steps=4,
        schedule=Schedule(kind="constant", initial=1e-3),
        feature_weights=vgg16,
        discriminator=DiscriminatorConfig(nf=4, levels=1),
    )
    return CONFIG.model_copy(
        update={"steps": 2, "validate_every": 2, "adversarial": two, **options}
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def _assert_same(one: Path, other: Path) -> None:
    """The states of two trainings, bit by bit; and what they recorded."""
    first, second = (np.load(folder / STATE) for folder in (one, other))
    assert sorted(first.files) == sorted(second.files)
    for name in first.files:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    names = sorted(path.name for path in one.glob("*.csv"))
    assert names
    for name in names:
        assert (one / name).read_text() == (other / name).read_text()
    for path in one.glob("best-*.npz"):
        assert path.read_bytes() == (other / path.name).read_bytes()


def test_it_learns_and_reports(pairs: list[Pair], tmp_path: Path) -> None:
    import tensorflow as tf
    from PIL import Image

    heard: list[Step] = []
    config = CONFIG.model_copy(update={"steps": 60, "validate_every": 30})
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
    losses, scores = (_rows(tmp_path / f"{name}-pixel.csv") for name in ("losses", "scores"))
    assert [float(row["loss"]) for row in losses] == pytest.approx([s.loss for s in heard])
    assert [row["step"] for row in scores] == ["30", "60"]
    assert {"psnr_db", "ssim", "nrmse", "resolution_px"} <= scores[0].keys()
    with Image.open(tmp_path / "pictures" / "pixel-0000030.png") as picture:
        assert picture.size == (3 * 40, 40)  # input, restored, target of 32 px, and their margins
    recorded = [
        (event.step, value.tag)
        for path in (tmp_path / "tensorboard").iterdir()
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    ]
    assert (60, "losses/loss") in recorded
    assert {(30, "scores/psnr_db"), (30, "fields"), (60, "fields")} <= set(recorded)


@pytest.mark.parametrize("stop", [2, 5])
def test_an_interrupted_training_ends_with_the_same_weights(
    pairs: list[Pair], whole: Path, vgg16: Path, tmp_path: Path, stop: int
) -> None:
    config = _two_phases(vgg16)

    def interrupt(step: Step) -> None:
        if step.step == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(config, pairs[:2], pairs[2:], tmp_path, progress=interrupt)
    heard: list[Step] = []
    fit(config, pairs[:2], pairs[2:], tmp_path, resume=True, progress=heard.append)
    assert [s.step for s in heard] == list(range(1 + stop // 2 * 2, 7))
    assert {s.phase for s in heard if s.step > 2} == {"adversarial"}
    _assert_same(whole, tmp_path)
    names = np.load(tmp_path / STATE).files
    groups = {name.split("/")[0] for name in names if "/" in name}
    assert groups == {"weights", "average", "optimizer", "critic", "critic_optimizer"}


@pytest.fixture(scope="module")
def whole(pairs: list[Pair], vgg16: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both phases, uninterrupted."""
    folder = tmp_path_factory.mktemp("whole")
    fit(_two_phases(vgg16), pairs[:2], pairs[2:], folder)
    return folder


def test_no_sum_depends_on_which_memory_is_free(vgg16: Path) -> None:
    """`AddN` of three or more starts with any of them: the last bit, and resuming, would suffer."""
    import tensorflow as tf

    config, one = _two_phases(vgg16), tf.distribute.get_strategy()
    with reproducible():
        learner = fit_module.Learner(config, phases(config)[1], load_features(vgg16), one)
        low, high = (tf.TensorSpec((2, size, size, 1)) for size in (8, 16))
        graph = learner._learn.get_concrete_function(low, high).graph
    graphs = [graph, *(f.graph for f in graph._functions.values() if hasattr(f, "graph"))]
    sums = [op for g in graphs for op in g.get_operations() if op.type == "AddN"]
    assert len(sums) > 10
    assert max(len(op.inputs) for op in sums) == 2


@pytest.mark.parametrize("phase", ["pixel", "adversarial"])
def test_death_between_two_files_changes_nothing(
    pairs: list[Pair],
    whole: Path,
    vgg16: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    phase: str,
) -> None:
    """Killed after the best weights and the records, before the state that goes with them."""
    save = fit_module.save_state

    def die(path: Path, state: object, config: TrainingConfig) -> None:
        if (tmp_path / f"best-{phase}.npz").exists():
            raise KeyboardInterrupt
        save(path, state, config)

    monkeypatch.setattr(fit_module, "save_state", die)
    config = _two_phases(vgg16)
    with pytest.raises(KeyboardInterrupt):
        fit(config, pairs[:2], pairs[2:], tmp_path)
    monkeypatch.undo()
    with (tmp_path / f"losses-{phase}.csv").open("a") as stream:
        stream.write("9,0.0")  # and a row cut short
    fit(config, pairs[:2], pairs[2:], tmp_path, resume=True)
    _assert_same(whole, tmp_path)


@pytest.fixture(scope="module")
def second(
    pairs: list[Pair], whole: Path, vgg16: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainingConfig, Path, list[Step]]:
    """Phase two alone, from the best of phase one: how, where, and its steps."""
    start = whole / "best-pixel.npz"
    config = _two_phases(vgg16).model_copy(update={"steps": 0, "start": start})
    folder, heard = tmp_path_factory.mktemp("second"), list[Step]()
    fit(config, pairs[:2], pairs[2:], folder, progress=heard.append)
    return config, folder, heard


def test_phase_two_begins_with_the_best_of_phase_one(
    whole: Path, second: tuple[TrainingConfig, Path, list[Step]]
) -> None:
    """And phase two alone begins with those of a file."""
    _, folder, heard = second
    assert {s.phase for s in heard} == {"adversarial"}
    for step in heard:
        terms = step.losses
        total = 0.01 * terms["pixel"] + 0.01 * terms["perceptual"] + terms["adversarial"]
        assert step.loss == pytest.approx(total, rel=1e-5)
    start = load_own(whole / "best-pixel.npz").weights
    moved = load_own(folder / "best-adversarial.npz").weights
    change = max(float(np.abs(moved[name] - start[name]).max()) for name in start)
    assert 0 < change <= 4 * 1e-3 * 1.1  # Adam moves a weight by about the rate a step


def test_the_average_trails_the_weights(pairs: list[Pair], tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"steps": 1, "validate_every": 1})
    fit(config, pairs[:2], pairs[2:], tmp_path)
    state = np.load(tmp_path / STATE)
    from w2s_export.networks.rrdbnet import build_generator

    start = build_generator(config.generator, config.seed).get_weights()
    for index, before in enumerate(start):
        after = state[f"weights/{index:05d}"]
        expected = 0.75 * before + 0.25 * after
        np.testing.assert_allclose(state[f"average/{index:05d}"], expected, atol=1e-6)


def test_gradients_are_clipped_to_the_norm(pairs: list[Pair], tmp_path: Path) -> None:
    """Adam's first moment after one step is (1 − β₁) times the gradient."""
    import keras

    from w2s_export.networks.rrdbnet import build_generator

    norms = {}
    for limit, batch in ((None, CONFIG.batch), (0.01, 4)):  # others compile these too
        shorter = {"steps": 1, "validate_every": 1, "clip_norm": limit, "batch": batch}
        config = CONFIG.model_copy(update=shorter)
        fit(config, pairs[:2], pairs[2:], tmp_path / str(limit))
        state = np.load(tmp_path / str(limit) / STATE)
        model = build_generator(config.generator)
        adam = keras.optimizers.Adam(amsgrad=True)
        adam.build(model.trainable_variables)
        moments = [
            state[f"optimizer/{index:05d}"]
            for index, variable in enumerate(adam.variables)
            if "momentum" in variable.path
        ]
        assert len(moments) == len(model.trainable_variables)
        norms[limit] = np.sqrt(sum(float((m.astype(float) ** 2).sum()) for m in moments)) / 0.1
    assert norms[None] > 0.1
    assert norms[0.01] == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(
    "precision", [pytest.param("mixed_bfloat16", marks=pytest.mark.thorough), "mixed_float16"]
)
def test_mixed_precision_computes_nearly_the_same_and_keeps_float32_weights(
    pairs: list[Pair],
    second: tuple[TrainingConfig, Path, list[Step]],
    tmp_path: Path,
    precision: str,
) -> None:
    """Phase two has the pixel loss and both networks."""
    import keras

    config, _, exact = second
    config = config.model_copy(update={"precision": precision})
    heard: list[Step] = []
    fit(config, pairs[:2], pairs[2:], tmp_path, progress=heard.append)
    # 8 bits of mantissa: about 0.4 % a number.
    assert heard[0].losses == pytest.approx(exact[0].losses, rel=0.02)
    assert heard[0].losses != exact[0].losses
    state = np.load(tmp_path / STATE)
    assert {state[n].dtype.name for n in state.files if n.startswith("weights/")} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


def test_a_phase_that_no_longer_improves_ends_early(pairs: list[Pair], tmp_path: Path) -> None:
    # A rate too small to change the scores: the first validation stays the best.
    still = Schedule(kind="constant", initial=1e-12)
    config = CONFIG.model_copy(
        update={"schedule": still, "steps": 50, "validate_every": 2, "patience": 3}
    )
    heard: list[Step] = []
    best = fit(config, pairs[:2], pairs[2:], tmp_path, progress=heard.append)
    assert heard[-1].step == 2 + 3 * 2
    assert best.exists()
    fit(config, pairs[:2], pairs[2:], tmp_path, resume=True, progress=heard.append)
    assert heard[-1].step == 8


def test_checkpoints_are_kept_at_intervals(pairs: list[Pair], tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"keep_every": 2, "save_every": 1, "validate_every": 6})

    def interrupt(step: Step) -> None:
        if step.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(config, pairs[:2], pairs[2:], tmp_path, progress=interrupt)
    kept = sorted(path.name for path in tmp_path.glob("step-*.npz"))
    assert kept == ["step-0000002.npz", "step-0000004.npz"]
    assert load_own(tmp_path / kept[0]).config == config.generator
    heard: list[Step] = []
    fit(config, pairs[:2], pairs[2:], tmp_path, resume=True, progress=heard.append)
    assert [step.step for step in heard] == [6]  # save_every


def test_the_best_weights_are_kept_by_the_chosen_score(pairs: list[Pair], tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"validate_every": 1, "choose_by": "nrmse"})
    heard: list[Step] = []
    best = fit(config, pairs[:2], pairs[2:], tmp_path, progress=heard.append)
    scores = load_own(best).provenance.scores
    assert scores["validation_nrmse"] == min(s.scores["nrmse"] for s in heard if s.scores)


def test_folders_and_configurations_are_not_mixed_up(pairs: list[Pair], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no training state to resume"):
        fit(CONFIG, pairs[:2], pairs[2:], tmp_path / "none", resume=True)
    # Killed before its first state was whole: there is a folder, and it begins again.
    (tmp_path / f".{STATE}.part").write_bytes(b"half a sta")
    fit(CONFIG, pairs[:2], pairs[2:], tmp_path, resume=True)
    with pytest.raises(OutputError, match="--resume"):
        fit(CONFIG, pairs[:2], pairs[2:], tmp_path)
    other = CONFIG.model_copy(update={"seed": 1})
    with pytest.raises(CheckpointError, match="another configuration"):
        fit(other, pairs[:2], pairs[2:], tmp_path, resume=True)
    with pytest.raises(ConfigError, match="validation"):
        fit(CONFIG, pairs, [], tmp_path / "none")
    (tmp_path / STATE).write_bytes((tmp_path / STATE).read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="damaged"):
        fit(CONFIG, pairs[:2], pairs[2:], tmp_path, resume=True)


def test_unusable_feature_weights_are_named_before_phase_one(
    pairs: list[Pair], tmp_path: Path
) -> None:
    config = _two_phases(tmp_path / "none.npz")
    with pytest.raises(ConfigError, match="none.npz: no such file"):
        fit(config, pairs[:2], pairs[2:], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_to_start_with_must_fit(pairs: list[Pair], tmp_path: Path) -> None:
    fit(CONFIG.model_copy(update={"steps": 1}), pairs[:2], pairs[2:], tmp_path / "one")
    config = CONFIG.model_copy(
        update={
            "start": tmp_path / "one" / "best-pixel.npz",
            "generator": GeneratorConfig(nf=8, gc=2, nb=1),
        }
    )
    with pytest.raises(CheckpointError, match=r"start: .*nf=4.*nf=8"):
        fit(config, pairs[:2], pairs[2:], tmp_path / "two")
    assert not (tmp_path / "two").exists()


def test_a_diverging_training_stops(pairs: list[Pair], tmp_path: Path) -> None:
    bad = [Pair("nan", pairs[0].low, np.full_like(pairs[0].high, np.nan))]
    with pytest.raises(DivergedError, match="step 1.*schedule.initial"):
        fit(CONFIG, bad, pairs[2:], tmp_path)
    assert not list(tmp_path.glob("best*"))


def test_training_leaves_no_switch_behind() -> None:
    import keras
    import tensorflow as tf
    from tensorflow.python.eager import context
    from tensorflow.python.framework import config as switches

    def standing() -> tuple[object, ...]:
        options = tf.config.optimizer.get_experimental_options()
        arithmetic = options.get("arithmetic_optimization", True)
        drawn = np.random.get_state()[1].sum(), random.getstate()
        seeds = context.global_seed(), keras.config.dtype_policy().name
        return switches.is_op_determinism_enabled(), arithmetic, *seeds, *drawn

    before = standing()
    with reproducible():
        Learner(CONFIG, phases(CONFIG)[0], None, tf.distribute.get_strategy())
        assert standing()[:2] == (True, False)
    assert standing() == before
