"""Rules of the ONNX file and of what the description says about it."""

from __future__ import annotations

from collections.abc import Iterator

from w2s_export.counting import counted
from w2s_export.rdf.reading import (
    ONNX,
    at,
    axes,
    is_spatial,
    listed,
    stated_shape,
    tensor_ids,
    weights_file,
)
from w2s_export.verify.clients.core_processing import described_type, preprocessed_type
from w2s_export.verify.clients.jdll_weights import ENGINE_TYPES, OnnxEngine
from w2s_export.verify.findings import Code, Severity
from w2s_export.verify.protobuf import Dimensions
from w2s_export.verify.rules.registry import (
    CORE,
    JDLL,
    LARGEST_WEIGHTS,
    ZOO,
    Fault,
    Subject,
    rule,
)
from w2s_export.verify.rules.shapes import example_shape

_LIMITS = "convert with opset 17 and IR 8, which every client reads"
_SINGLE_FILE = "save every weight in the one file"
_FLOAT32 = 1
_ELEMENTS = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
}
"""onnx.TensorProto.DataType by numpy's names."""
_BUILT_IN = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc")


@rule(
    "Every client opens the file; a damaged one fails there.",
    Code.onnx_unreadable,
    JDLL + CORE + ZOO,
    "convert again",
)
def _onnx_can_be_read(subject: Subject) -> Iterator[Fault]:
    name = weights_file(subject.rdf, ONNX)
    if name in subject.sizes and subject.sizes[name] <= LARGEST_WEIGHTS and subject.onnx is None:
        yield name, "is not a readable ONNX file"


@rule(
    "JDLL 0.6.1, supportedVersions.json: the stated opset chooses the engine, 17 where none is "
    "stated (OnnxWeights): 17 ONNX Runtime 1.12.1 ✔ … 11 1.6.0. Each has its own limits, which "
    "were measured: IR 8 from 1.9.0 on.",
    Code.onnx_ir_too_new,
    JDLL,
    _LIMITS,
)
def _jdll_reads_the_ir(subject: Subject) -> Iterator[Fault]:
    if engine := _jdll_engine(subject):
        yield from _too_new(subject, "IR", engine.ir_version, f" by ONNX Runtime {engine.version}")


@rule(
    'The zoo\'s ONNX Runtime 1.20.1: "IR ≤10, opset ≤21".',
    Code.onnx_ir_too_new,
    (CORE[0], *ZOO),
    _LIMITS,
)
def _zoo_reads_the_ir(subject: Subject) -> Iterator[Fault]:
    yield from _too_new(subject, "IR", 10)


@rule(
    "JDLL 0.6.1: the engine of the stated opset; ONNX Runtime 1.12.1 reads opsets up to 17, 1.6.0 "
    "up to 13.",
    Code.onnx_opset_too_new,
    JDLL,
    _LIMITS,
)
def _jdll_reads_the_opset(subject: Subject) -> Iterator[Fault]:
    if engine := _jdll_engine(subject):
        yield from _too_new(subject, "opset", engine.opset, f" by ONNX Runtime {engine.version}")


@rule(
    'The zoo\'s ONNX Runtime 1.20.1: "opset ≤21".',
    Code.onnx_opset_too_new,
    (CORE[0], *ZOO),
    _LIMITS,
)
def _zoo_reads_the_opset(subject: Subject) -> Iterator[Fault]:
    yield from _too_new(subject, "opset", 21)


@rule(
    "ONNX Runtime 1.32, which core 0.11 was tried with: opsets up to 28 (measured).",
    Code.onnx_opset_too_new,
    (CORE[1],),
    _LIMITS,
)
def _core_reads_the_opset(subject: Subject) -> Iterator[Fault]:
    yield from _too_new(subject, "opset", 28)


@rule(
    'JDLL: "`opset_version` > 18 finds no engine".',
    Code.onnx_opset_too_new,
    JDLL,
    _LIMITS,
)
def _an_engine_has_the_stated_opset(subject: Subject) -> Iterator[Fault]:
    stated = at(subject.rdf, "weights", ONNX, "opset_version")
    if isinstance(stated, int) and stated > 18:
        yield "weights.onnx.opset_version", f"is {stated}, engines go up to 18"


def _too_new(subject: Subject, what: str, most: int, reader: str = "") -> Iterator[Fault]:
    header = subject.onnx
    held = 0 if header is None else header.ir_version if what == "IR" else header.opset
    if held > most:
        yield _onnx(subject), f"has {what} {held}, read are versions up to {most}{reader}"


