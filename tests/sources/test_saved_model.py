from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from w2s_export.config import GeneratorConfig
from w2s_export.errors import CheckpointError, CheckpointMismatchError
from w2s_export.networks.layout import parameter_count
from w2s_export.sources.architecture import from_order
from w2s_export.sources.load import load_checkpoint
from w2s_export.sources.saved_model import read
from w2s_export.sources.stored_tensor import Stored
from w2s_export.sources.tensorflow_program import listed

pytestmark = pytest.mark.usefixtures("in_this_process")
ONE = GeneratorConfig(nf=8, gc=4, nb=1)


@pytest.fixture
def folder(golden: Path, tmp_path: Path) -> Path:
    """The golden SavedModel, unzipped."""
    with zipfile.ZipFile(golden / "RRDB_GAN.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path / "RRDB_GAN"


@pytest.mark.parametrize("kind", ["zip", "folder", "index"])
def test_original_saved_model(kind: str, golden: Path, folder: Path, reference: Any) -> None:
    """Written by TensorFlow 2.4.1 as w2s-tensorflow does; the output is that runtime's."""
    path = {
        "zip": golden / "RRDB_GAN.zip",
        "folder": folder,
        "index": folder / "variables" / "variables.index",
    }[kind]
    checkpoint = load_checkpoint(path)
    assert checkpoint.config == ONE
    with np.load(golden / "io.npz") as record:
        x, y = (record[name].transpose(0, 3, 1, 2) for name in ("x", "y"))
    assert reference.difference(y, reference.restore(checkpoint, x)) < reference.tolerance


def test_zip_with_the_files_at_its_root(folder: Path, tmp_path: Path) -> None:
    path = Path(shutil.make_archive(str(tmp_path / "flat"), "zip", folder))
    assert load_checkpoint(path).config == ONE


def test_published_saved_model_is_the_default_network(data: Path, tmp_path: Path) -> None:
    """The published one's index: 698 variables by name and shape; its values are not to be had."""
    import tensorflow as tf

    shutil.copy(data / "upstream_w2s" / "RRDB_GAN_variables.index", tmp_path / "v.index")
    (tmp_path / "v.data-00000-of-00001").touch()
    reader = tf.train.load_checkpoint(str(tmp_path / "v"))
    shapes = reader.get_variable_to_shape_map()

    class Reader:  # the object graph is among the values that are not to be had
        def get_variable_to_shape_map(self) -> Any:
            return shapes

        def get_variable_to_dtype_map(self) -> Any:
            return reader.get_variable_to_dtype_map()

        def get_tensor(self, key: str) -> bytes:
            return _object_graph(sum(key.startswith("trainable") for key in shapes))

    facts, tensors = listed(Reader())
    assert facts["ordered"]
    assert len(tensors) == 698
    config, _ = from_order([Stored(t.key, t.shape, t.dtype, t.read) for t in tensors])
    assert config == GeneratorConfig()
    assert parameter_count(config) == 16_621_825


def _object_graph(count: int) -> bytes:
    """A model's list of `count` variables, listed in the order strings sort."""
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    root, listing = graph.nodes.add(), graph.nodes.add()
    root.children.add(node_id=1, local_name="trainable_variables")
    for name in sorted(map(str, range(count))):
        listing.children.add(node_id=len(graph.nodes), local_name=name)
        key = f"trainable_variables/{name}/.ATTRIBUTES/VARIABLE_VALUE"
        graph.nodes.add().attributes.add(name="VARIABLE_VALUE", checkpoint_key=key)
    return bytes(graph.SerializeToString())


@pytest.mark.parametrize("written_by", ["export", "checkpoint"])
def test_todays_tensorflow(written_by: str, tmp_path: Path) -> None:
    """Keras 3's export of our generator, and a checkpoint of w2s-tensorflow's attribute paths."""
    import tensorflow as tf

    from w2s_export.networks.rrdbnet import build_generator, get_weights

    model = build_generator(ONE, seed=3)
    weights = get_weights(model, ONE)
    if written_by == "export":
        model.export(tmp_path / "net", verbose=False)
        path = tmp_path / "net"
    else:

        def module(layer: str) -> tf.Module:
            holder = tf.Module()
            for part in ("kernel", "bias"):
                setattr(holder, part, tf.Variable(weights[f"{layer}/{part}"]))
            return holder

        root, block = tf.Module(), tf.Module()
        for dense in (1, 2, 3):
            setattr(block, f"rdb{dense}", tf.Module())
            for conv in range(1, 6):
                layer = module(f"body_0_rdb{dense}_conv{conv}")
                setattr(getattr(block, f"rdb{dense}"), f"conv{conv}", layer)
        for name, layer in (
            ("conv_first", "conv_first"),
            ("trunk_conv", "conv_body"),
            ("HRconv", "conv_hr"),
            ("conv_last", "conv_last"),
        ):
            setattr(root, name, module(layer))
        root.RRDB_trunk = [block]
        tf.train.Checkpoint(root=root).save(tmp_path / "net")
        path = tmp_path / "net-1.index"
    checkpoint = load_checkpoint(path)
    assert checkpoint.config == ONE
    for name, value in weights.items():
        np.testing.assert_array_equal(checkpoint.weights[name], value, err_msg=name)


def test_a_scalar_of_the_network_is_not_dropped(tmp_path: Path) -> None:
    """Such as a trained slope or residual factor, which the family does not have."""
    import tensorflow as tf

    from w2s_export.networks.rrdbnet import build_generator, get_weights

    weights = get_weights(build_generator(ONE), ONE)
    holder = tf.train.Checkpoint(
        trainable_variables=[tf.Variable(value) for value in weights.values()],
        step=tf.Variable(7),
    )
    holder.write(tmp_path / "net")
    assert load_checkpoint(tmp_path / "net.index").config == ONE  # a step counter is no weight
    holder.alpha = tf.Variable(0.3)
    holder.write(tmp_path / "net")
    with pytest.raises(CheckpointError, match="alpha"):
        load_checkpoint(tmp_path / "net.index")


def test_frozen_saved_model_is_sent_to_its_package(folder: Path) -> None:
    shutil.rmtree(folder / "variables")
    with pytest.raises(CheckpointError, match="without variables"):
        load_checkpoint(folder)


PLAIN = (rb"(?i)leaky(_?re_?lu)", rb"plain\1")
FEWER = (b"\x12\x06Conv2D", b"\x12\x06Conv9D")
POOLED = (rb"\Z", b"\x12\x07MaxPool")


@pytest.mark.parametrize(
    ("change", "what"),
    [(PLAIN, "no leaky ReLU"), (FEWER, "has 18 convolutions"), (POOLED, "operations MaxPool")],
    ids=["not leaky", "small", "pooled"],
)
def test_another_family_is_told_without_tensorflow(
    change: tuple[bytes, bytes], what: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = folder / "saved_model.pb"
    content = graph.read_bytes()
    kept = content.count(b"\x12\x06Conv2D") - 18 if change == FEWER else 0
    graph.write_bytes(re.sub(*change, content, count=kept))
    monkeypatch.delattr("w2s_export.sources.saved_model.isolated")  # what starts TensorFlow
    for path in (folder, Path(shutil.make_archive(str(folder), "zip", folder))):
        with pytest.raises(CheckpointMismatchError, match=what):
            read(path)


def test_what_a_discriminator_computes_is_no_other_family(folder: Path) -> None:
    graph = folder / "saved_model.pb"
    graph.write_bytes(graph.read_bytes() + b"\x12\x07MaxPool discriminator")
    assert read(folder).config.nb >= 1


def test_truncated_variables(folder: Path) -> None:
    shard = folder / "variables" / "variables.data-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="truncated or damaged variables"):
        load_checkpoint(folder)


def test_damaged_index(folder: Path) -> None:
    index = folder / "variables" / "variables.index"
    index.write_bytes(index.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated or damaged variables"):
        load_checkpoint(folder)


def test_zip_members_land_nowhere_else(golden: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(golden / "RRDB_GAN.zip") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "net.zip", "w") as archive:
        for name, content in contents.items():
            archive.writestr(f"../escaped/{name}", content)
    assert load_checkpoint(tmp_path / "net.zip").config == ONE
    assert not (tmp_path.parent / "escaped").exists()
