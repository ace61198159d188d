"""Both ends of a network changed, against the network as it was in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.graph.test_lower import CONV, kernel, model, n, plain, run
from w2s_export.graph.adapting import grey, scaled_input, scaled_output
from w2s_export.graph.lower import lower

RNG = np.random.default_rng(8)


def colour(shuffled: bool) -> onnx.ModelProto:
    """Three channels in and out; `shuffled`: neither end is a convolution."""
    nodes = [n("Conv", "x k b", "a", **CONV), n("Relu", "a", "c"), n("Conv", "c l m", "d", **CONV)]
    weights = {**plain(3), "m": kernel(3)}
    if shuffled:
        nodes.append(n("Add", "d x", "e"))
        nodes.append(n("Tanh", "e", "y"))
    else:
        nodes[-1].output[0] = "y"
    size = ("n", 3, "h", "w")
    return lower(model(nodes, weights, size=size, made=size)).graph


@pytest.mark.parametrize("shuffled", [False, True])
def test_colour_networks_in_grey(shuffled: bool) -> None:
    network = colour(shuffled)
    image = RNG.random((2, 1, 16, 24)).astype(np.float32)
    expected = run(network, image.repeat(3, axis=1)).mean(1, keepdims=True)
    folded = grey(network)
    onnx.checker.check_model(folded, full_check=True)
    assert np.abs(run(folded, image) - expected).max() <= 1e-6 * np.ptp(expected)
    assert len(folded.graph.node) - len(network.graph.node) == (2 if shuffled else 0)


def test_results_in_counts() -> None:
    network = colour(shuffled=False)
    image = RNG.random((1, 3, 16, 16)).astype(np.float32)
    scaled = scaled_output(network, 400.0, 100.0)
    onnx.checker.check_model(scaled, full_check=True)
    np.testing.assert_allclose(run(scaled, image), run(network, image) * 400 + 100, atol=1e-3)


@pytest.mark.parametrize("clip", [None, (-1.0, 2.0)])
def test_images_in_counts_with_numbers_for_each_channel(clip: tuple[float, float] | None) -> None:
    network = colour(shuffled=False)
    image = (RNG.random((2, 3, 16, 16)) * 400).astype(np.float32)
    mean, std = (100.0, 150.0, 90.0), (40.0, 80.0, 120.0)
    inside = scaled_input(network, mean, std, clip)
    onnx.checker.check_model(inside, full_check=True)
    given = (image - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    expected = run(network, (given if clip is None else given.clip(*clip)).astype(np.float32))
    np.testing.assert_allclose(run(inside, image), expected, atol=1e-5)
    both = scaled_output(inside, std, mean)
    expected = expected * np.reshape(std, (3, 1, 1)) + np.reshape(mean, (3, 1, 1))
    np.testing.assert_allclose(run(both, image), expected, rtol=1e-5, atol=1e-2)