@rule(
    "bioimageio.spec 0.5: `opset_version` is required; 0.4: optional. Nobody but JDLL compares it "
    "with the file.",
    Code.onnx_opset_undeclared,
    JDLL,
    "state the file's own opset_version",
    Severity.warning,
)
def _opset_is_stated(subject: Subject) -> Iterator[Fault]:
    stated = at(subject.rdf, "weights", ONNX, "opset_version")
    if subject.onnx and stated is not None and stated != subject.onnx.opset:
        message = f"is {stated!r:.20}, the file has {subject.onnx.opset}"
        yield "weights.onnx.opset_version", message


@rule(
    "onnx-java-interface 0.4.2, OnnxInterface.run: one input after the other, and as many outputs "
    "as are described.",
    Code.onnx_not_one_tensor,
    JDLL,
    "describe each tensor of the file, in its order",
)
def _onnx_has_the_described_tensors(subject: Subject) -> Iterator[Fault]:
    for side in ("inputs", "outputs") if subject.onnx else ():
        held, described = _counts(subject, side)
        if described != held:
            yield _onnx(subject), f"has {held} {side}, the description {described}"


@rule(
    "bioimageio.core, onnx_backend.py: inputs and outputs are matched by position; outputs that "
    "are not described are left out, missing ones are not.",
    Code.onnx_not_one_tensor,
    CORE + ZOO,
    "describe each input of the file, and no output that it lacks",
)
def _onnx_has_what_is_described(subject: Subject) -> Iterator[Fault]:
    for side in ("inputs", "outputs") if subject.onnx else ():
        held, described = _counts(subject, side)
        if described > held or (side == "inputs" and described < held):
            yield _onnx(subject), f"has {held} {side}, the description {described}"


def _counts(subject: Subject, side: str) -> tuple[int, int]:
    """Tensors of the file, and of the description."""
    return len(getattr(subject.onnx, side)), len(tensor_ids(subject.rdf, side))


@rule(
    '"A fixed input shape forces small tiles"; "output shape differs from the model\'s".',
    Code.onnx_fixed_size,
    JDLL,
    "convert with dynamic batch, height and width",
)
def _onnx_takes_the_described_sizes(subject: Subject) -> Iterator[Fault]:
    yield from _fixed_sizes(subject)


@rule(
    "bioimageio.core 0.11.0 tests format 0.5 at several sizes, and both formats at the test "
    "image's.",
    Code.onnx_fixed_size,
    CORE + ZOO,
    "convert with dynamic batch, height and width",
)
def _onnx_takes_the_tested_sizes(subject: Subject) -> Iterator[Fault]:
    if subject.format_05:
        yield from _fixed_sizes(subject)
        return
    for index, name, sizes, _ in _inputs(subject):
        shape = example_shape(subject, "inputs", index)
        for held, given in zip(sizes, shape, strict=False):
            if held is not None and held != given:
                yield _onnx(subject), f"input '{name}' takes {held}, the test image has {given}"


def _fixed_sizes(subject: Subject) -> Iterator[Fault]:
    for index, name, sizes, letters in _inputs(subject):
        stated = stated_shape(subject.rdf, "inputs", index)
        for axis, size, accepted in zip(letters, sizes, stated, strict=True):
            if is_spatial(axis) and size is not None and accepted is None:
                yield _onnx(subject), f"input '{name}' has the fixed size {size} along {axis}"


@rule(
    '"Dynamic batch, y, x"; core tests with "batch 2 ✔".',
    Code.onnx_fixed_batch,
    CORE + ZOO,
    "convert with a dynamic batch, or describe the batch axis with size: 1",
)
def _onnx_takes_the_described_batch(subject: Subject) -> Iterator[Fault]:
    for index, name, sizes, letters in _inputs(subject) if subject.format_05 else ():
        place = letters.find("b")
        stated = stated_shape(subject.rdf, "inputs", index)
        if place >= 0 and sizes[place] is not None and stated[place] is None:
            yield _onnx(subject), f"input '{name}' takes batches of {sizes[place]} alone"


@rule(
    '"NCHW (`bcyx`)": "ONNX and SavedModel of one package share one `axes`".',
    Code.axes_not_the_weights,
    JDLL + CORE + ZOO,
    "describe the axes that the weights have",
)
def _onnx_has_the_described_axes(subject: Subject) -> Iterator[Fault]:
    for side in ("inputs", "outputs") if subject.onnx else ():
        held = getattr(subject.onnx, side)
        for index, (name, sizes) in enumerate(held.items()):
            yield from axes_faults(subject, side, index, sizes, f"{_onnx(subject)}: {name}")


def axes_faults(
    subject: Subject, side: str, index: int, sizes: Dimensions, where: str
) -> Iterator[Fault]:
    """Where a tensor of a weights file is not of the described axes."""
    stated = stated_shape(subject.rdf, side, index)
    letters = axes(at(subject.rdf, side, index))
    if sizes is None or not letters:
        return
    if len(sizes) != len(letters):
        yield where, f"has {counted(len(sizes), 'axis', 'axes')}, the description says '{letters}'"
        return
    for axis, held, described in zip(letters, sizes, stated, strict=False):
        if None not in (held, described) and held != described:
            yield where, f"is {held} along {axis}, the description says {described}"


