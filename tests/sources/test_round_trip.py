"""A random member of the family, written in every format, loads back to the same output."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests import factories
from w2s_export.config import GeneratorConfig
from w2s_export.formats import onnx
from w2s_export.network import HaloMeasurement, Network
from w2s_export.package.archive import write_packages
from w2s_export.rdf.description import Sample
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.load import load_checkpoint
from w2s_export.sources.npz_checkpoint import save_checkpoint

torch = pytest.importorskip("torch")

# Formats that record every field of the configuration, and those where tensors and keys are all.
RECORDING = ("net.npz", "net.keras", "net.onnx", "bioimageio.zip", "deepimagej.zip")
BY_TENSORS = (
    "net.pth", "bare.pt", "xinntao.pth", "oldest.pth", "net.safetensors",
    "net.weights.h5", "keras_2.h5", "RRDB_GAN", "RRDB_GAN.zip",
)  # fmt: skip
OF_THE_ORIGINAL = ("oldest.pth", "keras_2.h5", "RRDB_GAN", "RRDB_GAN.zip")
"""Layouts of projects that have no pixel-unshuffle."""


@st.composite
def members(draw: st.DrawFn) -> GeneratorConfig:
    """Small networks: every switch of the family, in every combination."""
    upsampling = draw(st.sampled_from(["plain", "conv"]))
    unshuffle = draw(st.sampled_from([1, 2, 4]))
    factors = (1, 2, 4) if upsampling == "plain" else (2, 4)
    scale = draw(st.sampled_from([f // unshuffle for f in factors if f >= unshuffle]))
    channels = draw(st.sampled_from([1, 3]))
    return GeneratorConfig(
        nf=draw(st.integers(2, 9)),
        gc=draw(st.integers(1, 5)),
        nb=draw(st.integers(1, 2)),
        in_nc=channels,
        out_nc=channels,
        upsampling=upsampling,
        scale=scale,
        pixel_unshuffle=unshuffle,
    )


def formats(config: GeneratorConfig) -> list[str]:
    """Those that can hold this member."""
    names = list(RECORDING)
    if config.pixel_unshuffle == 1:
        names += BY_TENSORS
    elif config.upsampling == "conv":
        names += [name for name in BY_TENSORS if name not in OF_THE_ORIGINAL]
    return names


def oldest(key: str, config: GeneratorConfig) -> str:
    """BasicSR's key in ESRGAN's first style: an index a layer, activations and upsampling too."""
    steps = {1: 0, 2: 1, 4: 2}[config.upsampling_factor]
    ups = 3 * steps if config.upsampling == "conv" else min(steps, 1)
    layers = {"conv_first": "0", "conv_body": f"1.sub.{config.nb}", "conv_up1": "3"}
    layers |= {"conv_up2": "6", "conv_hr": str(2 + ups), "conv_last": str(4 + ups)}
    layer, _, part = key.rpartition(".")
    if block := re.fullmatch(r"body\.(\d+)\.rdb(\d)\.(conv\d)", layer):
        return f"model.1.sub.{block[1]}.RDB{block[2]}.{block[3]}.0.{part}"
    return f"model.{layers[layer]}.{part}"


def our_weights(config: GeneratorConfig, state: dict[str, Any]) -> dict[str, Any]:
    """The state dict by our names, in our axis order, in the order data flows."""
    weights = {
        f"{key.rpartition('.')[0].replace('.', '_')}/{'kernel' if value.ndim == 4 else 'bias'}": (
            value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
        )
        for key, value in state.items()
    }
    # The first kernel's inputs, (channel, row, column) in PyTorch, (row, column, channel) here.
    f = config.pixel_unshuffle
    order = [c * f * f + d for d in range(f * f) for c in range(config.in_nc)]
    weights["conv_first/kernel"] = weights["conv_first/kernel"][:, :, order]
    return weights


def write_all(config: GeneratorConfig, state: dict[str, Any], folder: Path) -> None:
    """Every format, each by the library that defines it, from the same state dict."""
    import tensorflow as tf
    from safetensors.numpy import save_file

    from w2s_export.networks.rrdbnet import build_generator, set_weights

    tensors = {key: torch.from_numpy(value) for key, value in state.items()}
    torch.save({"params": {}, "params_ema": tensors}, folder / "net.pth")
    torch.save(tensors, folder / "bare.pt")
    renamed = {re.sub(r"body\.(\d+)\.rdb", r"RRDB_trunk.\1.RDB", k): v for k, v in tensors.items()}
    for new, old in (("trunk_conv", "conv_body"), ("upconv", "conv_up"), ("HRconv", "conv_hr")):
        renamed = {key.replace(old, new): value for key, value in renamed.items()}
    wrapped = {"state_dict": {f"module.{key}": value for key, value in renamed.items()}}
    torch.save(wrapped, folder / "xinntao.pth")
    if config.pixel_unshuffle == 1:
        torch.save({oldest(k, config): v for k, v in tensors.items()}, folder / "oldest.pth")
    save_file({key: value.copy() for key, value in state.items()}, folder / "net.safetensors")

    weights = our_weights(config, state)
    save_checkpoint(Checkpoint(config, weights), folder / "net.npz")
    model = build_generator(config)
    set_weights(model, config, weights)
    model.save_weights(folder / "net.weights.h5")
    model.save(folder / "net.keras")
    write_package(factories.network(config, weights=weights), folder)
    # As w2s-tensorflow's SavedModel: the variables listed in the order data flows.
    saved_model = folder / "RRDB_GAN"
    variables = [tf.Variable(value) for value in weights.values()]
    listing = tf.train.Checkpoint(trainable_variables=variables)
    listing.write(saved_model / "variables" / "variables")
    (saved_model / "saved_model.pb").touch()
    shutil.make_archive(str(saved_model), "zip", folder, "RRDB_GAN")
    with h5py.File(folder / "keras_2.h5", "w") as file:
        layers = list(dict.fromkeys(name.split("/")[0] for name in weights))
        file.attrs["layer_names"] = layers
        for layer in layers:
            names = [f"conv2d/{part}:0" for part in ("kernel", "bias")]
            file.create_group(layer).attrs["weight_names"] = names
            for name, part in zip(names, ("kernel", "bias"), strict=True):
                file[layer][name] = weights[f"{layer}/{part}"]


def write_package(network: Network, folder: Path) -> None:
    """`net.onnx`, and `bioimageio.zip` and `deepimagej.zip` around it."""
    written = onnx.write(network, folder / "net.onnx")
    other = next(a for a in factories.any_artifacts(folder / "any") if a.format != written.format)
    image = np.arange(network.channels_in * 64, dtype=np.uint16)
    image = image.reshape(network.channels_in, 8, 8)
    side = 8 * network.scale
    restored = np.zeros((network.channels_out, side, side), np.float32)
    description = factories.description(
        network,
        (written, other),
        Sample(image, restored + np.arange(side), None, "a ramp"),
        name="a random member",
        halo=HaloMeasurement(0, network.step, 1e-4, ()),
    )
    packages = write_packages(description, folder)
    packages.bioimageio.rename(folder / "bioimageio.zip")
    packages.deepimagej.rename(folder / "deepimagej.zip")


@pytest.mark.usefixtures("in_this_process")
@given(config=members(), seed=st.integers(0, 2**32 - 1))
@settings(
    max_examples=4 * int(os.environ.get("W2S_FUZZ", 1)),
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_format(config: GeneratorConfig, seed: int, reference: Any) -> None:
    """All files hold one network, which restores as PyTorch does."""
    state = reference.state(config, seed)
    image = reference.image(config)
    expected = reference.forward(state, image, config)
    with TemporaryDirectory() as name, warnings.catch_warnings():
        # Keras 3.15 copies a variable in a way that NumPy 2.4 warns of.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        folder = Path(name)
        write_all(config, state, folder)
        found = {}
        for file in formats(config):
            # Of a plain network neither tensors nor keys tell the scale; the user does.
            tell = file in BY_TENSORS and config.upsampling == "plain"
            found[file] = load_checkpoint(folder / file, scale=config.scale if tell else None)
    first = found["net.npz"]
    assert reference.difference(expected, reference.restore(first, image)) < reference.tolerance
    for file, checkpoint in found.items():
        assert checkpoint.config == config, file
        for tensor, value in first.weights.items():
            assert (checkpoint.weights[tensor] == value).all(), (file, tensor)
