"""The generator among what a training saves beside it, in the key layouts of common codes."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.signal import correlate2d

from w2s_export.config import GeneratorConfig
from w2s_export.errors import CheckpointError, CheckpointMismatchError
from w2s_export.sources.load import doubts, load_checkpoint, load_network

torch = pytest.importorskip("torch")

CONFIG = GeneratorConfig(nf=8, gc=4, nb=1, scale=4, upsampling="conv")
State = dict[str, Any]


def under(prefix: str, state: State) -> State:
    return {f"{prefix}.{key}": value for key, value in state.items()}


DISCRIMINATOR = {"conv0.weight": np.ones((8, 1, 3, 3), np.float32)}
COUNTER = np.array(7, np.int64)

LAYOUTS: dict[str, tuple[Callable[[State, State], State], str, set[str]]] = {
    "mmagic": (
        lambda best, other: {
            **under("generator", other),
            **under("generator_ema", best),
            **under("discriminator", DISCRIMINATOR),
            "step_counter": COUNTER,
        },
        "generator_ema",
        {"generator", "discriminator", "step_counter"},
    ),
    "mmagic, averaged by PyTorch": (
        lambda best, other: {
            **under("generator", other),
            **under("generator_ema.module", best),
            "generator_ema.steps": COUNTER,
        },
        "generator_ema.module",
        {"generator", "steps"},
    ),
    "without averages": (
        lambda best, _: {**under("generator", best), **under("discriminator", DISCRIMINATOR)},
        "generator",
        {"discriminator"},
    ),
    "lightning": (
        lambda best, _: {
            **under("state_dict.net_g", best),
            **under("state_dict.net_d", DISCRIMINATOR),
            **under("state_dict.perceptual_loss.vgg", DISCRIMINATOR),
            "optimizer_states.0.exp_avg": np.ones(3, np.float32),
            "global_step": COUNTER,
        },
        "state_dict.net_g",
        {"net_d", "perceptual_loss", "optimizer_states", "global_step"},
    ),
    "basicsr": (
        lambda best, other: {**under("params", other), **under("params_ema", best)},
        "params_ema",
        {"params"},
    ),
    "pix2pix": (
        lambda best, _: {**under("netG.module", best), **under("netD.module", DISCRIMINATOR)},
        "netG.module",
        {"netD"},
    ),
    "one letter": (
        lambda best, _: {**under("G", best), **under("D", DISCRIMINATOR), "iteration": COUNTER},
        "G",
        {"D", "iteration"},
    ),
    "a whole training in one dict": (
        lambda best, _: {
            **under("generator_state_dict", best),
            **under("discriminator_state_dict", DISCRIMINATOR),
            **under("optimizer_G_state_dict.state.0", {"exp_avg": np.ones(2, np.float32)}),
            "epoch": COUNTER,
        },
        "generator_state_dict",
        {"discriminator_state_dict", "optimizer_G_state_dict", "epoch"},
    ),
    "a network of both, compiled": (
        lambda best, _: {
            **under("_orig_mod.gan.generator", best),
            **under("_orig_mod.gan.discriminator", DISCRIMINATOR),
        },
        "_orig_mod.gan.generator",
        {"discriminator"},
    ),
    "averages beside the whole state": (
        lambda best, other: {
            **under("state_dict", other),
            **under("state_dict_ema", best),
            "rng_state": np.zeros(4, np.uint8),
        },
        "state_dict_ema",
        {"state_dict", "rng_state"},
    ),
    "stochastic averages": (
        lambda best, other: {
            **under("generator", other),
            **under("generator_swa", best),
            **under("discriminator", DISCRIMINATOR),
        },
        "generator_swa",
        {"generator", "discriminator"},
    ),
    "averages in a list without names": (
        lambda best, other: {
            **under("model", best),
            **under("ema.shadow_params", {str(i): v for i, v in enumerate(other.values())}),
            "ema.decay": np.float32([0.99]),
        },
        "model",
        {"ema"},
    ),
    "wrappers of names that nobody knows": (
        lambda best, other: {
            **under("checkpoint.models.generator_ema", best),
            **under("checkpoint.models.generator", other),
            **under("checkpoint.models.discriminator", DISCRIMINATOR),
        },
        "checkpoint.models.generator_ema",
        {"generator", "discriminator"},
    ),
    "bare, with a counter and metrics": (
        lambda best, _: {**best, "step": COUNTER, "val_psnr.total": np.float32([3])},
        "",
        {"step", "val_psnr"},
    ),
}


def nested(state: State) -> State:
    """The first part of dotted keys as a mapping of its own, as trainings save them."""
    result: State = {}
    for key, value in state.items():
        top, _, rest = key.partition(".")
        if rest and top in (
            "state_dict", "state_dict_ema", "generator_state_dict", "discriminator_state_dict",
            "params", "params_ema", "G", "D", "netG", "netD",
        ):  # fmt: skip
            result.setdefault(top, {})[rest] = torch.from_numpy(np.array(value))
        else:
            result[key] = torch.from_numpy(np.array(value))
    return result


def saved(state: State, kind: str, folder: Path) -> Path:
    path = folder / f"net.{kind}"
    if kind == "pth":
        torch.save(nested(state), path)
    else:
        save_file({key: np.array(value) for key, value in state.items()}, path)
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_the_generator_is_taken_and_the_rest_is_said(
    layout: str, kind: str, tmp_path: Path, reference: Any
) -> None:
    make, taken, aside = LAYOUTS[layout]
    best, other = (reference.state(CONFIG, seed) for seed in (1, 2))
    state = make(best, other)
    path = saved(state, kind, tmp_path)
    checkpoint = load_checkpoint(path)
    np.testing.assert_array_equal(checkpoint.weights["conv_hr/bias"], best["conv_hr.bias"])
    assert checkpoint.config == CONFIG
    said = doubts(checkpoint)
    assert f"took '{taken}'" in said if taken else "took the generator" in said
    assert set(said.partition("left aside ")[2].replace("'", "").split(", ")) == aside


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.xdist_group("matrix")
@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_other_architectures_are_found_in_the_same_places(kind: str, tmp_path: Path) -> None:
    """A spandrel network beside its raw weights and a discriminator: its averages are taken."""
    if find_spec("spandrel") is None:  # never imported beside TensorFlow: it crashes
        pytest.skip("needs spandrel")
    rng = np.random.default_rng(1)
    shapes = {
        "body.0.weight": (8, 3, 3, 3), "body.0.bias": (8,), "body.1.weight": (8,),
        "body.2.weight": (12, 8, 3, 3), "body.2.bias": (12,),
    }  # fmt: skip
    best = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    state = {
        **under("generator", {name: np.zeros_like(value) for name, value in best.items()}),
        **under("generator_ema", best),
        **under("discriminator", DISCRIMINATOR),
        "step_counter": COUNTER,
    }
    path = saved(state, kind, tmp_path)
    network = load_network(path)
    assert (network.architecture.split(",")[0], network.scale) == ("RealESRGAN Compact", 2)
    assert doubts(network).startswith("took 'generator_ema', left aside ")
    image = rng.random((1, 3, 6, 7)).astype(np.float32)
    x = convolved(image[0], best["body.0.weight"], best["body.0.bias"])
    x = np.where(x > 0, x, best["body.1.weight"][:, None, None] * x)
    x = convolved(x, best["body.2.weight"], best["body.2.bias"])
    x = x.reshape(3, 2, 2, 6, 7).transpose(0, 3, 1, 4, 2).reshape(3, 12, 14)  # PixelShuffle
    expected = x + image[0].repeat(2, 1).repeat(2, 2)
    np.testing.assert_allclose(network.reference()(image)[0], expected, atol=1e-6)


def convolved(image: Any, kernel: Any, bias: Any) -> Any:
    """A convolution with zero borders, by SciPy."""
    return np.stack(
        [
            sum(correlate2d(x, k, mode="same") for x, k in zip(image, kernels, strict=True)) + b
            for kernels, b in zip(kernel, bias, strict=True)
        ]
    )


def test_nothing_is_said_of_a_generator_alone(tmp_path: Path, reference: Any) -> None:
    save_file(reference.state(CONFIG, 1), tmp_path / "net.safetensors")
    assert load_checkpoint(tmp_path / "net.safetensors").chosen == ""


def test_two_networks_of_unknown_names_are_refused(tmp_path: Path, reference: Any) -> None:
    state = reference.state(CONFIG, 1)
    save_file({**under("coarse", state), **under("fine", state)}, tmp_path / "net.safetensors")
    with pytest.raises(CheckpointMismatchError, match="holds 2 networks"):
        load_checkpoint(tmp_path / "net.safetensors")


def test_what_no_rule_knows_beside_a_generic_name_is_not_dropped(
    tmp_path: Path, reference: Any
) -> None:
    state = under("model", reference.state(CONFIG, 1)) | {"extra.weight": np.ones(3, np.float32)}
    save_file(state, tmp_path / "net.safetensors")
    with pytest.raises(CheckpointMismatchError, match=r"extra\.weight"):
        load_checkpoint(tmp_path / "net.safetensors")


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_training_of_tensorflow(tmp_path: Path) -> None:
    """A checkpoint of generator, discriminator, optimizers with slots, metric and step."""
    import tensorflow as tf

    from w2s_export.networks.rrdbnet import build_generator, get_weights

    one = GeneratorConfig(nf=8, gc=4, nb=1)
    weights = get_weights(build_generator(one, seed=3), one)
    holder = tf.train.Checkpoint(
        generator=tf.train.Checkpoint(
            trainable_variables=[tf.Variable(value) for value in weights.values()]
        ),
        discriminator=tf.train.Checkpoint(kernel=tf.Variable(tf.ones((3, 3, 1, 8)))),
        generator_optimizer=tf.train.Checkpoint(m=tf.Variable(tf.ones(3))),
        psnr_metric=tf.train.Checkpoint(total=tf.Variable(1.0)),
        step=tf.Variable(7, dtype=tf.int64),
    )
    holder.write(tmp_path / "net")
    checkpoint = load_checkpoint(tmp_path / "net.index")
    assert checkpoint.config == one
    for name, value in weights.items():
        np.testing.assert_array_equal(checkpoint.weights[name], value, err_msg=name)
    assert checkpoint.chosen == "took 'generator', left aside 'discriminator'"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("netG_A2B", "netG_B2A"),
        ("G_A", "G_B"),
        ("G_AB_state_dict", "G_BA_state_dict"),
        ("genA2B", "genB2A"),
        ("state_dict.generator_AtoB", "state_dict.generator_BtoA"),
        ("generator.A2B", "generator.B2A"),
        ("G_XtoY", "G_YtoX"),
    ],
)
def test_two_generators_of_opposite_directions_are_named(
    tmp_path: Path, one: str, other: str
) -> None:
    """CycleGAN trains one for each direction; taking either in silence would be a guess."""
    kernel = np.ones((8, 1, 3, 3), np.float32)
    save_file(
        {
            f"{one}.model.1.weight": kernel,
            f"{other}.model.1.weight": kernel,
            "netD_A.0.bias": COUNTER,
        },
        tmp_path / "latest.safetensors",
    )
    with pytest.raises(CheckpointError, match=rf"both directions, '{one}', '{other}'.*alone"):
        load_network(tmp_path / "latest.safetensors")
