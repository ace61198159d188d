"""The rdf's pre- and post-processing as bioimageio.core executes it, from the rdf's own words.

Written anew and not shared with `data.normalise`, so that an rdf which describes another
normalisation than the network was trained with is caught. Follows bioimageio.core 0.11.0
(`proc_setup`, `proc_ops`, `stat_calculators`) and bioimageio.spec 0.5.12.0, faults included; a
property test compares both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import PackageError
from w2s_export.rdf.reading import at, axes, axis_letter, listed, tensor_ids

Array = NDArray[Any]

_DEFAULT_AXES = "bcyx"
_EPS = 1e-6
"""Of the steps that take no eps, or whose eps core leaves out of account."""
_CLOSING = ("ensure_dtype", "binarize")
"""Steps that may end the processing of format 0.5; after others the described type is restored."""


def preprocess(
    image: Array, tensor: Mapping[str, Any], references: Mapping[str, Array] | None = None
) -> Array:
    """Apply the preprocessing of an rdf's input.

    Args:
        image: along the axes that the tensor states, (N, C, H, W) where it states none; detector
            counts.
        tensor: the entry of `inputs`, format 0.4 or 0.5.
        references: inputs by their ids, for steps that take the statistics of another tensor.

    Returns:
        What the network gets, in the type that it gets.

    Raises:
        PackageError: a step this tool does not know, or one that core would fail at.
    """
    return _process(image, tensor, "preprocessing", references or {})


def postprocess(
    output: Array, tensor: Mapping[str, Any], references: Mapping[str, Array] | None = None
) -> Array:
    """Apply the postprocessing of an rdf's output; arguments and errors as `preprocess`.

    Core takes all statistics before the network runs, so those of an output fail.
    """
    return _process(output, tensor, "postprocessing", references or {})


def described_type(tensor: Any, format_05: bool) -> str:
    """The described type of pixels; float32 where there is none."""
    data = at(tensor, "data")
    stated = at(data[0] if isinstance(data, list) and data else data, "type")
    stated = stated if format_05 else at(tensor, "data_type")
    return stated if isinstance(stated, str) else "float32"


def preprocessed_type(tensor: Any, format_05: bool) -> str | None:
    """The type that the network gets from bioimageio.core; None where it is not known."""
    if not format_05:
        return "float32"
    steps = listed(tensor, "preprocessing")
    name = at(steps[-1], "id") if steps else None
    if name == "binarize":
        return "bool"
    if name == "ensure_dtype":
        stated = at(steps[-1], "kwargs", "dtype")
        return stated if isinstance(stated, str) else None
    return described_type(tensor, format_05)


@dataclass(frozen=True, slots=True)
class _Context:
    """What a step may ask for besides the values it changes."""

    letters: str
    format_05: bool
    measured: Mapping[str | None, Array]
    """Tensors whose statistics can be taken, as they were before any step; the tensor itself under
    None, unless it is an output."""


def _process(
    image: Array, tensor: Mapping[str, Any], key: str, references: Mapping[str, Array]
) -> Array:
    letters = axes(tensor) or _DEFAULT_AXES
    if len(letters) != image.ndim:
        raise PackageError(f"the axes '{letters}' are not those of an array of {image.shape}")
    steps = listed(tensor, key)
    format_05 = _is_05(tensor, steps)
    measured: dict[str | None, Array] = {}
    measured.update(references)
    if key == "preprocessing":
        measured[None] = image
        own = tensor_ids({"format_version": "0.5" if format_05 else "0.4", "i": [tensor]}, "i")
        measured[own[0]] = image
    context = _Context(letters, format_05, measured)
    values = image
    for step in _completed(steps, tensor, key, format_05):
        try:
            name = step.get("id") or step.get("name")
            kwargs = step.get("kwargs") or {}
            with np.errstate(all="ignore"):
                values = np.asarray(_STEPS[name](values, kwargs, context))
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            reason = " ".join(repr(error).split())[:200]
            raise PackageError(f"{key} step {step!r:.200} cannot be run: {reason}") from None
    return values


def _is_05(tensor: Mapping[str, Any], steps: list[Any]) -> bool:
    """Format 0.4 writes axes as one text, and calls steps by name."""
    stated = at(tensor, "axes")
    return isinstance(stated, list) or (stated is None and not any(at(s, "name") for s in steps))


def _completed(steps: list[Any], tensor: Mapping[str, Any], key: str, format_05: bool) -> list[Any]:
    """The steps with those that core adds: types are ensured at both ends."""
    described = _ensure(described_type(tensor, format_05))
    if not format_05:
        return [*([described] if steps else []), *steps, _ensure("float32")]
    complete = list(steps)
    if key == "preprocessing" and (not steps or at(steps[0], "id") != "ensure_dtype"):
        complete.insert(0, described)
    if not steps or at(steps[-1], "id") not in _CLOSING:
        complete.append(described)
    return complete


def _ensure(dtype: str) -> dict[str, Any]:
    return {"id": "ensure_dtype", "kwargs": {"dtype": dtype}}


def _places(kwargs: Mapping[str, Any], context: _Context) -> tuple[int, ...]:
    """Positions of the axes that a step measures together: all of them where it names none."""
    named: Iterable[str] | None = kwargs.get("axes")
    if named is None:
        return tuple(range(len(context.letters)))
    found = [context.letters.index(axis_letter(axis)) for axis in named]
    if not context.format_05 and kwargs.get("mode") == "per_dataset":
        found.append(context.letters.index("b"))
    return tuple(dict.fromkeys(found))


def _measured(kwargs: Mapping[str, Any], context: _Context) -> tuple[Array, tuple[int, ...], bool]:
    """The tensor to measure, along which axes, and whether core measures a whole data set.

    A data set is measured in float64, a sample in the sample's own type.
    """
    tensor = context.measured[kwargs.get("reference_tensor")]
    places = _places(kwargs, context)
    return tensor, places, kwargs.get("axes") is None or context.letters.find("b") in places


def _mean_and_deviation(kwargs: Mapping[str, Any], context: _Context) -> tuple[Array, Array]:
    tensor, places, dataset = _measured(kwargs, context)
    tensor = tensor.astype(np.float64) if dataset else tensor
    mean = tensor.mean(places, keepdims=True)
    return mean, np.sqrt(((tensor - mean) ** 2).mean(places, keepdims=True))


def _quantiles(
    shares: list[float], kwargs: Mapping[str, Any], context: _Context, method: str
) -> Array:
    tensor, places, dataset = _measured(kwargs, context)
    options: dict[str, Any] = {"axis": places, "method": "linear" if dataset else method}
    found = np.asarray(np.quantile(tensor, shares, keepdims=True, **options))
    return found.astype(np.float64) if dataset else found


def _along(
    value: Any, kwargs: Mapping[str, Any], context: _Context, values: Array
) -> Array | float:
    """A number, or one per element of the step's `axis`: as many, because xarray aligns them."""
    named = kwargs.get("axis")
    if named is None:
        return float(value[0] if isinstance(value, list) and len(value) == 1 else value)
    place = context.letters.index(axis_letter(named))
    shape = [size if i == place else 1 for i, size in enumerate(values.shape)]
    return np.atleast_1d(np.asarray(value, np.float64)).reshape(shape)


