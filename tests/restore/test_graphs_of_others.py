"""Graphs of others run in a process of their own, with limits; the result is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests import factories
from tests.graph.test_lower import PLAIN, model, plain
from tests.restore.conftest import MakeNetwork
from w2s_export.config import NoNormalisation
from w2s_export.errors import CheckpointError
from w2s_export.formats import onnx as onnx_format
from w2s_export.package.network import open_network
from w2s_export.restore.engines import open_engines
from w2s_export.runtime import in_worker
from w2s_export.runtime.choose import open_engine
from w2s_export.runtime.in_worker import Served
from w2s_export.runtime.protocol import EngineError
from w2s_export.sources import onnx_file

BATCH = np.random.default_rng(3).random((2, 1, 20, 24), np.float32)
LIMIT = 1 << 30


def graph_of(folder: Path, nodes: list[onnx.NodeProto], **stored: np.ndarray) -> Path:
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, "h", "w"])
        for name in ("input", "output")
    ]
    tensors = [numpy_helper.from_array(value, name) for name, value in stored.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), folder / "g.onnx")
    return folder / "g.onnx"


def test_the_result_is_that_of_onnx_runtime(box_onnx: Callable[[int], Path]) -> None:
    runtime = open_engine("cpu", box_onnx(1), 1, apart=LIMIT)
    assert isinstance(runtime, Served)
    assert runtime.name == f"ONNX Runtime {onnxruntime.__version__}"
    here = onnxruntime.InferenceSession(box_onnx(1))
    for batch in (BATCH, BATCH[:1, :, :9]):
        np.testing.assert_array_equal(runtime(batch), here.run(None, {"input": batch})[0])
    with pytest.raises(EngineError, match="cannot restore a tile of 20×24"):
        runtime(BATCH.repeat(2, axis=1))  # the network takes one channel
    np.testing.assert_array_equal(runtime(BATCH), here.run(None, {"input": BATCH})[0])
    process = psutil.Process(runtime._worker.pid)
    runtime.close()
    assert not process.is_running()
    assert not runtime.folder.exists()


def test_a_run_uses_it_for_graphs_of_others_alone(box_network: MakeNetwork) -> None:
    ours = box_network()
    for network, kind in ((replace(ours, foreign=True), True), (ours, False)):
        runtime = open_engines(network, "cpu", 1, 32, LIMIT, 0).runtime.runtime
        assert isinstance(runtime, Served) is kind


def test_weights_of_another_network_are_of_others(tmp_path: Path) -> None:
    onnx.save(model(PLAIN, plain()), tmp_path / "plain.onnx")
    (tmp_path / "files").mkdir()
    opened = open_network(None, tmp_path / "plain.onnx", normalisation=NoNormalisation())
    assert opened.open(tmp_path / "files").foreign


def test_what_needs_too_much_memory_fails_and_says_so(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["zero"], keepdims=0),
        helper.make_node("Add", ["input", "zero"], ["output"]),
    ]
    path = graph_of(tmp_path, nodes, size=np.array([40_000, 50_000], np.int64))  # 8 GB
    runtime = open_engine("cpu", path, 1, apart=1 << 28)
    with pytest.raises(EngineError, match="memory"):
        runtime(BATCH)


def test_what_never_ends_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["goes"]),
            helper.make_node("Sin", ["given"], ["made"]),
        ],
        "body",
        [value("i", 7, []), value("go", 9, []), value("given", 1, None)],
        [value("goes", 9, []), value("made", 1, None)],
    )
    path = graph_of(
        tmp_path,
        [helper.make_node("Loop", ["times", "go", "input"], ["output"], body=body)],
        times=np.array(2**62, np.int64),
        go=np.array(True),
    )
    runtime = open_engine("cpu", path, 1, apart=LIMIT)
    monkeypatch.setattr(in_worker, "_OPENING", 0.3)
    monkeypatch.setattr(in_worker, "_PER_PIXEL", 0.0)
    with pytest.raises(EngineError, match=r"had not finished after 0\.3 s"):
        runtime(BATCH)
    with pytest.raises(EngineError, match="had not finished"):  # it is not begun again
        runtime(BATCH)


def test_a_function_may_not_take_the_place_of_an_operator(tmp_path: Path) -> None:
    """ONNX Runtime would run the function."""
    network = factories.network(factories.TINY)
    changed = onnx.load(onnx_format.write(network, tmp_path / "net.onnx").path)
    onnx_file.from_model(changed)
    negative = helper.make_node("Neg", ["a"], ["b"])
    function = helper.make_function(
        "", "LeakyRelu", ["a"], ["b"], [negative], [helper.make_opsetid("", 17)]
    )
    changed.functions.append(function)
    with pytest.raises(CheckpointError, match="holds 1 functions beside its graph"):
        onnx_file.from_model(changed)
