from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import factories

# What TensorFlow 1.15.5's op registry gives these operations, less the attributes that are left
# out when they have their default value. Measured in its environment: `nox -s clients`.
ATTRIBUTES = {
    "AddV2": {"T"},
    "BiasAdd": {"T"},
    "ConcatV2": {"N", "T"},
    "Const": {"dtype", "value"},
    "Conv2D": {"T", "padding", "strides"},
    "Identity": {"T"},
    "LeakyRelu": {"alpha"},
    "Mul": {"T"},
    "Placeholder": {"dtype", "shape"},
    "ResizeNearestNeighbor": {"T"},
    "Shape": {"T"},
    "SpaceToDepth": {"T", "block_size"},
    "StridedSlice": {"Index", "T", "begin_mask", "end_mask"},
    "Transpose": {"T"},
}


def meta_graph(path: Path) -> Any:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    with zipfile.ZipFile(path) as archive:
        proto = SavedModel.FromString(archive.read("saved_model.pb"))
    (graph,) = proto.meta_graphs
    return graph


def test_zip_is_flat_and_undated(converted: Any) -> None:
    with zipfile.ZipFile(converted.saved_model.path) as archive:
        assert archive.namelist() == ["saved_model.pb", "variables/"]
        assert {item.date_time for item in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.testzip() is None
    digest = hashlib.sha256(converted.saved_model.path.read_bytes()).hexdigest()
    assert converted.saved_model.sha256 == digest


def test_graph_holds_only_what_tensorflow_1_15_knows(converted: Any) -> None:
    graph = meta_graph(converted.saved_model.path)
    assert not graph.graph_def.library.function
    assert graph.meta_info_def.stripped_default_attrs
    for node in graph.graph_def.node:
        names = {name for name in node.attr if not name.startswith("_")}
        assert names <= ATTRIBUTES[node.op], node.name


def test_signature(converted: Any) -> None:
    graph = meta_graph(converted.saved_model.path)
    assert list(graph.meta_info_def.tags) == ["serve"]
    signature = graph.signature_def["serving_default"]
    (input_info,), (output_info,) = signature.inputs.values(), signature.outputs.values()
    assert (list(signature.inputs), list(signature.outputs)) == (["input"], ["output"])
    assert (input_info.name, output_info.name) == ("input:0", "output:0")
    config = converted.config
    for info, channels in ((input_info, config.in_nc), (output_info, config.out_nc)):
        assert [axis.size for axis in info.tensor_shape.dim] == [-1, channels, -1, -1]


def test_loads_as_bioimageio_core_does(plain: Any, tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    with zipfile.ZipFile(plain.saved_model.path) as archive:
        archive.extractall(tmp_path)
    layer = keras.layers.TFSMLayer(str(tmp_path), call_endpoint="serving_default")
    result = layer(tf.zeros((1, 1, 9, 11)))
    assert isinstance(result, dict)
    assert result["output"].shape == (1, 1, 18, 22)


def test_same_model_same_bytes(plain: Any, tmp_path: Path) -> None:
    from w2s_export.formats import saved_model

    again = saved_model.write(plain.network, tmp_path / "again.zip")
    assert again.path.read_bytes() == plain.saved_model.path.read_bytes()


def test_other_weights_other_bytes(plain: Any, tmp_path: Path) -> None:
    from w2s_export.formats import saved_model

    weights = factories.lively_weights(plain.config, seed=8)
    other = saved_model.write(
        factories.network(plain.config, weights=weights), tmp_path / "other.zip"
    )
    assert other.sha256 != plain.saved_model.sha256


def test_records_the_tensorflow_that_wrote_it(plain: Any) -> None:
    import tensorflow as tf

    assert meta_graph(plain.saved_model.path).meta_info_def.tensorflow_version == tf.__version__


def test_an_operation_unknown_to_tensorflow_1_15_is_refused(
    plain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from w2s_export.errors import ConversionError
    from w2s_export.formats import saved_model

    monkeypatch.setattr(saved_model, "OPERATIONS", saved_model.OPERATIONS - {"LeakyRelu"})
    with pytest.raises(ConversionError, match="LeakyRelu"):
        saved_model.write(plain.network, tmp_path / "m.zip")
    assert not list(tmp_path.iterdir())


def test_weights_are_the_models(plain: Any) -> None:
    import tensorflow as tf

    nodes = {node.name: node for node in meta_graph(plain.saved_model.path).graph_def.node}
    kernel, bias = plain.model.get_layer("conv_hr").get_weights()
    for name, expected in (("conv_hr/kernel", kernel), ("conv_hr/bias", bias)):
        stored = tf.make_ndarray(nodes[name].attr["value"].tensor)
        np.testing.assert_array_equal(stored, expected)
