"""What descriptions of others say in fields of their own, in those of bioimage.io.

CSBDeep's format `0.2.0-csbdeep`, which N2V writes, and the macros that DeepImageJ runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CSBDEEP = "csbdeep"


def in_common_fields(rdf: Mapping[str, Any]) -> Mapping[str, Any]:
    """The description of CSBDeep's format as one of bioimage.io 0.3; any other as it is.

    Its means and deviations scale images before the network, and results back behind it:
    https://github.com/juglab/n2v (`get_yml_dict`).
    """
    if not str(rdf.get("format_version")).endswith(_CSBDEEP):
        return rdf
    prediction = _mapping(rdf.get("prediction"))
    before, after = (_numbers(prediction.get(key)) for key in ("preprocess", "postprocess"))
    fixed = {"name": "zero_mean_unit_variance", "kwargs": {"mode": "fixed", **before}}
    back = {"gain": after.get("std", 1.0), "offset": after.get("mean", 0.0)}
    scaled = {"name": "scale_linear", "kwargs": back}
    weights = {"source": _mapping(prediction.get("weights")).get("source")}
    return {
        **rdf,
        "inputs": _with(rdf.get("inputs"), "preprocessing", fixed if before else None),
        "outputs": _with(rdf.get("outputs"), "postprocessing", scaled if after else None),
        "weights": {"tensorflow_saved_model_bundle": weights},
        "test_inputs": [rdf.get("test_input")],
        "test_outputs": [rdf.get("test_output")],
    }


def macros(rdf: Mapping[str, Any], side: str) -> str:
    """What DeepImageJ runs itself before or after the network; empty where it runs nothing.

    Args:
        rdf: the description.
        side: `preprocess` or `postprocess`.
    """
    config: Any = rdf
    for key in ("config", "deepimagej", "prediction"):
        config = _mapping(_mapping(config).get(key))
    listed = config.get(side)
    steps = [_mapping(step) for step in (listed if isinstance(listed, list) else [])]
    return ", ".join(str(step.get("kwargs") or step["spec"]) for step in steps if step.get("spec"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _numbers(steps: Any) -> dict[str, Any]:
    """Mean and deviation of the one step there is."""
    first = steps[0] if isinstance(steps, list) and steps else None
    stated = _mapping(_mapping(first).get("kwargs"))
    named = {"mean": stated.get("mean"), "std": stated.get("stdDev")}
    return {key: value for key, value in named.items() if value is not None}


def _with(tensors: Any, key: str, step: object) -> Any:
    if step is None or not isinstance(tensors, list):
        return tensors
    return [{**tensor, key: [step]} if isinstance(tensor, dict) else tensor for tensor in tensors]