@rule(
    '"Inputs and outputs are matched by position."',
    Code.onnx_order,
    JDLL + CORE + ZOO,
    "list the tensors in the file's order",
)
def _onnx_has_the_described_order(subject: Subject) -> Iterator[Fault]:
    for side in ("inputs", "outputs") if subject.onnx else ():
        held, described = list(getattr(subject.onnx, side)), tensor_ids(subject.rdf, side)
        if held != described and sorted(held) == sorted(described):
            yield _onnx(subject), f"has the {side} {held}, the description lists {described}"


@rule(
    "JDLL 0.6.1, DLModelJava.runNoTiles: whatever the image is, the network gets FloatType.",
    Code.onnx_input_type,
    JDLL,
    "let the network take float32",
)
def _onnx_takes_float32(subject: Subject) -> Iterator[Fault]:
    for name, kind in _element_types(subject, "inputs"):
        if kind not in (_FLOAT32, 0):
            yield _onnx(subject), f"input '{name}' is {_ELEMENTS.get(kind, kind)}, given is float32"


@rule(
    "bioimageio.spec 0.5: preprocessing ends with ensure_dtype of `data.type` where it does not "
    "say so itself; core 0.11, _get_described_procs: with float32 in format 0.4. ONNX Runtime: "
    '"Unexpected input data type".',
    Code.onnx_input_type,
    CORE + ZOO,
    "end the preprocessing with ensure_dtype of what the network takes",
)
def _onnx_takes_the_preprocessed_type(subject: Subject) -> Iterator[Fault]:
    for index, (name, kind) in enumerate(_element_types(subject, "inputs")):
        given = preprocessed_type(at(subject.rdf, "inputs", index), subject.format_05)
        if kind in _ELEMENTS and given is not None and given != _ELEMENTS[kind]:
            yield _onnx(subject), f"input '{name}' is {_ELEMENTS[kind]}, given is {given}"


@rule(
    'JDLL 0.6.1, Tensor.setData: "different data type than the Tensor", which has the described '
    "type; onnx-java-interface 0.4.2, ImgLib2Builder: float, double, int, long and byte alone.",
    Code.output_type_differs,
    JDLL,
    "describe the type that the network returns",
)
def _onnx_gives_the_described_type(subject: Subject) -> Iterator[Fault]:
    outputs = listed(subject.rdf, "outputs")
    given = _element_types(subject, "outputs")
    for output, (name, kind) in zip(outputs, given, strict=False):
        described = described_type(output, subject.format_05)
        if kind and ENGINE_TYPES.get(kind) != described:
            engine = ENGINE_TYPES.get(kind, "nothing it knows")
            message = f"output '{name}' is {_ELEMENTS.get(kind, kind)}, {engine} in Java"
            yield _onnx(subject), f"{message}; described is {described}"


@rule('"ONNX: single file"', Code.onnx_external_data, JDLL + CORE + ZOO, _SINGLE_FILE)
def _onnx_is_a_single_file(subject: Subject) -> Iterator[Fault]:
    if subject.onnx and subject.onnx.external_data:
        yield _onnx(subject), "keeps weights in another file"


@rule(
    "ONNX Runtime in every client has its own operators alone.",
    Code.onnx_custom_operators,
    JDLL + CORE + ZOO,
    "convert with standard operators",
)
def _onnx_uses_known_operators(subject: Subject) -> Iterator[Fault]:
    if subject.onnx and (custom := sorted(subject.onnx.domains - set(_BUILT_IN))):
        yield _onnx(subject), f"has nodes of the operator sets {custom}"


def _element_types(subject: Subject, side: str) -> list[tuple[str, int]]:
    """Name and element type of the file's inputs or outputs, in its order."""
    header = subject.onnx
    return [(name, header.types.get(name, 0)) for name in getattr(header, side)] if header else []


def _jdll_engine(subject: Subject) -> OnnxEngine | None:
    """The ONNX Runtime that DeepImageJ 3.1 runs the file with, where it runs it."""
    return subject.jdll_weights.onnx_engine if subject.jdll_weights else None


def _inputs(subject: Subject) -> Iterator[tuple[int, str, tuple[int | None, ...], str]]:
    """Index, name, sizes and described axes of the inputs whose axes fit the description."""
    for index, (name, sizes) in enumerate(subject.onnx.inputs.items() if subject.onnx else ()):
        letters = axes(at(subject.rdf, "inputs", index))
        if sizes is not None and len(letters) == len(sizes):
            yield index, name, sizes, letters


def _onnx(subject: Subject) -> str:
    return str(weights_file(subject.rdf, ONNX))
