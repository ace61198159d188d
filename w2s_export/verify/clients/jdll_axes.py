"""What JDLL reads of a description, in its own (partly mistaken) way.

JDLL 0.6.1 (github.com/bioimage-io/JDLL, tag dl-modelrunner-0.6.1, inside DeepImageJ 3.1), package
`bioimageio.description`: AxesV04, AxisV05, AxisSize, TensorSpecV04 and V05, ModelDescriptorV04 and
V05. Compared with the compiled classes: see docs/clients.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, TypeVar

from w2s_export.counting import counted
from w2s_export.errors import PackageError
from w2s_export.rdf.reading import at, is_05

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


def throws(reason: str) -> JdllError:
    """An exception when the model is run."""
    return JdllError(Failure.throws, reason)


@dataclass(frozen=True, slots=True)
class JdllAxis:
    """One axis of a tensor."""

    letter: str
    """Its abbreviation; in format 0.5 any word, which fails when the model is run."""
    minimum: int
    step: int
    """0: the size is fixed to the minimum, or refers to another tensor's."""
    halo: int
    scale: float
    offset: float
    tensor: str | None
    """Tensor whose size this axis refers to."""
    axis: str | None
    """Abbreviation of the axis there, as the description writes it."""


@dataclass(frozen=True, slots=True)
class JdllTensor:
    """An input or output."""

    name: str | None
    axes: tuple[JdllAxis, ...]
    data_type: str
    processing: tuple[Mapping[str, Any], ...] = ()
    """Steps that are kept: of an input before the network, of an output after it."""

    @property
    def letters(self) -> str:
        """Axes as one word, e.g. `bcyx`."""
        return "".join(axis.letter for axis in self.axes)


@dataclass(frozen=True, slots=True)
class JdllModel:
    """What JDLL plans with; the input's axes carry the halo that the outputs ask for."""

    input: JdllTensor
    outputs: tuple[JdllTensor, ...]
    tiling: bool
    pyramidal: bool


def read_model(rdf: Mapping[str, Any]) -> JdllModel:
    """Read a description of one input, format 0.4 or 0.5.

    Raises:
        JdllError: JDLL drops such a model.
        PackageError: several inputs, which this does not model.
    """
    read = _tensor_05 if is_05(rdf) else _tensor_04
    inputs = _read("inputs", lambda: [read(tensor, True) for tensor in _maps(rdf["inputs"])])
    outputs = _read("outputs", lambda: [read(tensor, False) for tensor in _maps(rdf["outputs"])])
    if len(inputs) != 1:
        raise PackageError(f"has {counted(len(inputs), 'input')}; the model of JDLL knows one")
    source = _read("the halo", lambda: _with_halo(inputs[0], outputs))
    try:  # DeepImageJExecutionConfig.build: first when the model is run
        tiling, pyramidal = _fiji(at(rdf, "config", "deepimagej"))
    except TypeError as error:
        raise throws(f"cannot read config.deepimagej: {error}") from None
    return JdllModel(source, tuple(outputs), tiling, pyramidal)


def _fiji(config: Any) -> tuple[bool, bool]:
    """`allow_tiling` and `pyramidal_model`; an absent key is read as false."""
    if config is None:
        return True, False
    for key in ("test_information", "prediction"):
        if at(config, key) is not None and not isinstance(config[key], Mapping):
            raise TypeError(f"{key} is {config[key]!r:.40}")
    read = []
    for key in ("allow_tiling", "pyramidal_model"):
        value = config.get(key, False) if isinstance(config, Mapping) else None
        if not isinstance(value, bool):
            raise TypeError(f"{key} is {value!r:.40}, cast to boolean")
        read.append(value)
    return read[0], read[1]


def check_fields(rdf: Mapping[str, Any]) -> None:
    """ModelDescriptor.buildModelDescription and the two formats' constructors: what they cast.

    Raises:
        JdllError: JDLL drops such a model.
    """
    _read("the description", lambda: _check_fields(rdf))


