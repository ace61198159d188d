"""The model card of `config.bioimageio`, as bioimageio.spec 0.5.10 and later know its fields.

Everything in it is known already: it is filled from what people wrote, from the weights'
provenance and from the graph. What is not known is left out.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from w2s_export.data.normalise import in_words
from w2s_export.rdf.description import Description
from w2s_export.rdf.whole_image import whole_image_memory

if TYPE_CHECKING:
    from w2s_export.network import Network

LIMITS = (
    "The network adds detail that is likely, not detail that was measured. It can sharpen noise "
    "into structure, join or part filaments that touch, and drop faint ones; the more the sample, "
    "stain, microscope or exposure differ from the training data, the more it does so. Use it to "
    "look and to segment, confirm a finding on the raw image or by another method, and do not "
    "measure absolute intensities on its output."
)
_NOT_FOR = (
    "Not for diagnosis, not for measuring absolute intensities, and not for images of other "
    "structures, stains or microscopes than those it was trained on without a comparison on pairs "
    "of your own."
)
_RISKS = "What looks like structure in the result may not be in the sample."
_ADVICE = (
    "Compare the result with the raw image. On pairs of your own, compare PSNR and SSIM with those "
    "of bicubic enlargement, and look at the differences."
)
_LONGEST = {"architecture_type": 32, "metric": 16}
"""Characters that the specification allows."""
_DOI = re.compile(r"10\.\d{4,}/[^\s,;)]+")
_MODALITIES = {
    "fluorescence-light-microscopy": "fluorescence light microscopy",
    "transmission-light-microscopy": "transmission light microscopy",
    "electron-microscopy": "electron microscopy",
}
"""By the zoo's tags."""


def model_card(description: Description) -> dict[str, Any]:
    """The fields of `config.bioimageio` that say what the model is and what it is not for."""
    network, metadata = description.network, description.metadata
    family = network.architecture.split(",")[0]
    memory = whole_image_memory(network)
    card = {
        "architecture_type": family[: _LONGEST["architecture_type"]],
        "architecture_description": network.architecture,
        "modality": metadata.modality or _modality(metadata.tags),
        "target_structure": list(metadata.structures),
        "task": "denoising and super-resolution" if network.scale > 1 else "image restoration",
        "out_of_scope_use": _NOT_FOR,
        "bias_risks_limitations": {
            "known_biases": f"Training data: {metadata.data or 'not stated'}.".replace("..", "."),
            "risks": _RISKS,
            "limitations": metadata.limitations or LIMITS,
            "recommendations": _ADVICE,
        },
        "model_parameter_count": parameter_count(network),
        "training": {
            "training_preprocessing": in_words(network.normalisation),
            **network.provenance.training,
        },
        "memory_requirements_inference": f"about {memory.gb_per_megapixel:.2g} GB for each "
        "megapixel of the input where it is restored as one tile (ONNX Runtime, CPU)",
        "evaluations": _evaluations(description),
        "pixel_size_um": _pixel_size(description),
    }
    return {key: value for key, value in card.items() if value not in (None, [], {}, "")}


def _modality(tags: tuple[str, ...]) -> str | None:
    return next((words for tag, words in _MODALITIES.items() if tag in tags), None)


def parameter_count(network: Network) -> int:
    """Weights of a network of ours; of another, all floating-point numbers in its graph."""
    if network.checkpoint is not None:
        return sum(int(values.size) for values in network.checkpoint.weights.values())
    float_type = 1  # onnx.TensorProto.FLOAT
    return sum(
        math.prod(tensor.dims)
        for tensor in network.graph.graph.initializer
        if tensor.data_type == float_type
    )


def _pixel_size(description: Description) -> dict[str, float]:
    """Of the images it was trained on, or else of the sample, micrometres.

    It stands here because an axis of the rdf cannot say it without breaking DeepImageJ 3.1.
    """
    trained = description.network.provenance.pixel_size_um
    size = trained if trained is not None else description.sample.pixel_size_um
    return {} if size is None else {"input": size, "output": size / description.scale}


def _evaluations(description: Description) -> list[dict[str, Any]]:
    """Scores on the fields that were held out; none where the data have no address."""
    provenance = description.network.provenance
    found = _DOI.search(provenance.data)
    keys = [
        key
        for key in provenance.scores
        if not key.startswith("validation_")
        and key != "fields"
        and "bicubic" not in key
        and len(key) <= _LONGEST["metric"]
    ]
    if found is None or not keys or "fields" not in provenance.scores:
        return []
    doi = found[0].rstrip(".")
    scores = provenance.scores
    return [
        {
            "dataset_id": re.sub(r"[^a-z0-9_\-/.]", "-", doi.lower()),
            "dataset_source": f"https://doi.org/{doi}",
            "dataset_role": "test",
            "sample_count": int(scores["fields"]),
            "evaluation_factors": ["network", "bicubic"],
            "evaluation_factors_long": [
                "this network",
                "bicubic enlargement of the same inputs, for comparison",
            ],
            "metrics": keys,
            "metrics_long": [key.replace("_", " ") for key in keys],
            "results": [[scores[key], _bicubic(scores, key)] for key in keys],
        }
    ]


def _bicubic(scores: dict[str, float], key: str) -> float | str:
    """The same score of bicubic enlargement: `psnr_db` → `psnr_bicubic_db`."""
    name, unit = re.fullmatch(r"(.*?)(_db|_px|)", key).groups()  # type: ignore[union-attr]
    return scores.get(f"{name}_bicubic{unit}", "not measured")