def _scale_range(values: Array, kwargs: Mapping[str, Any], context: _Context) -> Array:
    shares = [kwargs.get("min_percentile", 0.0) / 100, kwargs.get("max_percentile", 100.0) / 100]
    low, high = _quantiles(shares, kwargs, context, "linear")
    return np.asarray((values - low) / (high - low + _EPS))


def _scale_linear(values: Array, kwargs: Mapping[str, Any], context: _Context) -> Array:
    if not context.format_05 and kwargs.get("axes") is not None:
        raise ValueError("core does not implement scale_linear with axes of format 0.4")
    stated = [kwargs.get(key, default) for key, default in _LINEAR]
    count = max(len(value) if isinstance(value, list) else 1 for value in stated)
    # The specification repeats a single number where the other is a list.
    stated = [v if isinstance(v, list) or count == 1 else [v] * count for v in stated]
    gain, offset = (_along(value, kwargs, context, values) for value in stated)
    return np.asarray(values * gain + offset)


def _zero_mean(values: Array, kwargs: Mapping[str, Any], context: _Context) -> Array:
    if not context.format_05 and kwargs.get("mode", "fixed") == "fixed":
        return _fixed_zero_mean(values, _with_axis(kwargs, context), context)
    mean, deviation = _mean_and_deviation(kwargs, context)
    return np.asarray((values - mean) / (deviation + _EPS))


