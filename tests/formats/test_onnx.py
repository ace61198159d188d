from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import factories
from tests.factories import TINY, lively_weights
from w2s_export.config import GeneratorConfig
from w2s_export.errors import (
    CheckpointMismatchError,
    ConfigError,
    ConversionError,
    OutputError,
)

# Counted by hand for one block: 1 + 15 + 1 convolutions and 2 behind the upsampling; 4 LeakyReLU
# and 4 concatenations a dense block; an addition and a factor a dense block and a block, the
# block's factor being a convolution too; one addition more for the long skip.
TRUNK = {"Conv": 20, "LeakyRelu": 13, "Concat": 12, "Add": 5, "Mul": 3}
NODES = {
    "plain_x1": TRUNK,
    "plain_x2": {**TRUNK, "LeakyRelu": 14, "Resize": 1},
    "plain_x4": {**TRUNK, "LeakyRelu": 14, "Resize": 1},
    "conv_x4_rgb": {**TRUNK, "Conv": 22, "LeakyRelu": 15, "Resize": 2},
    "conv_x2_unshuffle": {
        **TRUNK,
        "Conv": 22,
        "LeakyRelu": 15,
        "Resize": 2,
        "SpaceToDepth": 1,
    },
    "other_constants": {**TRUNK, "LeakyRelu": 14, "Resize": 1},
}


def attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def test_has_one_node_a_layer(converted: Any) -> None:
    import onnx

    model = onnx.load(converted.onnx.path)
    assert Counter(node.op_type for node in model.graph.node) == NODES[converted.name]
    layers = {layer.name for layer in converted.model.layers} - {"image"}
    assert {node.name for node in model.graph.node} == layers


def test_says_what_old_runtimes_read(converted: Any) -> None:
    import onnx

    model = onnx.load(converted.onnx.path)
    assert model.ir_version == 8
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 17)]
    assert not any(item.external_data for item in model.graph.initializer)
    digest = hashlib.sha256(converted.onnx.path.read_bytes()).hexdigest()
    assert converted.onnx.sha256 == digest


def test_axes_are_dynamic_and_named(converted: Any) -> None:
    import onnx

    graph = onnx.load(converted.onnx.path).graph
    scale = converted.config.scale
    size = {1: ["y", "x"], 2: ["2*y", "2*x"], 4: ["4*y", "4*x"]}[scale]
    for value, name, expected in (
        (graph.input, "input", ["batch", converted.config.in_nc, "y", "x"]),
        (graph.output, "output", ["batch", converted.config.out_nc, *size]),
    ):
        assert [item.name for item in value] == [name]
        tensor = value[0].type.tensor_type
        assert tensor.elem_type == onnx.TensorProto.FLOAT
        assert [axis.dim_param or axis.dim_value for axis in tensor.shape.dim] == expected


def test_padding_and_resizing_are_explicit(converted: Any) -> None:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(converted.onnx.path).graph
    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    for node in graph.node:
        found = attributes(node)
        if node.name == "body_0_scale":
            kernel = constants[node.input[1]]
            nf = converted.config.nf
            assert (found["group"], kernel.shape, len(node.input)) == (nf, (nf, 1, 1, 1), 2)
            assert (kernel == np.float32(converted.config.residual_scale)).all()
        elif node.op_type == "Conv":
            assert list(found["pads"]) == [1, 1, 1, 1]
            assert "auto_pad" not in found
            assert len(node.input) == 3
        if node.op_type == "Resize":
            assert found["mode"] == b"nearest"
            assert found["coordinate_transformation_mode"] == b"asymmetric"
            assert found["nearest_mode"] == b"floor"
            factor = 2 if converted.config.upsampling == "conv" else converted.config.scale
            assert constants[node.input[2]].tolist() == [1, 1, factor, factor]
        if node.op_type == "Mul":
            factor = constants[node.input[1]]
            assert factor.ndim == 0
            assert factor == np.float32(converted.config.residual_scale)
        if node.op_type == "LeakyRelu":
            assert found["alpha"] == pytest.approx(converted.config.negative_slope)


def test_same_model_same_bytes(plain: Any, tmp_path: Path) -> None:
    from w2s_export.formats import onnx

    again = onnx.write(plain.network, tmp_path / "again.onnx")
    assert again.path.read_bytes() == plain.onnx.path.read_bytes()


@pytest.mark.thorough
def test_same_bytes_in_another_process(tmp_path: Path) -> None:
    """With another seed of hashes; `test_environments.py` exports in another process too."""
    program = (
        "import sys; from pathlib import Path\n"
        "from tests.factories import network, written\n"
        "print(*(a.sha256 for a in written(network(), Path(sys.argv[1]))), sep='\\n')\n"
    )
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    finished = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={**os.environ, "PYTHONHASHSEED": seed, "TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    here = factories.written(factories.network(), tmp_path)
    assert len(here) == 2
    assert finished.stdout.split() == [artifact.sha256 for artifact in here]


def test_refuses_weights_that_are_not_finite() -> None:
    from w2s_export.graph.rrdbnet import write_rrdbnet

    weights = lively_weights(TINY)
    weights["conv_hr/bias"][0] = np.nan
    with pytest.raises(CheckpointMismatchError, match="conv_hr/bias"):
        write_rrdbnet(TINY, weights)


def test_refuses_a_network_beyond_two_gigabytes() -> None:
    from w2s_export.graph.rrdbnet import write_rrdbnet

    vast = GeneratorConfig(nf=1024, gc=1024, nb=8)  # 24 dense blocks of 9·15·1024²: 3.4e9
    with pytest.raises(ConfigError, match="lower nf, gc or nb"):
        write_rrdbnet(vast, {})


@pytest.mark.parametrize("place", ["missing/m.onnx", "file/m.onnx"])
def test_unwritable_place(plain: Any, tmp_path: Path, place: str) -> None:
    from w2s_export.formats import onnx

    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"m\.onnx"):
        onnx.write(plain.network, tmp_path / place)


def _newer(model: Any) -> None:
    model.ir_version = 10


def _another_opset(model: Any) -> None:
    model.opset_import.add(domain="ai.onnx.ml", version=2)


def _another_name(model: Any) -> None:
    model.graph.node[-1].output[0] = model.graph.output[0].name = "result"


def _no_image(model: Any) -> None:
    del model.graph.input[0].type.tensor_type.shape.dim[3]


def _not_finite(model: Any) -> None:
    (bias,) = [item for item in model.graph.initializer if item.name == "conv_last/bias"]
    bias.raw_data = np.array([np.nan], np.float32).tobytes()


def _unsorted(model: Any) -> None:
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))


@pytest.mark.parametrize(
    ("inflict", "message"),
    [
        (_newer, "IR 10"),
        (_another_opset, "ai.onnx.ml"),
        (_another_name, "result"),
        (_no_image, "checker"),
        (_not_finite, "conv_last/bias"),
        (_unsorted, "checker"),
    ],
)
def test_a_broken_promise_is_found(
    plain: Any, inflict: Callable[[Any], None], message: str
) -> None:
    import onnx

    from w2s_export.graph.model import check_model

    model = onnx.load(plain.onnx.path)
    check_model(model)
    inflict(model)
    with pytest.raises(ConversionError, match=message):
        check_model(model)
