"""What a description says, whichever of the formats 0.4 and 0.5 it is written in.

Descriptions come from anywhere, so nothing is assumed of their types.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

ONNX = "onnx"
SAVED_MODEL = "tensorflow_saved_model_bundle"
CPU_FAST = "cpu_fast"
"""No format of the rdf: our own name of the fast CPU graph among the attachments."""

_FIRST_PRIVATE = 0xF0000
"""Characters that Unicode gives no meaning to."""
_OUR_CONFIG = "config.w2s_export"


class DescriptionError(ValueError):
    """A field that holds another kind of value than the format asks for."""


@dataclass(frozen=True, slots=True)
class FileReference:
    """A file that the description names."""

    where: str
    """Field, e.g. `weights.onnx.source`."""
    name: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class ExampleFiles:
    """Tensors and images that belong to the first input and the first output."""

    test_input: str | None
    test_output: str | None
    sample_input: str | None
    sample_output: str | None


@dataclass(frozen=True, slots=True)
class AxisPlan:
    """How the size of one spatial output axis follows from the input's."""

    name: str
    """`y`, `x` or `z`, or the word that format 0.5 calls it."""
    minimum: int
    """Of the input."""
    step: int
    """Of the input; 0 where its size is fixed."""
    spec_factor: float
    """Output pixels per input pixel by the specification."""
    jdll_factor: float
    """The same as JDLL, inside DeepImageJ 3.1, computes it."""
    offset: float
    """Pixels added to the output."""
    halo: float
    """Output pixels to crop on each side."""
    reference: int = 0
    """Which input it follows."""
    reference_scale: float = field(default=1.0, compare=False)
    """Of that input's axis, format 0.5: what its factor is written with."""
    letters: tuple[str, str] = field(default=("", ""), compare=False)
    """Of the input's axis and of the output's, as in `axes`."""

    @property
    def input_halo(self) -> float:
        """Context a tile needs, input pixels."""
        return self.halo / self.spec_factor


def at(value: Any, *path: str | int) -> Any:
    """The value under keys and indices, None where there is none."""
    for key in path:
        if isinstance(key, int):
            value = value[key] if isinstance(value, list) and len(value) > key else None
        else:
            value = value.get(key) if isinstance(value, Mapping) else None
    return value


def is_05(rdf: Mapping[str, Any]) -> bool:
    """Whether the description is of format 0.5 or later."""
    return release(rdf)[:2] >= (0, 5)


def release(rdf: Mapping[str, Any]) -> tuple[int, ...]:
    """Format version as numbers; empty where it is none."""
    parts = str(rdf.get("format_version")).split(".")
    numbers = all(part.isdecimal() and len(part) < 10 for part in parts)
    return tuple(int(part) for part in parts) if numbers else ()


def file_references(rdf: Mapping[str, Any]) -> list[FileReference]:
    """Every file of the package that the description names; addresses on the web are left out."""
    found = list(_sources(rdf, ""))
    lists = ["test_inputs", "test_outputs", "sample_inputs", "sample_outputs", "covers"]
    plain = [(f"{key}[{i}]", v) for key in lists for i, v in enumerate(listed(rdf, key))]
    plain += [("documentation", rdf.get("documentation"))]
    files = listed(rdf, "attachments", "files")
    plain += [(f"attachments.files[{i}]", v) for i, v in enumerate(files)]
    found += [FileReference(where, value, None) for where, value in plain if isinstance(value, str)]
    local = [reference for reference in found if "://" not in reference.name]
    return [replace(reference, name=_file_name(reference.name)) for reference in local]


def _file_name(source: str) -> str:
    """A file as the zip names it: `./unet.py:UNet2d` of old descriptions is `unet.py`."""
    return re.sub(r"(\.py):\w+$", r"\1", source.removeprefix("./"))


