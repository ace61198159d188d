"""Networks whose ends are changed at the user's wish, against the network as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.graph.test_lower import run
from tests.inputs import checkpoint
from w2s_export.config import FixedRangeNormalisation, Normalisation, PercentileNormalisation
from w2s_export.errors import ConfigError
from w2s_export.formats import onnx
from w2s_export.sources.adapted_network import in_counts, in_grey, parse_output_normalisation
from w2s_export.sources.load import load_network

IMAGE = np.random.default_rng(3).random((2, 1, 12, 16)).astype(np.float32)


def test_a_colour_network_in_grey_and_its_witness(tmp_path: Path) -> None:
    colour = load_network(checkpoint(tmp_path / "w.npz", in_nc=3, out_nc=3))
    onnx.write(colour, tmp_path / "w.onnx")
    grey = in_grey(replace(colour, reference=lambda: onnx.load(tmp_path / "w.onnx")))
    expected = run(colour.graph, IMAGE.repeat(3, axis=1)).mean(1, keepdims=True)
    assert (grey.channels_in, grey.channels_out) == (1, 1)
    for result in (run(grey.graph, IMAGE), grey.reference()(IMAGE)):
        np.testing.assert_allclose(result, expected, rtol=0, atol=2e-6 * np.ptp(expected))
    with pytest.raises(ConfigError, match="one channel already"):
        in_grey(grey)


@pytest.mark.parametrize(
    ("text", "gain", "offset"),
    [("back", 300, 100), ("range:50:250", 200, 50), ("mean-std:20:7", 7, 20)],
)
def test_results_are_scaled_to_what_was_asked(
    text: str, gain: float, offset: float, tmp_path: Path
) -> None:
    """0 and 1 of the results become LOW and HIGH, or the mean and one deviation above it."""
    how = FixedRangeNormalisation(low=100, high=400)
    network = load_network(checkpoint(tmp_path / "w.npz"))
    scaled = in_counts(network, *parse_output_normalisation(text, how))
    expected = gain * run(network.graph, IMAGE) + offset
    np.testing.assert_allclose(run(scaled.graph, IMAGE), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "how"),
    [("back", PercentileNormalisation()), ("zero-mean", FixedRangeNormalisation(low=0, high=1))],
)
def test_numbers_that_every_image_has_of_its_own_cannot_be_undone(
    text: str, how: Normalisation
) -> None:
    with pytest.raises(ConfigError, match="--output-normalisation"):
        parse_output_normalisation(text, how)
