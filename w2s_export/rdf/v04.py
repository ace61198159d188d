"""The description as a bioimage.io rdf of format 0.4.10: for every DeepImageJ from 2.1 on.

DeepImageJ reads `config.deepimagej` by keys and Java casts: every key below is there because a
version fails without it, and strings, booleans and lists are what it casts to.
"""

from __future__ import annotations

from typing import Any

from w2s_export.data.normalise import processing_04
from w2s_export.graph.model import INPUT_ID, OUTPUT_ID
from w2s_export.rdf import description as files
from w2s_export.rdf.description import Description, Hashes, attachments, without_empty
from w2s_export.rdf.shared_fields import (
    own_config,
    people_and_words,
    weights_entries,
    without_identity,
)

FORMAT = "0.4.10"
# The format wants a date; the same content must give the same bytes, so no clock is read.
UNKNOWN_DATE = "1980-01-01T00:00:00+00:00"
_ANY_VALUE = [float("-inf"), float("inf")]


def rdf_04(description: Description, hashes: Hashes) -> dict[str, Any]:
    """Build the rdf.

    Args:
        description: the model.
        hashes: SHA-256 of every other file of the package.
    """
    fields = {"timestamp": UNKNOWN_DATE, "license": "unknown", **people_and_words(description)}
    return without_empty(
        {
            "format_version": FORMAT,
            "type": "model",
            **fields,
            "attachments": {"files": attachments(description, hashes)},
            "inputs": [_input(description)],
            "outputs": [_output(description)],
            "test_inputs": [files.TEST_INPUT],
            "test_outputs": [files.TEST_OUTPUT],
            "sample_inputs": [files.SAMPLE_INPUT],
            "sample_outputs": [files.SAMPLE_OUTPUT],
            "weights": weights_entries(description, hashes, "0.4"),
            "config": {
                "deepimagej": _deepimagej(description, hashes),
                **own_config(description, hashes),
            },
        }
    )


def _input(description: Description) -> dict[str, Any]:
    least, step, fixed = description.minimum, description.step, description.network.fixed
    channels = description.network.channels_in
    shape: Any = {"min": [1, channels, least, least], "step": [0, 0, step, step]}
    normalisation = description.network.normalisation
    steps = processing_04(normalisation)
    return {
        "name": INPUT_ID,
        "axes": "bcyx",
        "data_type": "float32",
        "data_range": _ANY_VALUE,
        "shape": shape if fixed is None else [1, channels, *fixed],
        "preprocessing": without_identity(steps),
    }


def _output(description: Description) -> dict[str, Any]:
    network, scale = description.network, float(description.scale)
    halo = description.output_halo
    return {
        "name": OUTPUT_ID,
        "axes": "bcyx",
        "data_type": "float32",
        "data_range": _ANY_VALUE,
        "shape": {
            "reference_tensor": INPUT_ID,
            "scale": [1.0, network.channels_out / network.channels_in, scale, scale],
            "offset": [0, 0, 0, 0],
        },
        # DeepImageJ 2.1 reads the list even where there is nothing to crop.
        "halo": [0, 0, halo, halo],
    }


def _deepimagej(description: Description, hashes: Hashes) -> dict[str, Any]:
    sample = description.sample
    return {
        "pyramidal_model": False,
        # DeepImageJ 3.1 reads an absent key as false, and false breaks every output with a
        # reference tensor.
        "allow_tiling": True,
        "model_keys": None,
        "prediction": {
            "preprocess": _macro_call(files.PREPROCESSING, hashes),
            "postprocess": _macro_call(files.POSTPROCESSING, hashes),
        },
        "test_information": {
            "inputs": [
                {
                    "name": files.SAMPLE_INPUT,
                    "size": _size(sample.image.shape),
                    "pixel_size": _pixel_size(sample.pixel_size_um),
                }
            ],
            "outputs": [
                {
                    "name": files.SAMPLE_OUTPUT,
                    "type": "image",
                    "size": _size(sample.restored.shape),
                    "pixel_size": _pixel_size(description.output_pixel_size_um),
                }
            ],
            # Strings: a number here crashes DeepImageJ 2.1 (ClassCastException).
            "memory_peak": f"{_memory_gb(description):.1f} Gb",
            "runtime": "not measured",
        },
    }


def _macro_call(name: str, hashes: Hashes) -> list[dict[str, Any]]:
    if name not in hashes:
        return [{"spec": None}]
    return [{"spec": "ij.IJ::runMacroFile", "kwargs": name}]


def _size(shape: tuple[int, ...]) -> str:
    """Width × height × channels × slices, as DeepImageJ writes it."""
    channels, height, width = shape
    return f"{width} x {height} x {channels} x 1"


def _pixel_size(side_um: float | None) -> dict[str, str]:
    if side_um is None:
        return {"x": "1.0 pixel", "y": "1.0 pixel", "z": "1.0 pixel"}
    side = f"{side_um:.6g} µm"
    return {"x": side, "y": side, "z": "1.0 pixel"}


def _memory_gb(description: Description) -> float:
    """Working memory for the sample, as ONNX Runtime takes it."""
    _, height, width = description.sample.image.shape
    needed = description.network.facts.bytes_per_pixel * height * width / 2**30
    return float(max(0.1, needed))
