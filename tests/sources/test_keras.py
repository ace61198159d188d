"""Keras weights: HDF5 of both layouts, and `.keras` archives."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from w2s_export.config import GeneratorConfig
from w2s_export.errors import CheckpointError, CheckpointMismatchError
from w2s_export.sources.load import load_checkpoint

# Keras 3.15 copies a variable in a way that NumPy 2.4 warns of.
pytestmark = [
    pytest.mark.usefixtures("in_this_process"),
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
    ),
]
ONE = {"nf": 8, "gc": 4, "nb": 1}
GOLDEN = GeneratorConfig(**ONE)
FAMILY = {
    "plain_x2": GeneratorConfig(**ONE),
    "plain_x1": GeneratorConfig(**ONE, scale=1),
    "conv_x4_rgb": GeneratorConfig(**ONE, in_nc=3, out_nc=3, scale=4, upsampling="conv"),
    "unshuffle": GeneratorConfig(
        **ONE, in_nc=3, out_nc=3, scale=2, upsampling="conv", pixel_unshuffle=2
    ),
}
ONLY_IN_ARCHIVES = {
    "plain_x4": GeneratorConfig(**ONE, scale=4),
    "other_constants": GeneratorConfig(**ONE, residual_scale=0.5, negative_slope=0.1),
    "plain_unshuffle": GeneratorConfig(**ONE, scale=1, pixel_unshuffle=2),
}


def lively(config: GeneratorConfig) -> Any:
    """A Keras model whose every weight matters."""
    from w2s_export.networks.rrdbnet import build_generator

    model = build_generator(config)
    rng = np.random.default_rng(5)
    for variable in model.weights:
        variable.assign(rng.normal(0, 0.15, variable.shape))
    return model


def assert_same_weights(checkpoint: Any, model: Any) -> None:
    assert len(checkpoint.weights) == len(model.weights)
    for variable in model.weights:
        layer, part = variable.path.rsplit("/", 2)[-2:]
        np.testing.assert_array_equal(checkpoint.weights[f"{layer}/{part}"], variable.numpy())


def test_weights_of_the_original_project(data: Path, reference: Any) -> None:
    """Saved by w2s-tensorflow's own generator, with the output it gave (Keras 2.4)."""
    checkpoint = load_checkpoint(data / "upstream_w2s" / "rrdbnet_nb2_seed1.h5")
    assert checkpoint.config == GeneratorConfig(nb=2)
    assert checkpoint.source_format == "keras-h5"
    with np.load(data / "upstream_w2s" / "rrdbnet_nb2_seed1_io.npz") as record:
        x, y = (record[name].transpose(0, 3, 1, 2) for name in ("x", "y"))
    # Measured 2e-7 of the range.
    assert reference.difference(y, reference.restore(checkpoint, x)) < reference.tolerance


def golden_io(golden: Path) -> tuple[Any, Any]:
    with np.load(golden / "io.npz") as record:
        x, y = (record[name].transpose(0, 3, 1, 2) for name in ("x", "y"))
    return x, y


def test_keras_2_subclassed_model(golden: Path, reference: Any) -> None:
    checkpoint = load_checkpoint(golden / "generator.h5")
    assert checkpoint.config == GOLDEN
    x, y = golden_io(golden)
    assert reference.difference(y, reference.restore(checkpoint, x)) < reference.tolerance


def by_path(golden: Path) -> dict[str, Any]:
    """The golden file's values by w2s-tensorflow's attribute paths."""
    found = {}
    with h5py.File(golden / "generator.h5") as file:
        for layer in map(bytes.decode, file.attrs["layer_names"]):
            names = [name.decode() for name in file[layer].attrs["weight_names"]]
            for index, name in enumerate(names):
                values = file[layer][name][()]
                if layer.startswith("RRDB"):
                    conv = index // 2
                    path = f"RRDB_trunk/rrdb/rdb{conv // 5 + 1}/conv{conv % 5 + 1}"
                else:
                    path = layer
                found[f"{path}/vars/{index % 2}"] = values
    return found


