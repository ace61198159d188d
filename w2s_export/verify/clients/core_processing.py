"""The rdf's pre- and post-processing, executed from its own words.

Written from the specification and not shared with `data.normalise`, so that an rdf which describes
another normalisation than the network was trained with is caught.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import PackageError
from w2s_export.rdf.stated import axes, listed

_DEFAULT_AXES = "bcyx"
_LETTERS = {"batch": "b", "channel": "c", "index": "i", "time": "t"}


def preprocess(image: NDArray[Any], tensor: Mapping[str, Any]) -> NDArray[np.float32]:
    """Apply the preprocessing of an rdf's input.

    Args:
        image: along the axes that the tensor states, (N, C, H, W) where it states none; detector
            counts.
        tensor: the entry of `inputs`, format 0.4 or 0.5.

    Raises:
        PackageError: a step this tool does not know, or one whose arguments make no sense.
    """
    return _process(image, tensor, "preprocessing")


def postprocess(output: NDArray[Any], tensor: Mapping[str, Any]) -> NDArray[np.float32]:
    """Apply the postprocessing of an rdf's output; arguments and errors as `preprocess`."""
    return _process(output, tensor, "postprocessing")


def _process(image: NDArray[Any], tensor: Mapping[str, Any], key: str) -> NDArray[np.float32]:
    letters = axes(tensor) or _DEFAULT_AXES
    if len(letters) != image.ndim:
        raise PackageError(f"the axes '{letters}' are not those of an array of {image.shape}")
    values = image.astype(np.float64)
    for step in listed(tensor, key):
        try:
            name = step.get("id") or step.get("name")
            kwargs = step.get("kwargs") or {}
            with np.errstate(all="ignore"):
                values = _STEPS[name](values, kwargs, letters)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            reason = " ".join(repr(error).split())[:200]
            raise PackageError(f"{key} step {step!r:.200} cannot be run: {reason}") from None
    return values.astype(np.float32)


def _places(kwargs: Mapping[str, Any], letters: str) -> tuple[int, ...]:
    """Positions of the step's axes: all but the batch unless it names them."""
    named: Iterable[str] | None = kwargs.get("axes")
    if named is None:
        return tuple(place for place, letter in enumerate(letters) if letter != "b")
    return tuple(letters.index(_LETTERS.get(axis, axis)) for axis in named)


def _along_channels(value: Any, letters: str) -> NDArray[Any]:
    """A number, or one for each channel, in a shape that broadcasts."""
    array = np.asarray(value, np.float64)
    if array.size == 1:
        return array.reshape(())
    shape = [1] * len(letters)
    shape[letters.index("c")] = -1
    return array.reshape(shape)


def _scale_range(values: NDArray[Any], kwargs: Mapping[str, Any], letters: str) -> NDArray[Any]:
    if kwargs.get("reference_tensor") is not None:
        raise ValueError("percentiles of another tensor")
    percentiles = [kwargs.get("min_percentile", 0.0), kwargs.get("max_percentile", 100.0)]
    low, high = np.percentile(values, percentiles, axis=_places(kwargs, letters), keepdims=True)
    return np.asarray((values - low) / (high - low + kwargs.get("eps", 1e-6)))


def _scale_linear(values: NDArray[Any], kwargs: Mapping[str, Any], letters: str) -> NDArray[Any]:
    gain, offset = (_along_channels(kwargs.get(k, v), letters) for k, v in _LINEAR)
    return np.asarray(values * gain + offset)


def _zero_mean(values: NDArray[Any], kwargs: Mapping[str, Any], letters: str) -> NDArray[Any]:
    if kwargs.get("mode") == "fixed":
        return _fixed_zero_mean(values, kwargs, letters)
    places = _places(kwargs, letters)
    mean, deviation = values.mean(places, keepdims=True), values.std(places, keepdims=True)
    return np.asarray((values - mean) / (deviation + kwargs.get("eps", 1e-6)))


def _fixed_zero_mean(values: NDArray[Any], kwargs: Mapping[str, Any], letters: str) -> NDArray[Any]:
    mean, deviation = (_along_channels(kwargs[key], letters) for key in ("mean", "std"))
    return np.asarray((values - mean) / deviation)


def _clip(values: NDArray[Any], kwargs: Mapping[str, Any], _: str) -> NDArray[Any]:
    if kwargs.get("min") is None and kwargs.get("max") is None:
        raise ValueError("neither min nor max")
    return np.asarray(np.clip(values, kwargs.get("min"), kwargs.get("max")))


def _binarize(values: NDArray[Any], kwargs: Mapping[str, Any], letters: str) -> NDArray[Any]:
    return np.asarray(values > _along_channels(kwargs["threshold"], letters), np.float64)


def _sigmoid(values: NDArray[Any], _: Mapping[str, Any], __: str) -> NDArray[Any]:
    return np.asarray(1 / (1 + np.exp(-values)))


def _softmax(values: NDArray[Any], kwargs: Mapping[str, Any], letters: str) -> NDArray[Any]:
    named = kwargs.get("axis", "channel")
    place = letters.index(_LETTERS.get(named, named))
    exponents = np.exp(values - values.max(place, keepdims=True))
    return np.asarray(exponents / exponents.sum(place, keepdims=True))


def _ensure_dtype(values: NDArray[Any], kwargs: Mapping[str, Any], _: str) -> NDArray[Any]:
    if kwargs["dtype"] not in _TYPES:
        raise ValueError(f"no such type of pixel: {kwargs['dtype']!r:.40}")
    return np.asarray(values.astype(kwargs["dtype"]), np.float64)


_LINEAR = (("gain", 1.0), ("offset", 0.0))
_TYPES = {"float32", "float64", "bool"} | {f"{s}int{n}" for s in ("", "u") for n in (8, 16, 32, 64)}
_STEPS: dict[Any, Callable[[NDArray[Any], Mapping[str, Any], str], NDArray[Any]]] = {
    "scale_range": _scale_range,
    "scale_linear": _scale_linear,
    "zero_mean_unit_variance": _zero_mean,
    "fixed_zero_mean_unit_variance": _fixed_zero_mean,
    "clip": _clip,
    "binarize": _binarize,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "ensure_dtype": _ensure_dtype,
}
