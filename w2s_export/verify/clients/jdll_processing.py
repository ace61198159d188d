"""Pre- and postprocessing as JDLL runs it, faults included.

JDLL 0.6.1: `model.processing.Processing` and `TransformationInstance`, which find a class and its
setters by name, and the classes of `transformations`. Compared with the compiled classes: see
docs/clients.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.verify.clients.jdll_axes import JdllTensor, throws

Array = NDArray[Any]

_ENTRIES = {
    "scale_range": "eps min_percentile max_percentile axes axis tensor_name reference_tensor mode",
    "scale_linear": "eps gain offset axes axis mode",
    "zero_mean_unit_variance": "eps mean std axes axis mode",
    "fixed_zero_mean_unit_variance": "eps mean std axes axis mode",
    "clip": "eps min max mode",
    "binarize": "eps threshold mode",
    "sigmoid": "mode",
    "ensure_dtype": "mode",
}
SETTERS = {name: frozenset(setters.split()) for name, setters in _ENTRIES.items()}
"""Steps that JDLL has a class for, and the arguments that the class has a setter for."""
_LISTS = ("gain", "offset", "mean", "std")
_MODES = ("fixed", "per_dataset", "per_sample")


@dataclass(frozen=True, slots=True)
class Step:
    """One step with its arguments as the setters kept them."""

    name: str
    values: Mapping[str, Any]
    """Numbers, lists of numbers (`gain` … `std`), `axes` as one text, `mode`."""

    def number(self, key: str, default: float) -> float:
        """A single number; the default where there is none, or a list."""
        value = self.values.get(key, default)
        return default if isinstance(value, list) else float(value)

    def series(self, key: str) -> list[float] | None:
        """A list of numbers."""
        value = self.values.get(key)
        return value if isinstance(value, list) else None


def read_steps(tensor: JdllTensor) -> list[Step]:
    """Processing.init: find the class of each step and call a setter for each argument.

    Raises:
        JdllError: no such class or setter, or a setter that refuses its argument.
    """
    steps = []
    for described in tensor.processing:
        name = described.get("id") if described.get("name") is None else described["name"]
        if name is None:
            continue
        if not isinstance(name, str) or name not in SETTERS:
            raise throws(f"it has no step {name!r:.40}")
        kwargs = described.get("kwargs")
        if kwargs is not None and not isinstance(kwargs, Mapping):
            raise throws(f"the kwargs of {name} are {kwargs!r:.60}")
        values: dict[str, Any] = {}
        for key, value in (kwargs or {}).items():
            if key not in SETTERS[name]:
                raise throws(f"its {name} has no setter for '{key}'")
            place, kept = _set(name, str(key), value)
            values[place] = kept
        steps.append(Step(name, values))
    return steps


def _set(name: str, key: str, value: Any) -> tuple[str, Any]:
    """What a setter does: the argument's name, and its value."""
    wrong = throws(f"its {name} takes no {key} {value!r:.60}")
    if key == "reference_tensor":
        return key, value
    if key == "mode":
        if not isinstance(value, str) or value.lower() not in _MODES:
            raise wrong
        return key, value.lower()
    if key == "tensor_name":
        if not isinstance(value, str):
            raise wrong
        return key, value
    if key in ("axes", "axis"):
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise wrong
        return "axes", "".join("c" if name == "channel" else name for name in names)
    if key in _LISTS and isinstance(value, list):
        if not all(_is_java_number(element) for element in value):
            raise wrong
        return key, [float(element) for element in value]
    try:
        if isinstance(value, str) or _is_java_number(value):
            return key, float(value)
    except ValueError:
        pass
    raise wrong