LAYOUTS = {
    # As written by tf.keras 2.15 and by Keras 3.4 for a model of that class.
    "keras_2_15": {"conv_first": "layers/conv2d", "HRconv": "layers/conv2d_1"}
    | {"conv_last": "layers/conv2d_2", "RRDB_trunk/rrdb": "layers/rrdb"},
    "keras_3_4": {"trunk_conv": "layers/conv2d_1"},
    "keras_3_wrapped": {"": "layers/rrdb_net/", "trunk_conv": "layers/conv2d_1"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_keras_3_layouts_of_the_subclassed_model(
    layout: str, golden: Path, tmp_path: Path, reference: Any
) -> None:
    renames = dict(LAYOUTS[layout])
    prefix = renames.pop("", "")
    with h5py.File(tmp_path / "net.weights.h5", "w") as file:
        for path, values in by_path(golden).items():
            for old, new in renames.items():
                path = re.sub(f"^{old}/", f"{new}/", path)
            file[prefix + path] = values
    checkpoint = load_checkpoint(tmp_path / "net.weights.h5")
    assert checkpoint.config == GOLDEN
    x, y = golden_io(golden)
    assert reference.difference(y, reference.restore(checkpoint, x)) < reference.tolerance


def test_names_too_many_for_one_attribute(golden: Path, tmp_path: Path, reference: Any) -> None:
    """Keras splits a list of more than 64 KiB of names into `weight_names0`, `weight_names1`, …."""
    with h5py.File(golden / "generator.h5") as old, h5py.File(tmp_path / "net.h5", "w") as new:
        old.copy(old, new, "model_weights")
        group = new["model_weights"]
        group.attrs["layer_names"] = old.attrs["layer_names"]
        names = group["RRDB_0"].attrs["weight_names"]
        del group["RRDB_0"].attrs["weight_names"]
        group["RRDB_0"].attrs["weight_names0"] = names[:17]
        group["RRDB_0"].attrs["weight_names1"] = names[17:]
    checkpoint = load_checkpoint(tmp_path / "net.h5")
    x, y = golden_io(golden)
    assert reference.difference(y, reference.restore(checkpoint, x)) < reference.tolerance


@pytest.mark.parametrize("fault", ["dense_blocks_swapped", "kernels_transposed"])
def test_fault_that_fits_the_shapes_shows_in_the_output(
    fault: str, golden: Path, tmp_path: Path, reference: Any
) -> None:
    with h5py.File(golden / "generator.h5") as old, h5py.File(tmp_path / "net.h5", "w") as new:
        for layer in old:
            old.copy(layer, new)
        new.attrs["layer_names"] = old.attrs["layer_names"]
        if fault == "dense_blocks_swapped":
            names = list(old["RRDB_0"].attrs["weight_names"])
            new["RRDB_0"].attrs["weight_names"] = names[10:20] + names[:10] + names[20:]
        else:
            for name in old["RRDB_0"].attrs["weight_names"][::2]:
                new["RRDB_0"][name][...] = old["RRDB_0"][name][()].swapaxes(0, 1)
    x, y = golden_io(golden)
    restored = reference.restore(load_checkpoint(tmp_path / "net.h5"), x)
    assert reference.difference(y, restored) > 100 * reference.tolerance


def test_layers_in_another_order_are_refused(golden: Path, tmp_path: Path) -> None:
    with h5py.File(golden / "generator.h5") as old, h5py.File(tmp_path / "net.h5", "w") as new:
        for layer in old:
            old.copy(layer, new)
        new.attrs["layer_names"] = sorted(old.attrs["layer_names"])
    with pytest.raises(
        CheckpointMismatchError, match="another shape of 3 tensors, first 'conv_first"
    ):
        load_checkpoint(tmp_path / "net.h5")


@pytest.mark.parametrize("name", FAMILY)
def test_keras_3_weights(name: str, tmp_path: Path) -> None:
    config = FAMILY[name]
    model = lively(config)
    model.save_weights(tmp_path / "net.weights.h5")
    checkpoint = load_checkpoint(tmp_path / "net.weights.h5", scale=config.scale)
    assert checkpoint.config == config
    assert checkpoint.source_format == "keras-weights-h5"
    assert_same_weights(checkpoint, model)


def test_keras_3_weights_without_names_go_by_their_numbers(tmp_path: Path) -> None:
    """Keras before 3.9 numbers the layers only; a string sort would put 10 before 2."""
    model = lively(GOLDEN)
    model.save_weights(tmp_path / "net.weights.h5")
    with h5py.File(tmp_path / "net.weights.h5", "a") as file:
        file.visititems(lambda _, item: item.attrs.pop("name", None) and None)
    assert_same_weights(load_checkpoint(tmp_path / "net.weights.h5"), model)


@pytest.mark.parametrize("name", FAMILY | ONLY_IN_ARCHIVES)
def test_keras_archive(name: str, tmp_path: Path) -> None:
    config = (FAMILY | ONLY_IN_ARCHIVES)[name]
    model = lively(config)
    model.save(tmp_path / "net.keras")
    checkpoint = load_checkpoint(tmp_path / "net.keras")
    assert checkpoint.config == config
    assert checkpoint.source_format == "keras-archive"
    assert_same_weights(checkpoint, model)


def test_optimizer_beside_the_network_is_left_alone(tmp_path: Path) -> None:
    model = lively(GOLDEN)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "net.keras")
    assert_same_weights(load_checkpoint(tmp_path / "net.keras"), model)


def test_layer_of_an_archive_is_never_built(tmp_path: Path) -> None:
    model = lively(GOLDEN)
    model.save(tmp_path / "net.keras")
    bait = {"class_name": "Lambda", "name": "bait", "config": {"function": "__import__('os')"}}
    path = edited(tmp_path / "net.keras", lambda config: config["config"]["layers"].append(bait))
    with pytest.raises(CheckpointMismatchError, match="has a Lambda layer 'bait'"):
        load_checkpoint(path)


def edited(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a `.keras` archive whose config.json is changed."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(contents["config.json"])
    change(config)
    contents["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path.with_name("edited.keras"), "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path.with_name("edited.keras")


@pytest.mark.parametrize(
    ("key", "value"),
    [("strides", [2, 2]), ("padding", "valid"), ("dilation_rate", [2, 2]), ("activation", "relu")],
)
def test_convolution_of_another_kind_is_refused(key: str, value: Any, tmp_path: Path) -> None:
    lively(GOLDEN).save(tmp_path / "net.keras")

    def change(config: dict[str, Any]) -> None:
        layers = config["config"]["layers"]
        next(layer for layer in layers if layer["name"] == "conv_hr")["config"][key] = value

    path = edited(tmp_path / "net.keras", change)
    with pytest.raises(CheckpointMismatchError, match=f"'conv_hr' with {key} "):
        load_checkpoint(path)


def test_foreign_layer_of_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    lively(GOLDEN).save(tmp_path / "net.keras")

    def change(config: dict[str, Any]) -> None:
        config["class_name"] = "Sequential"
        config["config"]["layers"][-1]["class_name"] = "Dense"

    path = edited(tmp_path / "net.keras", change)
    with pytest.raises(CheckpointMismatchError, match="has a Dense layer 'conv_last'"):
        load_checkpoint(path)


def test_bfloat16_weights(tmp_path: Path) -> None:
    """Keras stores bfloat16 as opaque pairs of bytes with a note of the type."""
    import keras

    keras.config.set_dtype_policy("bfloat16")
    try:
        model = lively(GOLDEN)
    finally:
        keras.config.set_dtype_policy("float32")
    model.save_weights(tmp_path / "net.weights.h5")
    checkpoint = load_checkpoint(tmp_path / "net.weights.h5")
    assert checkpoint.dtypes == ("bfloat16",)
    kernel = np.asarray(model.get_layer("conv_hr").kernel).astype(np.float32)
    np.testing.assert_array_equal(checkpoint.weights["conv_hr/kernel"], kernel)


def test_a_link_into_another_file_is_refused(tmp_path):
    source = Path(__file__).resolve().parents[1] / "golden" / "w2s_keras2" / "generator.h5"
    path = tmp_path / "linked.h5"
    with h5py.File(source) as real, h5py.File(path, "w") as linked:
        linked.attrs.update(real.attrs)
        for name in real:
            linked[name] = h5py.ExternalLink(str(source), f"/{name}")
    with pytest.raises(CheckpointError, match="points into another file"):
        load_checkpoint(path)
