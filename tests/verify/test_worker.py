"""The worker for foreign weights: what it will not load, and that it ends with us."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from w2s_export.errors import PackageError, WithheldError
from w2s_export.verify.protobuf import read_onnx
from w2s_export.verify.worker.guard import check_saved_model, checked_onnx, output_values
from w2s_export.verify.worker.keras_guard import check_keras


def model(domain: str = "", *, opsets: tuple[str, ...] = ("",), scale: int = 1) -> onnx.ModelProto:
    """x + w, repeated along y."""
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 1, "y", "x"])
        for name in ("input", "output")
    ]
    weights = [
        helper.make_tensor("w", TensorProto.FLOAT, [1], [2.0]),
        helper.make_tensor("times", TensorProto.INT64, [4], [1, 1, scale, 1]),
    ]
    nodes = [
        helper.make_node("Add", ["input", "w"], ["sum"], domain=domain),
        helper.make_node("Tile", ["sum", "times"], ["output"]),
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], weights)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid(d, 17) for d in opsets], ir_version=8
    )


def written(folder: Path, content: bytes) -> Path:
    path = folder / "weights"
    path.write_bytes(content)
    return path


def varint(value: int) -> bytes:
    """By the protocol buffers' own rule: seven bits a byte, the last without the eighth."""
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def hidden(*locations: int) -> bytes:
    """A model whose weight lies in another file; `data_location` (field 14) stands repeatedly."""
    made = model()
    (weight, *_) = made.graph.initializer
    weight.ClearField("float_data")
    weight.external_data.add(key="location", value="/etc/passwd")
    raw = weight.SerializeToString() + b"".join(varint(14 << 3) + varint(v) for v in locations)
    graph = made.graph.SerializeToString().replace(
        b"\x2a" + varint(len(weight.SerializeToString())) + weight.SerializeToString(),
        b"\x2a" + varint(len(raw)) + raw,
    )
    made.ClearField("graph")
    return made.SerializeToString() + b"\x3a" + varint(len(graph)) + graph


HIDDEN = {
    "plain": (1,),
    "twice": (0, 1),
    "large": ((1 << 32) + 1,),
    "none": (),
    "taken back": (1, 0),
}


@pytest.mark.parametrize("locations", HIDDEN.values(), ids=HIDDEN)
def test_weights_in_another_file_are_found_however_they_are_written(tmp_path, locations):
    content = hidden(*locations)
    outside = onnx.ModelProto.FromString(content).graph.initializer[0]
    assert outside.external_data
    with pytest.raises(PackageError, match="another file"):
        checked_onnx(written(tmp_path, content))
    if outside.data_location == TensorProto.EXTERNAL:
        assert read_onnx(content).external_data


def test_weights_of_a_sparse_tensor_in_another_file_are_found(tmp_path):
    made = model()
    values = helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0])
    values.data_location = TensorProto.EXTERNAL
    values.external_data.add(key="location", value="elsewhere")
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))
    with pytest.raises(PackageError, match="another file"):
        checked_onnx(written(tmp_path, made.SerializeToString()))
    assert read_onnx(made.SerializeToString()).external_data


def test_imports_that_no_node_uses_are_no_custom_operators(tmp_path):
    content = model(opsets=("", "com.microsoft.nchwc", "ai.onnx.training")).SerializeToString()
    assert checked_onnx(written(tmp_path, content)).graph.node
    custom = model("my.company", opsets=("", "my.company")).SerializeToString()
    with pytest.raises(PackageError, match=r"my\.company\.Add"):
        checked_onnx(written(tmp_path, custom))


@pytest.mark.parametrize("content", [b"", b"no model", b"\x0a\xff\xff\xff\xff\xff"])
def test_what_is_no_onnx_file_is_refused(tmp_path, content):
    path = written(tmp_path, content)
    if content:
        with pytest.raises(PackageError, match="no ONNX"):
            checked_onnx(path)


def test_outputs_are_counted_before_they_are_computed():
    assert output_values(model(scale=1000), [(2, 1, 30, 40)]) == 2 * 1000 * 30 * 40


def keras_file(folder: Path, *layers: dict) -> Path:
    stream = io.BytesIO()
    config = {"class_name": "Sequential", "module": "keras", "config": {"layers": list(layers)}}
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    return written(folder, stream.getvalue())


def layer(name: str, module: str = "keras.layers") -> dict:
    return {"class_name": name, "module": module, "config": {"name": "a"}}


def test_keras_files_of_keras_alone_are_run(tmp_path):
    activation = {"class_name": "function", "module": "keras.activations", "config": "relu"}
    initializer = layer("GlorotUniform", "keras.initializers")
    check_keras(keras_file(tmp_path, layer("Conv2D"), activation, initializer, layer("ReLU", "")))


@pytest.mark.parametrize(
    "named",
    [
        layer("Lambda"),
        layer("Lambda", ""),
        layer("TFSMLayer"),
        layer("Conv2D", "evil"),
        layer("get_file", "keras.utils"),
        layer("Popen", "subprocess"),
        layer("MyLayer", ""),
        {"class_name": "function", "module": "builtins", "config": "exec"},
        {"class_name": "function", "module": "keras.src.utils.file_utils", "config": "get_file"},
        {"class_name": "__lambda__", "config": {"code": "x"}},
    ],
    ids=lambda value: f"{value['class_name']} {value.get('module')} {value['config']}"[:40],
)
def test_keras_files_that_name_anything_else_are_not(tmp_path, named):
    with pytest.raises(WithheldError, match="only Keras's layers"):
        check_keras(keras_file(tmp_path, layer("Conv2D"), {"inner": [named]}))


def test_a_saved_model_that_touches_files_anywhere_is_not_given_to_core(tmp_path):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    def zipped(operation: str) -> Path:
        proto = SavedModel()
        graph = proto.meta_graphs.add().graph_def
        graph.node.add(name="a", op="Relu")
        function = graph.library.function.add()
        function.signature.name = "initialise"
        function.node_def.add(name="b", op=operation)
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("saved_model.pb", proto.SerializeToString())
        return written(tmp_path, stream.getvalue())

    check_saved_model(zipped("Conv2D"))
    check_saved_model(zipped("SaveV2"))
    for operation in ("ReadFile", "WriteFile", "PyFunc", "LookupTableImportV2"):
        with pytest.raises(WithheldError, match=operation):
            check_saved_model(zipped(operation))


PROGRAM = """
import sys
from pathlib import Path
from w2s_export.verify.clients.core_tests import core_program
with core_program([Path(sys.argv[1])], ["onnx"]) as core:
    tests = core.test([Path(sys.argv[1]) / "nothing.zip"])
    print("started", flush=True)
    import time
    time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix", reason="no SIGKILL")
def test_the_worker_ends_with_a_killed_verification(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        (worker,) = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGKILL)
        process.wait()
        for _ in range(200):  # two seconds
            if not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE:
                break
            time.sleep(0.01)
        else:
            worker.kill()
            pytest.fail("the worker lives on")
