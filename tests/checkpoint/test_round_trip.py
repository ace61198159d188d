"""A random member of the family, written in every format, loads back to the same output."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from w2s_export.checkpoint.artifact import Checkpoint
from w2s_export.checkpoint.load import load_checkpoint
from w2s_export.checkpoint.own import save_checkpoint
from w2s_export.config import GeneratorConfig

torch = pytest.importorskip("torch")


@st.composite
def members(draw: st.DrawFn) -> GeneratorConfig:
    """Small networks; every switch of the family, in every combination a format can tell apart."""
    upsampling = draw(st.sampled_from(["plain", "conv"]))
    steps = draw(st.sampled_from([2, 4])) if upsampling == "conv" else 2
    unshuffle = draw(st.sampled_from([1, 2, 4])) if upsampling == "conv" else 1
    unshuffle = min(unshuffle, steps)
    channels = draw(st.sampled_from([1, 3]))
    return GeneratorConfig(
        nf=draw(st.integers(2, 9)),
        gc=draw(st.integers(1, 5)),
        nb=draw(st.integers(1, 2)),
        in_nc=channels,
        out_nc=channels,
        upsampling=upsampling,
        scale=steps // unshuffle,
        pixel_unshuffle=unshuffle,
    )


def write_all(config: GeneratorConfig, state: dict[str, Any], folder: Path) -> list[Path]:
    """Every format, each by the library that defines it, from the same state dict."""
    import tensorflow as tf

    from w2s_export.convert.onnx import to_onnx
    from w2s_export.networks.generator import build_generator, set_weights

    paths = [folder / name for name in ("net.pth", "xinntao.pth", "net.npz", "net.weights.h5")]
    paths += [folder / name for name in ("net.keras", "net.onnx", "RRDB_GAN")]
    tensors = {key: torch.from_numpy(value) for key, value in state.items()}
    torch.save({"params_ema": tensors}, paths[0])
    old = {re.sub(r"body\.(\d+)\.rdb", r"RRDB_trunk.\1.RDB", key): tensors[key] for key in tensors}
    torch.save({f"module.{key}": value for key, value in old.items()}, paths[1])

    # The first kernel's inputs, (channel, row, column) in PyTorch, (row, column, channel) here.
    weights = {
        f"{key.rpartition('.')[0].replace('.', '_')}/{'kernel' if value.ndim == 4 else 'bias'}": (
            value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
        )
        for key, value in state.items()
    }
    f = config.pixel_unshuffle
    order = [c * f * f + d for d in range(f * f) for c in range(config.in_nc)]
    weights["conv_first/kernel"] = weights["conv_first/kernel"][:, :, order]
    save_checkpoint(Checkpoint(config, weights), paths[2])
    model = build_generator(config)
    set_weights(model, config, weights)
    model.save_weights(paths[3])
    model.save(paths[4])
    to_onnx(model, config, paths[5])
    # As w2s-tensorflow's SavedModel: the variables listed in the order data flows.
    variables = [tf.Variable(value) for value in weights.values()]
    tf.train.Checkpoint(trainable_variables=variables).write(paths[6] / "variables" / "variables")
    (paths[6] / "saved_model.pb").touch()
    if f == 1:  # the original's layout, which has no pixel-unshuffle
        paths.append(folder / "keras_2.h5")
        with h5py.File(paths[-1], "w") as file:
            layers = list(dict.fromkeys(name.split("/")[0] for name in weights))
            file.attrs["layer_names"] = layers
            for layer in layers:
                names = [f"conv2d/{part}:0" for part in ("kernel", "bias")]
                file.create_group(layer).attrs["weight_names"] = names
                for name, part in zip(names, ("kernel", "bias"), strict=True):
                    file[layer][name] = weights[f"{layer}/{part}"]
    return paths


@given(config=members(), seed=st.integers(0, 2**32 - 1))
@settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_format(config: GeneratorConfig, seed: int, reference: Any) -> None:
    state = reference.state(config, seed)
    image = reference.image(config)
    expected = reference.forward(state, image, config)
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        # Keras 3.15 copies a variable in a way that NumPy 2.4 warns of.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        first, *others = (load_checkpoint(path) for path in write_all(config, state, Path(folder)))
    assert first.config == config
    difference = reference.difference(expected, reference.restore(first, image))
    assert difference < reference.tolerance
    for checkpoint in others:
        assert checkpoint.config == config, checkpoint.source_format
        for name, value in first.weights.items():
            same = (checkpoint.weights[name] == value).all()
            assert same, (checkpoint.source_format, name)