def _check_fields(rdf: Mapping[str, Any]) -> None:
    if not _text(rdf.get("format_version")).startswith(("0.4", "0.5")):  # ModelDescriptorFactory
        raise ValueError(f"format_version is {rdf['format_version']}")
    for key in ("name", "description", "id", "license", "documentation", "git_repo"):
        _optional_text(rdf.get(key), key)
    if "timestamp" in rdf and rdf["timestamp"] is None:
        raise ValueError("timestamp is null")
    for key in ("authors", "maintainers", "packaged_by"):
        for person in _maps(rdf.get(key) or []) if isinstance(rdf.get(key), list) else ():
            for field in ("affiliation", "email", "github_user", "name", "orcid"):
                _optional_text(person.get(field), f"{key}.{field}")
    for entry in _maps(rdf.get("cite") or []) if isinstance(rdf.get("cite"), list) else ():
        for field in ("text", "doi", "url"):
            _optional_text(entry.get(field), f"cite.{field}")
    config = rdf.get("config")
    if config is not None and not isinstance(config, Mapping):
        raise TypeError(f"config is {config!r:.40}")
    nickname = at(config, "bioimageio", "nickname")
    _optional_text(nickname, "config.bioimageio.nickname")
    if is_05(rdf):
        if rdf.get("name") is None:  # addBioEngine
            raise ValueError("there is no name")
        if config is not None and nickname is None and rdf.get("id") is None:  # findID
            raise ValueError("config is there, but neither id nor config.bioimageio.nickname")
        return
    for side in ("inputs", "outputs"):  # addSampleAndTestImages
        for kind, endings in _EXAMPLES.items():
            files = rdf.get(f"{kind}_{side}")
            if files is not None and not isinstance(files, list):
                raise TypeError(f"{kind}_{side} is {files!r:.40}")
            listed = files if isinstance(files, list) else []
            read = [f for f in listed if isinstance(f, str) and _ending(f) in endings]
            if len(read) > len(rdf[side]):
                raise IndexError(f"{len(read)} {kind}_{side} for {len(rdf[side])} {side}")


_EXAMPLES = {
    "sample": (".tiff", ".tif", ".png", ".jpg", ".jpeg", ".gif"),
    "test": (".npy",),
}
"""Endings that SampleImage and TestArtifact allow; other files are left out of the count."""


def _ending(name: str) -> str:
    return name[name.rfind(".") :].lower() if "." in name else ""


def _read(where: str, read: Callable[[], Read]) -> Read:
    """Java's cast, index and null pointer exceptions, all of which drop the model."""
    try:
        return read()
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise JdllError(Failure.drops, f"cannot read {where}: {reason}") from None


def _maps(values: Any) -> list[Mapping[str, Any]]:
    """Those elements of a list that are mappings; the others are passed over."""
    if not isinstance(values, list):
        raise TypeError(f"{values!r:.40} is no list")
    return [value for value in values if isinstance(value, Mapping)]


def _tensor_04(tensor: Mapping[str, Any], is_input: bool) -> JdllTensor:
    """AxesV04: a fixed shape, `min` and `step`, or reference, scale and offset (all three)."""
    letters, shape = _text(tensor["axes"]), tensor["shape"]
    count = len(letters)
    minimum, step, offset, scale = [0] * count, [0] * count, [0.0] * count, [-1.0] * count
    reference = None
    if isinstance(shape, list):
        minimum = [_java_int(str(size)) for size in shape]
    elif is_input:
        minimum = [_java_int(str(size)) for size in _list(shape["min"])]
        step = [_java_int(str(size)) for size in _list(shape["step"])]
    else:
        reference = _text(shape["reference_tensor"])
        scale = [float(value) for value in _list(shape["scale"])]
        offset = [float(value) for value in _list(shape["offset"])]
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
    _optional_text(tensor.get("description"), "description")
    data_type = tensor.get("data_type")
    return JdllTensor(
        name=_optional_text(tensor.get("name"), "name"),
        axes=axes,
        data_type=data_type if isinstance(data_type, str) else "float32",
        processing=_kept_steps(tensor, is_input),
    )


def _tensor_05(tensor: Mapping[str, Any], is_input: bool) -> JdllTensor:
    axes = tuple(_axis_05(axis) for axis in _list(tensor["axes"]))
    _optional_text(tensor.get("description"), "description")
    data_type = at(tensor, "data", "type")
    name = tensor.get("id")
    return JdllTensor(
        name=_optional_text(tensor.get("name") if name is None else name, "id"),
        axes=axes,
        data_type=data_type if isinstance(data_type, str) else "float32",
        processing=_kept_steps(tensor, is_input),
    )


