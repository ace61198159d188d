"""The description as a bioimage.io rdf of format 0.5.10: for the zoo, bioimageio.core, JDLL.

0.5.10 and not later: from 0.5.11 on `documentation` and `covers` are mappings, which neither the
zoo's own bioimageio.core 0.10.4 nor DeepImageJ 3.1 (JDLL 0.6.1) reads.
"""

from __future__ import annotations

from typing import Any

from w2s_export.data.normalise import processing_05
from w2s_export.formats.artifact import INPUT_ID, OUTPUT_ID
from w2s_export.rdf import description as files
from w2s_export.rdf.description import Description, Hashes, attachments, without_nothing
from w2s_export.rdf.shared_fields import own_config, people_and_words, worth_stating

FORMAT = "0.5.10"
# What conda-forge has and the zoo tests with; the file itself loads from TensorFlow 1.15 on.
TENSORFLOW_VERSION = "2.16.1"


def rdf_05(description: Description, hashes: Hashes) -> dict[str, Any]:
    """Build the rdf.

    Args:
        description: the model.
        hashes: SHA-256 of every other file of the package.
    """
    return without_nothing(
        {
            "format_version": FORMAT,
            "type": "model",
            **people_and_words(description),
            "attachments": [_file(name, hashes) for name in attachments(hashes)],
            "inputs": [_input(description, hashes)],
            "outputs": [_output(description, hashes)],
            "weights": {
                "tensorflow_saved_model_bundle": {
                    **_file(files.SAVED_MODEL, hashes),
                    "tensorflow_version": TENSORFLOW_VERSION,
                },
                "onnx": {
                    **_file(files.ONNX, hashes),
                    "opset_version": description.onnx.opset,
                    # Exactly one entry has no parent.
                    "parent": "tensorflow_saved_model_bundle",
                },
            },
            "config": own_config(description, hashes),
        }
    )


def _input(description: Description, hashes: Hashes) -> dict[str, Any]:
    normalisation = description.checkpoint.normalisation
    size = {"min": description.minimum, "step": description.step}
    steps = [processing_05(normalisation)] if normalisation else []
    return {
        "id": INPUT_ID,
        "description": "image to restore, detector counts",
        "axes": [
            {"type": "batch"},
            _channels(description.checkpoint.config.in_nc),
            # s² here and s on the output: the specification divides one by the other and JDLL
            # multiplies by the output's, and both must come to s. No unit: it is no pixel size.
            *(
                {"type": "space", "id": axis, "size": size, "scale": float(description.scale**2)}
                for axis in ("y", "x")
            ),
        ],
        "data": {"type": "float32"},
        "test_tensor": _file(files.TEST_INPUT, hashes),
        "sample_tensor": _file(files.SAMPLE_INPUT, hashes),
        "preprocessing": worth_stating(steps),
    }


def _output(description: Description, hashes: Hashes) -> dict[str, Any]:
    halo = {"halo": description.output_halo} if description.output_halo else {}
    return {
        "id": OUTPUT_ID,
        "description": "restored image, in units of the normalised input",
        "axes": [
            {"type": "batch"},
            _channels(description.checkpoint.config.out_nc),
            *(
                {
                    "type": "space",
                    "id": axis,
                    "size": {"tensor_id": INPUT_ID, "axis_id": axis},
                    "scale": float(description.scale),
                    **halo,
                }
                for axis in ("y", "x")
            ),
        ],
        "data": {"type": "float32"},
        "test_tensor": _file(files.TEST_OUTPUT, hashes),
        "sample_tensor": _file(files.SAMPLE_OUTPUT, hashes),
    }


def _channels(count: int) -> dict[str, Any]:
    # JDLL drops a model whose channel axis has no names.
    return {"type": "channel", "channel_names": [f"channel{i}" for i in range(count)]}


def _file(name: str, hashes: Hashes) -> dict[str, str]:
    return {"source": name, "sha256": hashes[name]}
