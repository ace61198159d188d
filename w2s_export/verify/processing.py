"""The rdf's preprocessing, executed from its own words.

Written from the specification and not shared with `data.normalise`, so that an rdf which describes
another normalisation than the network was trained with is caught.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import PackageError

_LETTERS = {"b": 0, "batch": 0, "c": 1, "channel": 1, "y": 2, "x": 3}


def preprocess(image: NDArray[Any], tensor: Mapping[str, Any]) -> NDArray[np.float32]:
    """Apply the preprocessing of an rdf's input.

    Args:
        image: (N, C, H, W), detector counts.
        tensor: the entry of `inputs`, format 0.4 or 0.5.

    Raises:
        PackageError: a step this tool does not know, or one whose arguments make no sense.
    """
    values = image.astype(np.float64)
    for step in tensor.get("preprocessing") or ():
        try:
            name = step.get("id") or step.get("name")
            kwargs = step.get("kwargs") or {}
            values = _STEPS[name](values, kwargs)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            reason = " ".join(repr(error).split())[:200]
            raise PackageError(
                f"preprocessing step {step!r:.200} cannot be run: {reason}"
            ) from None
    return values.astype(np.float32)


def _axes(kwargs: Mapping[str, Any]) -> tuple[int, ...]:
    """Positions of the step's axes in (N, C, H, W): all but the batch unless it names them."""
    named = kwargs.get("axes")
    return (1, 2, 3) if named is None else tuple(_LETTERS[axis] for axis in named)


def _scale_range(values: NDArray[Any], kwargs: Mapping[str, Any]) -> NDArray[Any]:
    percentiles = [kwargs.get("min_percentile", 0.0), kwargs.get("max_percentile", 100.0)]
    low, high = np.percentile(values, percentiles, axis=_axes(kwargs), keepdims=True)
    return np.asarray((values - low) / (high - low + kwargs.get("eps", 1e-6)))


def _scale_linear(values: NDArray[Any], kwargs: Mapping[str, Any]) -> NDArray[Any]:
    gain, offset = (np.asarray(kwargs.get(k, v)) for k, v in (("gain", 1.0), ("offset", 0.0)))
    channels = (1, -1, 1, 1)
    return np.asarray(values * gain.reshape(channels) + offset.reshape(channels))


def _zero_mean(values: NDArray[Any], kwargs: Mapping[str, Any]) -> NDArray[Any]:
    axes = _axes(kwargs)
    mean, deviation = values.mean(axes, keepdims=True), values.std(axes, keepdims=True)
    return np.asarray((values - mean) / (deviation + kwargs.get("eps", 1e-6)))


def _fixed_zero_mean(values: NDArray[Any], kwargs: Mapping[str, Any]) -> NDArray[Any]:
    mean, deviation = (np.asarray(kwargs[key]).reshape(1, -1, 1, 1) for key in ("mean", "std"))
    return np.asarray((values - mean) / deviation)


def _clip(values: NDArray[Any], kwargs: Mapping[str, Any]) -> NDArray[Any]:
    return np.asarray(np.clip(values, kwargs["min"], kwargs["max"]))


def _binarize(values: NDArray[Any], kwargs: Mapping[str, Any]) -> NDArray[Any]:
    return np.asarray(values > kwargs["threshold"], np.float64)


def _sigmoid(values: NDArray[Any], _: Mapping[str, Any]) -> NDArray[Any]:
    return np.asarray(1 / (1 + np.exp(-values)))


def _ensure_dtype(values: NDArray[Any], kwargs: Mapping[str, Any]) -> NDArray[Any]:
    return np.asarray(values.astype(kwargs["dtype"]), np.float64)


_STEPS = {
    "scale_range": _scale_range,
    "scale_linear": _scale_linear,
    "zero_mean_unit_variance": _zero_mean,
    "fixed_zero_mean_unit_variance": _fixed_zero_mean,
    "clip": _clip,
    "binarize": _binarize,
    "sigmoid": _sigmoid,
    "ensure_dtype": _ensure_dtype,
}