def _is_java_number(value: Any) -> bool:
    """Whether it is an Integer or a Double: a Long or a Boolean is refused."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, float) or -(2**31) <= value < 2**31


def apply_steps(steps: Sequence[Step], values: Array, letters: str) -> Array:
    """Run the steps one after another.

    Args:
        steps: of `read_steps`.
        values: along the letters. Float32 is what JDLL keeps between the steps of preprocessing;
            postprocessing changes the output in its own type, whole numbers being rounded down.
        letters: axes of the values.

    Raises:
        JdllError: a step that throws on such an image.
    """
    for step in steps:
        with np.errstate(all="ignore"):
            changed = _APPLY[step.name](step, values, letters)
            if values.dtype.kind in "iu" and changed is not values:
                changed = np.floor(changed)
            values = changed.astype(values.dtype)
    return values


def _parts(step: Step, letters: str) -> str:
    """Axes whose planes a step treats one by one; empty for the whole image at once."""
    named = step.values.get("axes")
    if named is None:
        return ""
    left = "".join(letter for letter in letters if letter not in named.lower())
    return "" if len(left) == len(letters) else left


def _planes(values: Array, letters: str, parts: str) -> Iterator[tuple[int | slice, ...]]:
    """getAllCombinations: where each plane lies, the first axis changing fastest."""
    sizes = [values.shape[letters.index(part)] for part in parts]
    for number in range(math.prod(sizes)):
        place: list[int | slice] = [slice(None)] * values.ndim
        for part, size in zip(parts, sizes, strict=True):
            place[letters.index(part)] = number % size
            number //= size
        yield tuple(place)


def _scale_range(step: Step, values: Array, letters: str) -> Array:
    """ScaleRangeTransformation: a percentile is the value of rank ⌊n·p⌋, not interpolated."""
    parts = _parts(step, letters)
    axes = tuple(i for i, letter in enumerate(letters) if letter not in parts)
    count = math.prod(values.shape[i] for i in axes)
    shares = [step.number(key, most) for key, most in _PERCENTILES]
    ranks = [min(int(count * (share / 100)), count - 1) for share in shares]
    if min(ranks) < 0:
        raise throws(f"the percentiles are {shares}")
    ordered = np.sort(
        np.moveaxis(values, axes, range(-len(axes), 0)).reshape(
            *[values.shape[letters.index(part)] for part in parts], -1
        )
    )
    shape = [size if letters[i] in parts else 1 for i, size in enumerate(values.shape)]
    low, high = (ordered[..., rank].astype(np.float64).reshape(shape) for rank in ranks)
    return np.asarray((values - low) / (high - low + step.number("eps", 1e-6)))


def _scale_linear(step: Step, values: Array, letters: str) -> Array:
    """ScaleLinearTransformation: without axes a list of gains is left out of account.

    With axes the first of a list counts for every plane.
    """
    if step.series("offset") is not None and "axes" not in step.values:
        raise throws("scale_linear has a list of offsets without axes")
    gain, offset = step.number("gain", 1), step.number("offset", 0)
    if _parts(step, letters):
        series = step.series("gain"), step.series("offset")
        if any(values == [] for values in series):
            raise throws("scale_linear has an empty list")
        gain = float(np.float32(series[0][0] if series[0] else gain))
        offset = float(np.float32(series[1][0] if series[1] else offset))
    return np.asarray(values.astype(np.float64) * gain + offset)


def _zero_mean(step: Step, values: Array, letters: str) -> Array:
    """ZeroMeanUnitVarianceTransformation, whose mode is per_sample unless it says fixed."""
    fixed = step.values.get("mode", "per_sample") == "fixed"
    return _standardise(step, values, letters, fixed=fixed, aligned=True)


def _fixed_zero_mean(step: Step, values: Array, letters: str) -> Array:
    """FixedZeroMeanUnitVarianceTransformation: the same, but its planes are miscounted."""
    fixed = step.values.get("mode", "fixed") == "fixed"
    return _standardise(step, values, letters, fixed=fixed, aligned=False)


def _standardise(step: Step, values: Array, letters: str, *, fixed: bool, aligned: bool) -> Array:
    eps, parts = step.number("eps", 1e-6), _parts(step, letters)
    given = [key for key in ("mean", "std") if key in step.values]
    lists = [key for key in given if step.series(key) is not None]
    if not fixed:
        if "mean" in given:
            raise throws(f"{step.name}: only the mode fixed takes a mean")
        return _by_own_mean(values, letters, _planned(parts, letters, aligned), eps)
    if len(given) < 2 or len(lists) == 1:
        raise throws(f"{step.name}: mean and std are needed, both of one kind")
    if lists and "axes" not in step.values:
        raise throws(f"{step.name}: lists need axes")
    if bool(lists) != bool(parts):
        raise throws(f"{step.name}: lists and axes do not go together")
    if not parts:
        mean, deviation = step.number("mean", 0), step.number("std", 1)
        return np.asarray((values.astype(np.float64) - mean) / (deviation + eps))
    means, deviations = step.series("mean") or [], step.series("std") or []
    result = values.astype(np.float64)
    for number, place in enumerate(_planes(values, letters, _planned(parts, letters, aligned))):
        if number >= min(len(means), len(deviations)):
            raise throws(f"{step.name}: {len(means)} means are too few for its planes")
        mean, deviation = float(np.float32(means[number])), float(np.float32(deviations[number]))
        result[place] = (result[place] - mean) / (deviation + eps)
    return result


def _planned(parts: str, letters: str, aligned: bool) -> str:
    """Axes that planes are cut along.

    FixedZeroMeanUnitVarianceTransformation cuts along the named axes instead of the others, and
    writes their places into an array that is as long as their number.
    """
    if aligned or not parts:
        return parts
    named = [i for i, letter in enumerate(letters) if letter not in parts]
    if max(named) >= len(named):
        raise throws("fixed_zero_mean_unit_variance: ArrayIndexOutOfBoundsException in its axes")
    return "".join(letters[i] for i in named)


def _by_own_mean(values: Array, letters: str, parts: str, eps: float) -> Array:
    """The whole image normalised by the mean of each plane in turn."""
    result = values.astype(np.float64)
    for place in _planes(values, letters, parts) if parts else [(...,)]:
        plane = result[place]
        mean, deviation = float(np.float32(plane.mean())), float(np.float32(plane.std()))
        result = ((result - mean) / (deviation + eps)).astype(values.dtype).astype(np.float64)
    return result


def _clip(step: Step, values: Array, _: str) -> Array:
    if not {"min", "max"} <= set(step.values):
        raise throws("clip needs both min and max")
    low, high = step.number("min", 0), step.number("max", 0)
    return np.where(values >= high, high, np.where(values < low, low, values))


def _binarize(step: Step, values: Array, _: str) -> Array:
    if "threshold" not in step.values:
        raise throws("binarize needs a threshold")
    return np.asarray(values.astype(np.float64) >= step.number("threshold", 0), np.float64)


def _sigmoid(_: Step, values: Array, __: str) -> Array:
    return np.asarray(1 / (1 + np.exp(-values.astype(np.float64))))


def _ensure_dtype(_: Step, values: Array, __: str) -> Array:
    """EnsureDtypeTransformation does nothing."""
    return values


_PERCENTILES = (("min_percentile", 0.0), ("max_percentile", 100.0))
_APPLY: dict[str, Callable[[Step, Array, str], Array]] = {
    "scale_range": _scale_range,
    "scale_linear": _scale_linear,
    "zero_mean_unit_variance": _zero_mean,
    "fixed_zero_mean_unit_variance": _fixed_zero_mean,
    "clip": _clip,
    "binarize": _binarize,
    "sigmoid": _sigmoid,
    "ensure_dtype": _ensure_dtype,
}
