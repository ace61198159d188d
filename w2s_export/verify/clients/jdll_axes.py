"""What JDLL reads of a description's tensors, in its own (partly mistaken) way.

JDLL 0.6.1 (github.com/bioimage-io/JDLL, tag dl-modelrunner-0.6.1, inside DeepImageJ 3.1), package
`bioimageio.description`: AxesV04, AxisV05, AxisSize, ModelDescriptorV04 and V05.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, TypeVar

from w2s_export.errors import PackageError
from w2s_export.rdf.stated import at, is_05

Read = TypeVar("Read")


class Failure(str, Enum):
    """How JDLL fails."""

    drops = "drops"
    """The description cannot be read: the model is not in the list."""
    throws = "throws"
    """An exception when the model is run."""
    hangs = "hangs"
    """A loop without end when the model is run."""


class JdllError(PackageError):
    """JDLL would not run this model on this image."""

    def __init__(self, failure: Failure, reason: str) -> None:
        super().__init__(f"DeepImageJ 3.1 {failure.value}: {reason}")
        self.failure = failure


@dataclass(frozen=True, slots=True)
class JdllAxis:
    """One axis of a tensor."""

    letter: str
    minimum: int
    step: int
    """0: the size is fixed to the minimum, or refers to another tensor's."""
    halo: int
    scale: float
    offset: float
    tensor: str | None
    """Tensor whose size this axis refers to."""
    axis: str | None
    """Letter of the axis there."""


@dataclass(frozen=True, slots=True)
class JdllTensor:
    """An input or output."""

    name: str
    axes: tuple[JdllAxis, ...]
    data_type: str

    @property
    def letters(self) -> str:
        """Axes as one word, e.g. `bcyx`."""
        return "".join(axis.letter for axis in self.axes)


@dataclass(frozen=True, slots=True)
class JdllModel:
    """What JDLL plans with; the input's axes carry the halo that the output asks for."""

    input: JdllTensor
    output: JdllTensor
    tiling: bool
    pyramidal: bool


def read_model(rdf: Mapping[str, Any]) -> JdllModel:
    """Read a description of one input and one output, format 0.4 or 0.5.

    Raises:
        JdllError: JDLL drops such a model.
        PackageError: several inputs or outputs, which this does not model.
    """
    read = _tensor_05 if is_05(rdf) else _tensor_04
    source = _read("inputs", lambda: read(_only(rdf, "inputs"), True))
    target = _read("outputs", lambda: read(_only(rdf, "outputs"), False))
    fiji = at(rdf, "config", "deepimagej")
    return JdllModel(
        input=_read("the halo", lambda: _with_halo(source, target)),
        output=target,
        # An absent key is read as false.
        tiling=fiji is None or at(fiji, "allow_tiling") is True,
        pyramidal=at(fiji, "pyramidal_model") is True,
    )


def _only(rdf: Mapping[str, Any], side: str) -> Any:
    tensors = rdf[side]
    if len(tensors) > 1:
        raise PackageError(f"has {len(tensors)} {side}; the model of JDLL knows one of each")
    return tensors[0]


def _read(where: str, read: Callable[[], Read]) -> Read:
    """Java's cast, index and null pointer exceptions, all of which drop the model."""
    try:
        return read()
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise JdllError(Failure.drops, f"cannot read {where}: {reason}") from None


def _tensor_04(tensor: Mapping[str, Any], is_input: bool) -> JdllTensor:
    """AxesV04: a fixed shape, `min` and `step`, or reference, scale and offset (all three)."""
    letters, shape = _text(tensor["axes"]), tensor["shape"]
    count = len(letters)
    minimum, step, offset, scale = [0] * count, [0] * count, [0.0] * count, [-1.0] * count
    reference = None
    if isinstance(shape, list):
        minimum = [_java_int(str(size)) for size in shape]
    elif is_input:
        minimum = [_java_int(str(size)) for size in shape["min"]]
        step = [_java_int(str(size)) for size in shape["step"]]
    else:
        reference = _text(shape["reference_tensor"])
        scale = [float(value) for value in shape["scale"]]
        offset = [float(value) for value in shape["offset"]]
    halo = tensor.get("halo")
    halos = (
        [_java_int(str(h)) for h in halo]
        if isinstance(halo, list) and not is_input
        else [0] * count
    )
    axes = tuple(
        JdllAxis(letter, minimum[i], step[i], halos[i], scale[i], offset[i], reference, letter)
        for i, letter in enumerate(letters)
    )
    return JdllTensor(_text(tensor["name"]), axes, str(tensor.get("data_type", "float32")))


def _tensor_05(tensor: Mapping[str, Any], _: bool) -> JdllTensor:
    axes = tuple(_axis_05(axis) for axis in tensor["axes"])
    data_type = at(tensor, "data", "type")
    return JdllTensor(_text(tensor["id"]), axes, str(data_type or "float32"))


def _axis_05(axis: Mapping[str, Any]) -> JdllAxis:
    kind, size, name = axis["type"], axis.get("size"), axis.get("id")
    minimum, step = 1, 0
    if kind == "batch":
        letter = "b"
    elif kind == "channel" or name == "channel":
        letter, minimum = "c", len(axis["channel_names"])
    else:
        letter = _text(name)
    if len(letter) != 1:  # JDLL joins the names to one word and looks letters up in it
        raise ValueError(f"axis '{letter}' is no single letter")
    given = size if isinstance(size, Mapping) else {}
    if letter != "c":
        minimum = _whole(size if isinstance(size, (int, float)) else given.get("min"), 1)
        step = _whole(given.get("step"), 0)
    tensor, referred = given.get("tensor_id"), given.get("axis_id")
    return JdllAxis(
        letter=letter,
        minimum=minimum,
        step=step,
        halo=_whole(axis.get("halo"), 0),
        scale=_real(axis.get("scale"), 1.0),
        offset=_real(given.get("offset"), 0.0),
        tensor=tensor,
        axis={"batch": "b", "channel": "c"}.get(str(referred), referred),
    )


def _with_halo(source: JdllTensor, target: JdllTensor) -> JdllTensor:
    """calculateTotalInputHalo: (halo + offset) / scale, cut to a whole number.

    An axis that refers to nothing gives its halo as it is, and ends the search: of a fixed shape
    only the first axis with a halo counts.
    """
    halos = {axis.letter: axis.halo for axis in source.axes}
    for axis in target.axes:
        if axis.halo == 0:
            continue
        letter = axis.axis if axis.tensor is not None else axis.letter
        wanted = (axis.halo + axis.offset) / axis.scale if axis.tensor is not None else axis.halo
        if letter not in halos or halos[letter] > wanted:
            break
        halos[letter] = _java_int(wanted)
        if axis.tensor is None:
            break
    return replace(
        source, axes=tuple(replace(axis, halo=halos[axis.letter]) for axis in source.axes)
    )


def _whole(value: Any, default: int) -> int:
    """Java's `((Number) value).intValue()`."""
    return _java_int(_real(value, default))


def _real(value: Any, default: float) -> float:
    """Java's `((Number) value).doubleValue()`."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _java_int(value: Any) -> int:
    """A whole number of 32 bits, of a number or of its text."""
    number = int(value)
    if not -(2**31) <= number < 2**31:
        raise ValueError(f"{number:.4g} is no Java int")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
