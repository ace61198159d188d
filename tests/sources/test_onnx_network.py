"""ONNX files of anybody that fix their size: kept, let go, or refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.graph.test_lower import CONV, PLAIN, kernel, model, n, plain, run
from w2s_export.errors import CheckpointError
from w2s_export.sources.load import load_network

SIZE = (1, 1, 48, 64)


@pytest.fixture(scope="module")
def plain_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fixed") / "plain.onnx"
    onnx.save(model(PLAIN, plain(), size=SIZE, made=SIZE), path)
    return path


def test_a_fixed_size_is_kept(plain_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = load_network(plain_file)
    assert (network.fixed, network.channels_in, network.scale) == ((48, 64), 1, 1)
    assert "takes images of 48×64 pixels and no others" in caplog.text
    sizes = [
        [d.dim_value for d in tensor.type.tensor_type.shape.dim[1:]]
        for tensor in (network.graph.graph.input[0], network.graph.graph.output[0])
    ]
    assert sizes == [[1, 48, 64], [1, 48, 64]]
    batch = np.random.default_rng(1).random((2, *SIZE[1:])).astype(np.float32)
    alone = np.concatenate([run(onnx.load(plain_file), image[None]) for image in batch])
    np.testing.assert_array_equal(network.reference()(batch), alone)
    np.testing.assert_allclose(run(network.graph, batch), alone, atol=1e-6)


def test_it_is_let_go_on_demand(plain_file: Path) -> None:
    network = load_network(plain_file, dynamic=True)
    assert (network.fixed, network.step, network.minimum) == (None, 1, 1)
    image = np.random.default_rng(1).random((1, 1, 70, 33)).astype(np.float32)
    free = onnx.load(plain_file)
    for tensor in (free.graph.input[0], free.graph.output[0]):
        for axis in (2, 3):
            tensor.type.tensor_type.shape.dim[axis].dim_param = f"{tensor.name}{axis}"
    np.testing.assert_allclose(network.reference()(image), run(free, image), atol=1e-6)
    np.testing.assert_allclose(run(network.graph, image), run(free, image), atol=1e-6)


def test_a_network_that_knows_places_keeps_its_size(tmp_path: Path) -> None:
    nodes = [n("Conv", "x k b", "a", **CONV), n("Add", "a p", "c"), n("Conv", "c l", "y", **CONV)]
    weights = {**plain(), "p": kernel(1, 4, 48, 64)}
    onnx.save(model(nodes, weights, size=SIZE, made=SIZE), tmp_path / "places.onnx")
    assert load_network(tmp_path / "places.onnx").fixed == (48, 64)
    with pytest.raises(CheckpointError, match="cannot be followed for images of other sizes"):
        load_network(tmp_path / "places.onnx", dynamic=True)