def _with_axis(kwargs: Mapping[str, Any], context: _Context) -> dict[str, Any]:
    """Format 0.4 names the axes that are measured; core wants the one that is left, if any."""
    named = kwargs["axes"]
    left = [letter for letter in context.letters if letter not in named and letter != "b"]
    if len(left) > 1:
        raise ValueError(f"{left} are left, core knows one value or one per element of an axis")
    if not left and any(isinstance(kwargs[key], list) for key in ("mean", "std")):
        raise ValueError("a list without an axis")
    return {**kwargs, "axis": left[0] if left else None}


def _fixed_zero_mean(values: Array, kwargs: Mapping[str, Any], context: _Context) -> Array:
    mean, deviation = (np.asarray(_along(kwargs[k], kwargs, context, values)) for k in _FIXED)
    return np.asarray((values - mean) / (deviation + _EPS))


def _scale_mean_variance(values: Array, kwargs: Mapping[str, Any], context: _Context) -> Array:
    eps = kwargs.get("eps", _EPS)
    reference_mean, reference_deviation = _mean_and_deviation(kwargs, context)
    own = {key: value for key, value in kwargs.items() if key != "reference_tensor"}
    mean, deviation = _mean_and_deviation(own, context)
    scaled = (values - mean) / (deviation + eps) * (reference_deviation + eps)
    return np.asarray(scaled + reference_mean)


def _clip(values: Array, kwargs: Mapping[str, Any], context: _Context) -> Array:
    low, high = kwargs.get("min"), kwargs.get("max")
    if low is None and kwargs.get("min_percentile") is not None:
        low = _quantiles([kwargs["min_percentile"] / 100], kwargs, context, "inverted_cdf")[0]
        values, low = np.where(values >= low, values, low), None
    if high is None and kwargs.get("max_percentile") is not None:
        high = _quantiles([kwargs["max_percentile"] / 100], kwargs, context, "inverted_cdf")[0]
        values, high = np.where(values <= high, values, high), None
    if low is None and high is None and kwargs.get("min_percentile") is None:
        raise ValueError("neither min nor max")
    if low is not None and high is not None and low >= high:
        raise ValueError(f"min {low} is not below max {high}")
    return values if low is None and high is None else np.clip(values, low, high)


def _binarize(values: Array, kwargs: Mapping[str, Any], _: _Context) -> Array:
    """Core compares a list along the last axis, whatever axis is named."""
    changed = np.asarray(values > np.asarray(kwargs["threshold"], np.float64))
    if changed.shape != values.shape:
        raise ValueError(f"the thresholds do not fit: {changed.shape} instead of {values.shape}")
    return changed


def _sigmoid(values: Array, _: Mapping[str, Any], __: _Context) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-values)))


def _softmax(values: Array, kwargs: Mapping[str, Any], context: _Context) -> Array:
    named = kwargs.get("axis", "channel")
    place = context.letters.index(axis_letter(named))
    exponents = np.exp(values - values.max(place, keepdims=True))
    return np.asarray(exponents / exponents.sum(place, keepdims=True))


def _ensure_dtype(values: Array, kwargs: Mapping[str, Any], _: _Context) -> Array:
    if kwargs["dtype"] not in _TYPES:
        raise ValueError(f"no such type of pixel: {kwargs['dtype']!r:.40}")
    return values.astype(kwargs["dtype"])


_LINEAR = (("gain", 1.0), ("offset", 0.0))
_FIXED = ("mean", "std")
_TYPES = {"float32", "float64", "bool"} | {f"{s}int{n}" for s in ("", "u") for n in (8, 16, 32, 64)}
_STEPS: dict[Any, Callable[[Array, Mapping[str, Any], _Context], Array]] = {
    "scale_range": _scale_range,
    "scale_linear": _scale_linear,
    "zero_mean_unit_variance": _zero_mean,
    "fixed_zero_mean_unit_variance": _fixed_zero_mean,
    "scale_mean_variance": _scale_mean_variance,
    "clip": _clip,
    "binarize": _binarize,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "ensure_dtype": _ensure_dtype,
}
