from __future__ import annotations

import re
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from w2s_export.config import GeneratorConfig
from w2s_export.errors import CheckpointMismatchError
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.load import doubts, load_checkpoint

torch = pytest.importorskip("torch")

SMALL = {"nf": 8, "gc": 4, "nb": 2}
CONV_X4 = GeneratorConfig(**SMALL, in_nc=3, out_nc=3, scale=4, upsampling="conv")
ONE = {"nf": 8, "gc": 4, "nb": 1}
FAMILY = {
    "conv_x4_rgb": CONV_X4,
    "conv_x4_grey": GeneratorConfig(**ONE, scale=4, upsampling="conv"),
    "conv_x2_grey": GeneratorConfig(**ONE, scale=2, upsampling="conv"),
    "unshuffle_x2_rgb": GeneratorConfig(
        **ONE, in_nc=3, out_nc=3, scale=2, upsampling="conv", pixel_unshuffle=2
    ),
    "unshuffle_x1_rgb": GeneratorConfig(
        **ONE, in_nc=3, out_nc=3, scale=1, upsampling="conv", pixel_unshuffle=4
    ),
    "unshuffle_x1_of_x2": GeneratorConfig(**ONE, scale=1, upsampling="conv", pixel_unshuffle=2),
    "plain_x2_grey": GeneratorConfig(**ONE),
    "two_in_one_out": GeneratorConfig(**ONE, in_nc=2, scale=4, upsampling="conv"),
}


def tensors(state: dict[str, Any]) -> dict[str, Any]:
    return OrderedDict((key, torch.from_numpy(np.array(value))) for key, value in state.items())


def assert_same_weights(checkpoint: Checkpoint, state: dict[str, Any]) -> None:
    """Bit for bit, every one: `body.0.rdb1.conv1.weight` as (height, width, in, out), and so on."""
    assert len(checkpoint.weights) == len(state)
    for key, value in state.items():
        layer, _, part = key.rpartition(".")
        name = f"{layer.replace('.', '_')}/{'kernel' if part == 'weight' else 'bias'}"
        ours = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
        np.testing.assert_array_equal(checkpoint.weights[name], ours, err_msg=name)


def xinntao(key: str) -> str:
    """BasicSR's key in the style of ESRGAN's RRDBNet_arch.py."""
    key = re.sub(r"body\.(\d+)\.rdb(\d)", r"RRDB_trunk.\1.RDB\2", key)
    for new, old in (("conv_body", "trunk_conv"), ("conv_up", "upconv"), ("conv_hr", "HRconv")):
        key = key.replace(new, old)
    return key


def sequential(key: str) -> str:
    """BasicSR's key in the oldest style, of a ×4 network with two blocks."""
    key = re.sub(r"body\.(\d+)\.rdb(\d)\.conv(\d)", r"model.1.sub.\1.RDB\2.conv\3.0", key)
    for new, old in (
        ("conv_first", "model.0"),
        ("conv_body", "model.1.sub.2"),
        ("conv_up1", "model.3"),
        ("conv_up2", "model.6"),
        ("conv_hr", "model.8"),
        ("conv_last", "model.10"),
    ):
        key = key.replace(new, old)
    return key


def test_published_network(data: Path, reference: Any) -> None:
    """Real-ESRGAN's 6-block network, against the outputs PyTorch and ncnn recorded."""
    checkpoint = load_checkpoint(data / "esrgan_x4" / "realesrgan_x4plus_anime_6B_newkeys.pth")
    assert checkpoint.config == GeneratorConfig(
        in_nc=3, out_nc=3, nf=64, gc=32, nb=6, scale=4, upsampling="conv"
    )
    with np.load(data / "esrgan_x4" / "check_io.npz") as record:
        x, by_torch, by_ncnn = (record[name] for name in ("x", "y_torch", "y_ncnn"))
    y = reference.restore(checkpoint, x[np.newaxis])[0]
    # Measured 5e-6 and 8e-6 of the range.
    assert reference.difference(by_torch, y) < 1e-4
    assert reference.difference(by_ncnn, y) < 1e-4