def _sources(value: Any, where: str) -> Iterator[FileReference]:
    if isinstance(value, Mapping):
        source, sha256 = value.get("source"), value.get("sha256")
        foreign = where.startswith("config") and not where.startswith(_OUR_CONFIG)
        if isinstance(source, str) and not foreign:
            stated = sha256 if isinstance(sha256, str) else None
            yield FileReference(f"{where}.source".lstrip("."), source, stated)
        for key, inner in value.items():
            yield from _sources(inner, f"{where}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _sources(inner, f"{where}[{index}]")


def weights_file(rdf: Mapping[str, Any], weights_format: str) -> str | None:
    """Name of the file of a weights format."""
    place = ("config", "w2s_export") if weights_format == CPU_FAST else ("weights",)
    source = at(rdf, *place, weights_format, "source")
    return _file_name(source) if isinstance(source, str) else None


def example_files(rdf: Mapping[str, Any]) -> ExampleFiles:
    """Files of the first input and output."""
    if is_05(rdf):
        found = [
            at(rdf, side, 0, f"{kind}_tensor", "source")
            for kind in ("test", "sample")
            for side in ("inputs", "outputs")
        ]
    else:
        found = [
            at(rdf, f"{kind}_{s}puts", 0) for kind in ("test", "sample") for s in ("in", "out")
        ]
    test_in, test_out, sample_in, sample_out = (v if isinstance(v, str) else None for v in found)
    return ExampleFiles(test_in, test_out, sample_in, sample_out)


def example_tensors(rdf: Mapping[str, Any], kind: str, side: str) -> list[str | None]:
    """Files of every input or output.

    Args:
        rdf: the description.
        kind: `test` or `sample`.
        side: `inputs` or `outputs`.
    """
    count = len(listed(rdf, side))
    if is_05(rdf):
        found = [at(rdf, side, index, f"{kind}_tensor", "source") for index in range(count)]
    else:
        found = [at(rdf, f"{kind}_{side}", index) for index in range(count)]
    return [_file_name(v) if isinstance(v, str) else None for v in found]


def listed(value: Any, *path: str | int) -> list[Any]:
    """The list under keys and indices; empty where there is another kind of value, or none."""
    found = at(value, *path)
    return found if isinstance(found, list) else []


def mapped(value: Any, *path: str | int) -> Mapping[Any, Any]:
    """The mapping under keys and indices; empty where there is another kind of value, or none."""
    found = at(value, *path)
    return found if isinstance(found, Mapping) else {}


def tensor_ids(rdf: Mapping[str, Any], side: str) -> list[str]:
    """Names of the inputs or outputs."""
    key = "id" if is_05(rdf) else "name"
    default = side.removesuffix("s") if is_05(rdf) else None
    return [str(at(tensor, key) or default) for tensor in listed(rdf, side)]


def axes(tensor: Any) -> str:
    """Axes, one letter each, e.g. `bcyx`."""
    value = at(tensor, "axes")
    if isinstance(value, str):
        return value
    return "".join(axis_letter(axis) for axis in (value if isinstance(value, list) else []))


def axis_letter(axis: Any) -> str:
    """The letter that stands for an axis of format 0.5, or for its id.

    Its id may be any word. A word gets a character of its own, the same wherever it stands, so
    that the axes of a tensor still are one text with one character each.
    """
    letters = {"batch": "b", "channel": "c", "index": "i", "time": "t"}
    kind = axis if isinstance(axis, str) else str(at(axis, "type"))
    name = letters.get(kind, axis if isinstance(axis, str) else axis_id(axis))
    return name if len(name) == 1 else chr(_FIRST_PRIVATE + crc32(name.encode()) % 0xFFFE)


def is_spatial(letter: str) -> bool:
    """Whether a letter of `axes` is an axis of space: x, y, z, or a word of the description's."""
    return letter in "xyz" or ord(letter) >= _FIRST_PRIVATE


def axis_id(axis: Any) -> str:
    """Name of an axis of format 0.5, which for a spatial one is `x` unless it says so."""
    return str(at(axis, "id") or ("x" if at(axis, "type") == "space" else at(axis, "type")))


def stated_shape(rdf: Mapping[str, Any], side: str, index: int) -> tuple[int | None, ...]:
    """Sizes along the axes of a tensor, None where more than one is accepted.

    Raises:
        DescriptionError: a size that is no number.
    """
    tensor = at(rdf, side, index)
    if is_05(rdf) and isinstance(at(tensor, "axes"), str):
        return (None,) * len(axes(tensor))  # of another format
    if is_05(rdf):
        return tuple(_stated_size(axis) for axis in listed(tensor, "axes"))
    shape, letters = at(tensor, "shape"), axes(tensor)
    sizes: list[int | None] = []
    for place, letter in enumerate(letters):
        if isinstance(shape, list):
            size = at(shape, place)
        else:
            size = at(shape, "min", place) if at(shape, "step", place) == 0 else None
        sizes.append(None if size is None or letter == "b" else int(_number(size, 1)))
    return tuple(sizes)


def _stated_size(axis: Any) -> int | None:
    if at(axis, "type") == "channel":
        return len(listed(axis, "channel_names")) or None
    size = at(axis, "size")
    return None if size is None or isinstance(size, Mapping) else int(_number(size, 1))


def input_extents(rdf: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Where, smallest size and step of each spatial axis of the inputs; 0 for a fixed size.

    Raises:
        DescriptionError: a size that is no number.
    """
    for index, tensor in enumerate(listed(rdf, "inputs")):
        for place, name in enumerate(axes(tensor)):
            if not is_spatial(name):
                continue
            if is_05(rdf):
                extent = at(tensor, "axes", place, "size")
                if at(extent, "tensor_id") is not None:
                    continue  # follows another input
                name = axis_id(at(tensor, "axes", place))
            else:
                extent = _extent_04(at(tensor, "shape"), place)
            yield f"inputs[{index}] {name}", *_extent(extent)


def axis_plans(rdf: Mapping[str, Any]) -> list[AxisPlan]:
    """How the spatial axes of the first output follow from the input they refer to.

    Axes of a fixed size, or that refer to nothing, are left out.

    Raises:
        DescriptionError: a size, scale or halo that is no number.
    """
    output = at(rdf, "outputs", 0)
    plans = _plans_05(rdf, output) if is_05(rdf) else _plans_04(rdf, output)
    return list(plans)


def _plans_05(rdf: Mapping[str, Any], output: Any) -> Iterator[AxisPlan]:
    for axis in listed(output, "axes"):
        size = at(axis, "size")
        if at(axis, "type") != "space" or not isinstance(size, Mapping):
            continue
        source = _input_called(rdf, size.get("tensor_id"))
        own = listed(rdf, "inputs", source, "axes") if source is not None else []
        referred = next((a for a in own if axis_id(a) == size.get("axis_id")), None)
        if source is None or referred is None:
            continue
        minimum, step = _extent(at(referred, "size"))
        scale, reference = _number(at(axis, "scale"), 1), _number(at(referred, "scale"), 1)
        yield AxisPlan(
            name=axis_id(axis),
            minimum=minimum,
            step=step,
            spec_factor=reference / scale,
            jdll_factor=scale,
            offset=_number(size.get("offset"), 0),
            halo=_number(at(axis, "halo"), 0),
            reference=source,
            reference_scale=reference,
            letters=(axis_letter(referred), axis_letter(axis)),
        )


def _plans_04(rdf: Mapping[str, Any], output: Any) -> Iterator[AxisPlan]:
    shape, letters = at(output, "shape"), axes(output)
    reference = _input_called(rdf, at(shape, "reference_tensor"))
    if reference is None:
        return
    source = at(rdf, "inputs", reference)
    for position, name in enumerate(letters):
        place = axes(source).find(name)
        if name not in "xyz" or place < 0:
            continue
        minimum, step = _extent(_extent_04(at(source, "shape"), place))
        factor = _number(at(shape, "scale", position), 1)
        yield AxisPlan(
            name=name,
            minimum=minimum,
            step=step,
            spec_factor=factor,
            jdll_factor=factor,
            offset=2 * _number(at(shape, "offset", position), 0),
            halo=_number(at(output, "halo", position), 0),
            reference=reference,
            letters=(name, name),
        )


def _input_called(rdf: Mapping[str, Any], name: Any) -> int | None:
    """Index of the input of that name, None where there is none."""
    names = tensor_ids(rdf, "inputs")
    return names.index(name) if isinstance(name, str) and name in names else None


def _extent_04(shape: Any, place: int) -> Any:
    """Size of one axis as format 0.5 would write it."""
    fixed = at(shape, place)
    if fixed is not None:
        return fixed
    return {"min": at(shape, "min", place), "step": at(shape, "step", place)}


def _extent(size: Any) -> tuple[int, int]:
    """Minimum and step; a fixed size has step 0."""
    if isinstance(size, Mapping):
        return int(_number(size.get("min"), 1)), int(_number(size.get("step"), 1))
    return int(_number(size, 1)), 0


def _number(value: Any, default: float) -> float:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise DescriptionError(f"a number is needed, got {value!r:.60}")
    return value