def _kept_steps(tensor: Mapping[str, Any], is_input: bool) -> tuple[Mapping[str, Any], ...]:
    """TensorSpecV04 and V05: steps whose `id` is ensure_dtype are left out while reading.

    Format 0.4 calls steps by their `name`, so there an ensure_dtype is kept.
    """
    kept: list[list[Mapping[str, Any]]] = []
    for key in ("preprocessing", "postprocessing"):
        steps = [] if tensor.get(key) is None else _list(tensor[key])
        if any(not isinstance(step, Mapping) for step in steps):
            raise TypeError(f"{key} is {steps!r:.80}")
        kept.append([step for step in steps if step.get("id") != "ensure_dtype"])
    return tuple(kept[0] if is_input else kept[1])


def _axis_05(axis: Mapping[str, Any]) -> JdllAxis:
    """AxisV05 and AxisSize."""
    name, kind = _optional_text(axis.get("id"), "id"), _text(axis["type"])
    channels = axis.get("channel_names")
    _optional_text(axis.get("description"), "description")
    if not isinstance(axis.get("concatenable") or False, bool):
        raise TypeError(f"concatenable is {axis['concatenable']!r:.40}")
    size = axis.get("size")
    given = size if isinstance(size, Mapping) else {}
    if isinstance(size, float):
        raise TypeError(f"size {size!r} is cast to a whole number")
    stated = size if _is_number(size) else _number_or_none(given.get("min"))
    minimum = _whole(stated, 1)
    if kind == "space" and name is None:
        raise ValueError("When axis type is 'spaces', an 'id' must be defined")
    if kind == "batch":
        letter = "b"
    elif kind == "channel" or name == "channel":
        letter, minimum = "c", len(_list(channels))
    else:
        letter = _text(name)
        if letter == "c":
            minimum = 1 if channels is None else len(_list(channels))
    texts = (given.get("tensor_id"), given.get("axis_id"))
    tensor, referred = (text if isinstance(text, str) else None for text in texts)
    return JdllAxis(
        letter=letter,
        minimum=minimum,
        step=_whole(_number_or_none(given.get("step")), 0),
        halo=_whole(axis.get("halo"), 0),
        scale=_real(axis.get("scale"), 1.0),
        offset=_real(_number_or_none(given.get("offset")), 0.0),
        tensor=tensor,
        axis=referred,
    )


def _with_halo(source: JdllTensor, outputs: list[JdllTensor]) -> JdllTensor:
    """calculateTotalInputHalo: (halo + offset) / scale, cut to a whole number.

    An axis that refers to nothing gives its halo as it is, and ends the search: of a fixed shape
    only the first axis with a halo counts. So does one that asks for less than there is.
    """
    halos = {axis.letter: axis.halo for axis in source.axes}
    for axis in (axis for target in outputs for axis in target.axes):
        if axis.halo == 0:
            continue
        if axis.tensor is None:
            if halos.get(axis.letter, axis.halo + 1) <= axis.halo:
                halos[axis.letter] = axis.halo
            break
        if axis.tensor != source.name:
            raise ValueError(f"there is no input '{axis.tensor}'")
        wanted = _divide(axis.halo + axis.offset, axis.scale)
        if axis.axis not in halos or halos[axis.axis] > wanted:
            break
        halos[axis.axis] = java_cast(wanted)
    return replace(
        source, axes=tuple(replace(axis, halo=halos[axis.letter]) for axis in source.axes)
    )


def _divide(dividend: float, divisor: float) -> float:
    """Java's division of doubles, which does not throw."""
    if divisor:
        return dividend / divisor
    return float("nan") if not dividend else float("inf") * dividend


def java_cast(value: float) -> int:
    """Java's `(int) value`."""
    if value != value:
        return 0
    return int(max(-(2.0**31), min(2.0**31 - 1, value)))


def java_int(value: int) -> int:
    """A sum of Java ints, which wraps at 32 bits."""
    return (value + 2**31) % 2**32 - 2**31


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number_or_none(value: Any) -> Any:
    """AxisSize passes over what is no number."""
    return value if _is_number(value) else None


def _whole(value: Any, default: int) -> int:
    """Java's `((Number) value).intValue()`."""
    return java_cast(_real(value, default))


def _real(value: Any, default: float) -> float:
    """Java's `((Number) value).doubleValue()`."""
    if value is None:
        return default
    if not _is_number(value):
        raise TypeError(f"{value!r:.40} is no number")
    return float(value)


def _java_int(value: str) -> int:
    """Java's `Integer.parseInt`."""
    number = int(value)
    if not -(2**31) <= number < 2**31:
        raise ValueError(f"{number:.4g} is no Java int")
    return number


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.40} is no list")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value


def _optional_text(value: Any, where: str) -> str | None:
    """Java's `(String) value`, which null passes."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{where} is {value!r:.40}, no text")
    return value