@pytest.mark.parametrize("name", FAMILY)
def test_architecture_is_inferred_and_output_is_torchs(
    name: str, tmp_path: Path, reference: Any
) -> None:
    config = FAMILY[name]
    state = reference.state(config, seed=3)
    torch.save(tensors(state), tmp_path / "net.pth")
    checkpoint = load_checkpoint(tmp_path / "net.pth")
    assert checkpoint.config == config
    image = reference.image(config)
    expected = reference.forward(state, image, config)
    difference = reference.difference(expected, reference.restore(checkpoint, image))
    assert difference < reference.tolerance


STYLES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "basicsr": lambda state: state,
    "xinntao": lambda state: {xinntao(key): value for key, value in state.items()},
    "sequential": lambda state: {sequential(key): value for key, value in state.items()},
    "params": lambda state: {"params": state},
    "params_ema_before_params": lambda state: {
        "params": {key: value * 0 for key, value in state.items()},
        "params_ema": state,
    },
    "state_dict_beside_epoch": lambda state: {"epoch": 3, "state_dict": state},
    "data_parallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "lightning": lambda state: {
        "state_dict": {f"generator.{key}": value for key, value in state.items()},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
    },
    "sequential_data_parallel": lambda state: {
        "state_dict": {f"module.{sequential(key)}": value for key, value in state.items()}
    },
    "shuffled": lambda state: dict(reversed(state.items())),
    "parameters": lambda state: {key: torch.nn.Parameter(value) for key, value in state.items()},
    "channels_last": lambda state: {
        key: value.to(memory_format=torch.channels_last) if value.ndim == 4 else value
        for key, value in state.items()
    },
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_key_styles(style: str, zipped: bool, tmp_path: Path, reference: Any) -> None:
    state = reference.state(CONV_X4, seed=4)
    content = STYLES[style](tensors(state))
    torch.save(content, tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    checkpoint = load_checkpoint(tmp_path / "net.pth")
    assert checkpoint.config == CONV_X4
    assert_same_weights(checkpoint, state)


@pytest.mark.parametrize(
    ("indices", "scale", "upsampling"),
    [
        ({"conv_hr": 2, "conv_last": 4}, 1, "plain"),
        ({"conv_hr": 3, "conv_last": 5}, 2, "plain"),
        ({"conv_up1": 3, "conv_hr": 5, "conv_last": 7}, 2, "conv"),
    ],
)
def test_oldest_style_tells_the_scale_by_its_indices(
    indices: dict[str, int], scale: int, upsampling: Any, tmp_path: Path, reference: Any
) -> None:
    config = GeneratorConfig(**SMALL, scale=scale, upsampling=upsampling)
    state = {}
    for key, value in reference.state(config, seed=1).items():
        layer, _, part = key.rpartition(".")
        state[f"model.{indices[layer]}.{part}" if layer in indices else sequential(key)] = value
    torch.save(tensors(state), tmp_path / "net.pth")
    assert load_checkpoint(tmp_path / "net.pth").config == config


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_element_types(kind: str, tmp_path: Path, reference: Any) -> None:
    state = {
        key: value.to(getattr(torch, kind))
        for key, value in tensors(reference.state(CONV_X4, seed=5)).items()
    }
    torch.save(state, tmp_path / "net.pth")
    checkpoint = load_checkpoint(tmp_path / "net.pth")
    assert checkpoint.dtypes == (kind,)
    assert_same_weights(checkpoint, {key: value.float().numpy() for key, value in state.items()})


def test_scale_of_a_plain_network_can_be_given(tmp_path: Path, reference: Any) -> None:
    config = GeneratorConfig(**SMALL, scale=4)
    torch.save(tensors(reference.state(config, seed=1)), tmp_path / "net.pth")
    assert load_checkpoint(tmp_path / "net.pth").config.scale == 2
    assert load_checkpoint(tmp_path / "net.pth", scale=4).config == config


def test_what_no_tensor_shows_is_said(tmp_path: Path, reference: Any) -> None:
    constants = ("residual_scale", "negative_slope")
    torch.save(tensors(reference.state(GeneratorConfig(**SMALL), seed=1)), tmp_path / "net.pth")
    plain = load_checkpoint(tmp_path / "net.pth")
    assert plain.assumed == ("scale", *constants)
    assert doubts(plain) == ("does not record by how much it enlarges: taken as ×2; see --scale")
    given = load_checkpoint(tmp_path / "net.pth", scale=2)
    assert given.assumed == constants
    assert doubts(given) == ""
    torch.save(tensors(reference.state(CONV_X4, seed=1)), tmp_path / "net.pth")
    assert load_checkpoint(tmp_path / "net.pth").assumed == constants


@pytest.mark.parametrize("channels", [4, 16])
def test_many_channels_or_a_pixel_unshuffle(channels: int, tmp_path: Path, reference: Any) -> None:
    """4 or 16 inputs and 1 output may be either; `--scale` settles it."""
    frames = GeneratorConfig(**SMALL, in_nc=channels, scale=4, upsampling="conv")
    torch.save(tensors(reference.state(frames, seed=1)), tmp_path / "net.pth")
    found = load_checkpoint(tmp_path / "net.pth")
    factor = {4: 2, 16: 4}[channels]
    assert (found.config.in_nc, found.config.pixel_unshuffle) == (1, factor)
    assert "pixel_unshuffle" in found.assumed
    assert f"takes {channels} channels: read as 1 behind" in doubts(found)
    assert load_checkpoint(tmp_path / "net.pth", scale=4).config == frames
    behind = load_checkpoint(tmp_path / "net.pth", scale=4 // factor)
    assert behind.config == found.config
    assert doubts(behind) == ""


def test_given_scale_must_be_the_files(tmp_path: Path, reference: Any) -> None:
    torch.save(tensors(reference.state(CONV_X4, seed=1)), tmp_path / "net.pth")
    with pytest.raises(CheckpointMismatchError, match=r"scale should be 2, but .* make it 4"):
        load_checkpoint(tmp_path / "net.pth", scale=2)


def test_torch_is_not_needed(
    tmp_path: Path, reference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = reference.state(CONV_X4, seed=1)
    torch.save(tensors(state), tmp_path / "net.pth")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert_same_weights(load_checkpoint(tmp_path / "net.pth"), state)


def _swap(state: dict[str, Any], one: str, other: str) -> dict[str, Any]:
    swapped = {}
    for key, value in state.items():
        renamed = key.replace(one, "\0").replace(other, one).replace("\0", other)
        swapped[renamed] = value
    return swapped


FAULTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "blocks_swapped": lambda state: _swap(state, "body.0.", "body.1."),
    "dense_blocks_swapped": lambda state: _swap(state, "rdb1", "rdb2"),
    "upsampling_swapped": lambda state: _swap(state, "conv_up1", "conv_up2"),
    "kernels_transposed": lambda state: {
        key: value.swapaxes(2, 3) if value.ndim == 4 else value for key, value in state.items()
    },
    "square_kernel_in_and_out_exchanged": lambda state: {
        **state,
        "conv_body.weight": state["conv_body.weight"].swapaxes(0, 1),
    },
    "one_bias_lost": lambda state: {**state, "conv_hr.bias": state["conv_hr.bias"] * 0},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_that_fits_the_shapes_shows_in_the_output(
    fault: str, tmp_path: Path, reference: Any
) -> None:
    """What the comparisons above rest on: each such fault is far above their tolerance."""
    state = reference.state(CONV_X4, seed=6)
    torch.save(tensors(FAULTS[fault](state)), tmp_path / "net.pth")
    image = reference.image(CONV_X4)
    expected = reference.forward(state, image, CONV_X4)
    actual = reference.restore(load_checkpoint(tmp_path / "net.pth"), image)
    assert reference.difference(expected, actual) > 100 * reference.tolerance


def test_unshuffle_order_matters(tmp_path: Path, reference: Any) -> None:
    """The first kernel of a pixel-unshuffle network read without reordering its inputs."""
    config = FAMILY["unshuffle_x2_rgb"]
    state = reference.state(config, seed=7)
    torch.save(tensors(state), tmp_path / "net.pth")
    checkpoint = load_checkpoint(tmp_path / "net.pth")
    checkpoint.weights["conv_first/kernel"][:] = state["conv_first.weight"].transpose(2, 3, 1, 0)
    image = reference.image(config)
    expected = reference.forward(state, image, config)
    actual = reference.restore(checkpoint, image)
    assert reference.difference(expected, actual) > 100 * reference.tolerance


def test_kernels_in_tensorflows_axis_order_are_refused(tmp_path: Path, reference: Any) -> None:
    state = {
        key: value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
        for key, value in reference.state(CONV_X4, seed=1).items()
    }
    torch.save(tensors(state), tmp_path / "net.pth")
    with pytest.raises(CheckpointMismatchError, match="conv_first/kernel has shape"):
        load_checkpoint(tmp_path / "net.pth")
