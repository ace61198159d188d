"""Networks and states that are no generator: one fault a case, each with its own reason."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from w2s_export.config import GeneratorConfig
from w2s_export.errors import CheckpointError, CheckpointMismatchError
from w2s_export.sources.load import load_checkpoint

torch = pytest.importorskip("torch")

CONFIG = GeneratorConfig(nf=8, gc=4, nb=2, in_nc=3, out_nc=3, scale=4, upsampling="conv")
GIGABYTES_5 = 5 << 30


def kernel(*shape: int) -> Any:
    return torch.zeros(shape)


# Keys as the networks' own code names them, with a few tensors of the right shapes each.
OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "edsr": (
        {"head.0.weight": kernel(8, 3, 3, 3), "body.0.body.0.weight": kernel(8, 8, 3, 3)},
        "holds EDSR",
    ),
    "edsr_basicsr": (
        {
            "conv_first.weight": kernel(8, 3, 3, 3),
            "body.0.conv1.weight": kernel(8, 8, 3, 3),
            "conv_after_body.weight": kernel(8, 8, 3, 3),
            "conv_last.weight": kernel(3, 8, 3, 3),
        },
        "holds EDSR",
    ),
    "rcan": (
        {
            "head.0.weight": kernel(8, 3, 3, 3),
            "body.0.body.0.body.3.conv_du.0.weight": kernel(2, 8, 1, 1),
        },
        "holds RCAN",
    ),
    "swinir": (
        {
            "conv_first.weight": kernel(8, 3, 3, 3),
            "layers.0.residual_group.blocks.0.attn.relative_position_bias_table": kernel(225, 6),
            "conv_last.weight": kernel(3, 8, 3, 3),
        },
        "holds a transformer such as SwinIR",
    ),
    "srvgg": (
        {"body.0.weight": kernel(8, 3, 3, 3), "body.0.bias": kernel(8), "body.1.weight": kernel(8)},
        "holds SRVGGNetCompact",
    ),
    "msrresnet": (
        {
            "conv_first.weight": kernel(8, 3, 3, 3),
            "body.0.conv1.weight": kernel(8, 8, 3, 3),
            "conv_hr.weight": kernel(8, 8, 3, 3),
        },
        "holds another network (3 tensors, first 'conv_first.weight'",
    ),
    "esrgan_plus": (
        {
            "model.0.weight": kernel(8, 3, 3, 3),
            "model.1.sub.0.RDB1.conv1x1.weight": kernel(4, 8, 1, 1),
        },
        "holds ESRGAN+",
    ),
    "vgg_discriminator": (
        {"features.0.weight": kernel(8, 3, 3, 3), "classifier.0.weight": kernel(100, 8)},
        "holds a discriminator",
    ),
    "vgg_discriminator_basicsr": (
        {"conv0_0.weight": kernel(8, 3, 3, 3), "bn0_1.weight": kernel(8)},
        "holds a discriminator",
    ),
    "unet_discriminator": (
        {"conv0.weight": kernel(8, 3, 3, 3), "conv1.weight_orig": kernel(8, 8, 4, 4)},
        "holds a discriminator",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "params"])
def test_other_network(name: str, wrapped: bool, tmp_path: Path) -> None:
    state, message = OTHERS[name]
    torch.save({"params": state} if wrapped else state, tmp_path / "net.pth")
    with pytest.raises(CheckpointMismatchError) as caught:
        load_checkpoint(tmp_path / "net.pth")
    assert message in str(caught.value)


def keras_2(path: Path, layers: dict[str, list[tuple[int, ...]]]) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = list(layers)
        for layer, shapes in layers.items():
            names = [f"{layer}/{part}:0" for part in ("kernel", "bias")]
            group = file.create_group(layer)
            group.attrs["weight_names"] = names
            for name, shape in zip(names, shapes, strict=True):
                group[name] = np.zeros(shape, np.float32)
    return path


def test_rrdn(tmp_path: Path) -> None:
    """idealo's RRDN has the same count of 3×3 convolutions, and other ends."""
    layers = {"Pre_blocks_conv": [(3, 3, 3, 8), (8,)]}
    for dense in (1, 2, 3):
        for conv in range(4):
            layers[f"F_1_{dense}_{conv + 1}"] = [(3, 3, 8 + 4 * conv, 4), (4,)]
        layers[f"LFF_1_{dense}"] = [(3, 3, 24, 8), (8,)]
    layers["post_blocks_conv"] = [(3, 3, 8, 8), (8,)]
    layers["PreShuffle"] = [(3, 3, 8, 48), (48,)]
    layers["SR"] = [(3, 3, 3, 3), (3,)]
    with pytest.raises(CheckpointMismatchError, match=r"holds RRDN .* another shape of"):
        load_checkpoint(keras_2(tmp_path / "net.h5", layers))


def test_discriminator_of_the_original_project(tmp_path: Path) -> None:
    layers = {"conv0_0": [(3, 3, 1, 8), (8,)], "bn0_1": [(8,), (8,)]}
    with pytest.raises(CheckpointMismatchError, match="holds a discriminator"):
        load_checkpoint(keras_2(tmp_path / "net.h5", layers))


def tensors(state: dict[str, Any]) -> dict[str, Any]:
    return {key: torch.from_numpy(value) for key, value in state.items()}


