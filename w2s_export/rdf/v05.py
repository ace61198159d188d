"""The description as a bioimage.io rdf of format 0.5.10: for the zoo, bioimageio.core, JDLL.

0.5.10 and not later: from 0.5.11 on `documentation` and `covers` are mappings, which neither the
zoo's own bioimageio.core 0.10.4 nor DeepImageJ 3.1 (JDLL 0.6.1) reads.
"""

from __future__ import annotations

from typing import Any

from w2s_export.data.normalise import processing_05
from w2s_export.graph.model import INPUT_ID, OUTPUT_ID
from w2s_export.rdf import description as files
from w2s_export.rdf.description import Description, Hashes, attachments, without_empty
from w2s_export.rdf.model_card import model_card
from w2s_export.rdf.shared_fields import (
    own_config,
    people_and_words,
    weights_entries,
    without_identity,
)

FORMAT = "0.5.10"


def rdf_05(description: Description, hashes: Hashes) -> dict[str, Any]:
    """Build the rdf.

    Args:
        description: the model.
        hashes: SHA-256 of every other file of the package.
    """
    return without_empty(
        {
            "format_version": FORMAT,
            "type": "model",
            **people_and_words(description),
            "attachments": [_file(name, hashes) for name in attachments(description, hashes)],
            "inputs": [_input(description, hashes)],
            "outputs": [_output(description, hashes)],
            "weights": weights_entries(description, hashes, "0.5"),
            "config": _config(description, hashes),
        }
    )


def _config(description: Description, hashes: Hashes) -> dict[str, Any]:
    own = own_config(description, hashes)
    return {**own, "bioimageio": {**own["bioimageio"], **model_card(description)}}


def _input(description: Description, hashes: Hashes) -> dict[str, Any]:
    normalisation = description.network.normalisation
    size = {"min": description.minimum, "step": description.step}
    sizes = description.network.fixed or (size, size)
    steps = processing_05(normalisation)
    return {
        "id": INPUT_ID,
        "description": "image to restore, detector counts",
        "axes": [
            {"type": "batch"},
            _channels(description.network.channels_in),
            # s² here and s on the output: the specification divides one by the other and JDLL
            # multiplies by the output's, and both must come to s. No unit: it is no pixel size.
            *(
                {"type": "space", "id": axis, "size": size, "scale": float(description.scale**2)}
                for axis, size in zip(("y", "x"), sizes, strict=True)
            ),
        ],
        "data": {"type": "float32"},
        "test_tensor": _file(files.TEST_INPUT, hashes),
        "sample_tensor": _file(files.SAMPLE_INPUT, hashes),
        "preprocessing": without_identity(steps),
    }


def _output(description: Description, hashes: Hashes) -> dict[str, Any]:
    halo = {"halo": description.output_halo} if description.output_halo else {}
    return {
        "id": OUTPUT_ID,
        "description": "restored image, in units of the normalised input",
        "axes": [
            {"type": "batch"},
            _channels(description.network.channels_out),
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