class Network(torch.nn.Module):
    """A module that would have to be unpickled."""


def _expanded(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "huge.weight": torch.zeros(1).expand(GIGABYTES_5 // 4)}


PTH_FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "optimizer": (
        # As Adam's state_dict() gives it; torch.optim crashes beside a loaded TensorFlow (2.14.1).
        lambda state: {
            "state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.ones(2)}},
            "param_groups": [{"lr": 0.001, "betas": (0.9, 0.999), "amsgrad": True, "params": [0]}],
        },
        "holds the state of an optimizer",
    ),
    "training_state": (
        lambda state: {"epoch": 3, "iter": 9, "optimizers": [], "schedulers": []},
        "holds the state of an optimizer",
    ),
    "pickled_module": (lambda state: Network(), "never unpickled"),
    "options_beside": (lambda state: {"params": state, "opt": Path("x")}, "never unpickled"),
    "missing_block": (
        lambda state: {key: value for key, value in state.items() if "body.0" not in key},
        "has no 'body_0_rdb1_conv1' convolution",
    ),
    "missing_bias": (
        lambda state: {key: value for key, value in state.items() if key != "conv_hr.bias"},
        "lacks 1 weight, first 'conv_hr/bias' (8,)",
    ),
    "missing_dense_block": (
        lambda state: {key: value for key, value in state.items() if "body.1.rdb2" not in key},
        "lacks 10 weights, first 'body_1_rdb2_conv1/kernel' (3, 3, 8, 4)",
    ),
    "extra_tensor": (
        lambda state: {**state, "conv_extra.weight": torch.zeros(8, 8, 3, 3)},
        "no layer for 1 tensor, first 'conv_extra.weight' (8, 8, 3, 3)",
    ),
    "two_generators": (
        lambda state: {
            **{f"a.{key}": value for key, value in state.items()},
            **{f"b.{key}": value for key, value in state.items()},
        },
        "holds 2 networks",
    ),
    "same_place_twice": (
        lambda state: {**state, "HRconv.bias": torch.ones(8)},
        "no layer for 1 tensor, first 'HRconv.bias' (8,)",
    ),
    "nan": (
        lambda state: {**state, "conv_hr.bias": torch.full((8,), torch.nan)},
        "NaN or infinity in 1 tensor, first 'conv_hr.bias' (8,)",
    ),
    "infinity": (
        lambda state: {**state, "conv_hr.bias": torch.full((8,), -torch.inf)},
        "NaN or infinity in 1 tensor",
    ),
    "int8": (
        lambda state: {**state, "conv_hr.bias": torch.zeros(8, dtype=torch.int8)},
        "holds int8 numbers",
    ),
    "sparse": (
        lambda state: {**state, "conv_hr.bias": torch.zeros(8).to_sparse()},
        "holds sparse or quantised numbers",
    ),
    "wrong_width": (
        lambda state: {**state, "body.1.rdb3.conv5.weight": torch.zeros(16, 24, 3, 3)},
        "another shape of 1 tensor, first 'body.1.rdb3.conv5.weight' (16, 24, 3, 3)",
    ),
    "one_by_one_kernel": (
        lambda state: {**state, "conv_last.weight": torch.zeros(3, 8, 1, 1)},
        "conv_last/kernel has shape (1, 1, 8, 3)",
    ),
    "too_many_blocks": (
        lambda state: {**state, "body.999.rdb1.conv1.weight": torch.zeros(4, 8, 3, 3)},
        "'nb'",
    ),
    "tensors_in_a_container_beside": (
        lambda state: {**state, "averages": {"shadow": [torch.zeros(2)]}},
        "holds tensors beside 'averages'",
    ),
    "list": (lambda state: list(state.values()), "holds no state dict (found: list)"),
    "tensor": (lambda state: state["conv_hr.bias"], "holds no state dict (found: Tensor)"),
    "empty": (lambda state: {}, "holds no weights"),
    "numbers_alone": (lambda state: {"epoch": 3}, "holds no state dict (found: epoch)"),
    "five_gigabytes_claimed": (_expanded, "its tensors claim 5.0 GiB"),
}


@pytest.mark.parametrize("name", PTH_FAULTS)
def test_pytorch_fault(name: str, tmp_path: Path, reference: Any) -> None:
    make, message = PTH_FAULTS[name]
    torch.save(make(tensors(reference.state(CONFIG, 1))), tmp_path / "net.pth")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path / "net.pth")
    assert message in str(caught.value)


def test_oldest_style_without_its_last_block(tmp_path: Path) -> None:
    state = {
        "model.0.weight": kernel(8, 3, 3, 3),
        "model.1.sub.0.RDB1.conv1.0.weight": kernel(4, 8, 3, 3),
        "model.1.sub.2.weight": kernel(8, 8, 3, 3),
    }
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(CheckpointMismatchError, match="lacks 1 block"):
        load_checkpoint(tmp_path / "net.pth")


def test_torchscript(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates what this test must refuse
        torch.jit.save(torch.jit.script(torch.nn.Conv2d(1, 1, 3)), str(tmp_path / "net.pt"))
    with pytest.raises(CheckpointError, match="is a TorchScript archive"):
        load_checkpoint(tmp_path / "net.pt")
