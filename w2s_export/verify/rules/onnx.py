"""Rules of the ONNX file and of what the description says about it."""

from __future__ import annotations

from collections.abc import Iterator

from w2s_export.rdf.stated import (
    ONNX,
    at,
    axes,
    stated_shape,
    tensor_ids,
    weights_file,
)
from w2s_export.verify.findings import Code, Severity
from w2s_export.verify.protobuf import Dimensions
from w2s_export.verify.rules.registry import (
    CORE,
    EVERYONE,
    JDLL,
    LARGEST_WEIGHTS,
    ZOO,
    Fault,
    Subject,
    rule,
)

_LIMITS = "convert with opset 17 and IR 8, which every client reads"
_SINGLE_FILE = "save every weight in the one file"
_FLOAT32 = 1
_BUILT_IN = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")


@rule(
    "Every client opens the file; a damaged one fails there.",
    Code.onnx_unreadable,
    EVERYONE,
    "convert again",
)
def _onnx_can_be_read(subject: Subject) -> Iterator[Fault]:
    name = weights_file(subject.rdf, ONNX)
    if name in subject.sizes and subject.sizes[name] <= LARGEST_WEIGHTS and subject.onnx is None:
        yield name, "is not a readable ONNX file"


@rule(
    'DeepImageJ 3.1: "ONNX opset ≤17 and IR ≤8 (its ONNX Runtime is 1.12.1 ✔)".',
    Code.onnx_ir_too_new,
    JDLL,
    _LIMITS,
)
def _jdll_reads_the_ir(subject: Subject) -> Iterator[Fault]:
    yield from _ir(subject, 8)


@rule(
    'The zoo\'s ONNX Runtime 1.20.1: "IR ≤10, opset ≤21".',
    Code.onnx_ir_too_new,
    (CORE[0], *ZOO),
    _LIMITS,
)
def _zoo_reads_the_ir(subject: Subject) -> Iterator[Fault]:
    yield from _ir(subject, 10)


def _ir(subject: Subject, most: int) -> Iterator[Fault]:
    if subject.onnx and subject.onnx.ir_version > most:
        yield _onnx(subject), f"has IR {subject.onnx.ir_version}, read are versions up to {most}"


@rule('DeepImageJ 3.1: "ONNX opset ≤17".', Code.onnx_opset_too_new, JDLL, _LIMITS)
def _jdll_reads_the_opset(subject: Subject) -> Iterator[Fault]:
    yield from _opset(subject, 17)


@rule(
    'The zoo\'s ONNX Runtime 1.20.1: "opset ≤21".',
    Code.onnx_opset_too_new,
    (CORE[0], *ZOO),
    _LIMITS,
)
def _zoo_reads_the_opset(subject: Subject) -> Iterator[Fault]:
    yield from _opset(subject, 21)


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


def _opset(subject: Subject, most: int) -> Iterator[Fault]:
    if subject.onnx and subject.onnx.opset > most:
        yield _onnx(subject), f"has opset {subject.onnx.opset}, read are versions up to {most}"


@rule(
    'JDLL: "`opset_version` > 18 finds no engine"; the specification requires it.',
    Code.onnx_opset_undeclared,
    JDLL + CORE + ZOO,
    "state the file's own opset_version",
)
def _opset_is_stated(subject: Subject) -> Iterator[Fault]:
    if subject.onnx is None:
        return
    stated = at(subject.rdf, "weights", ONNX, "opset_version")
    if stated != subject.onnx.opset:
        message = f"is {stated!r:.20}, the file has {subject.onnx.opset}"
        yield "weights.onnx.opset_version", message


@rule(
    '"Inputs and outputs are matched by position."',
    Code.onnx_not_one_tensor,
    EVERYONE,
    "describe each tensor of the file, in its order",
)
def _onnx_has_the_described_tensors(subject: Subject) -> Iterator[Fault]:
    if subject.onnx is None:
        return
    for side, held in (("inputs", subject.onnx.inputs), ("outputs", subject.onnx.outputs)):
        described = len(tensor_ids(subject.rdf, side))
        if described != len(held):
            yield _onnx(subject), f"has {len(held)} {side}, the description {described}"


@rule(
    '"A fixed input shape forces small tiles"; "output shape differs from the model\'s".',
    Code.onnx_fixed_size,
    JDLL + CORE + ZOO,
    "convert with dynamic batch, height and width",
)
def _onnx_takes_the_described_sizes(subject: Subject) -> Iterator[Fault]:
    for index, name, sizes, letters in _inputs(subject):
        stated = stated_shape(subject.rdf, "inputs", index)
        for axis, size, accepted in zip(letters, sizes, stated, strict=True):
            if axis in "xyz" and size is not None and accepted is None:
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
    EVERYONE,
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
        yield where, f"has {len(sizes)} axes, the description says '{letters}'"
        return
    for axis, held, described in zip(letters, sizes, stated, strict=False):
        if None not in (held, described) and held != described:
            yield where, f"is {held} along {axis}, the description says {described}"


@rule(
    '"Inputs and outputs are matched by position."',
    Code.onnx_order,
    EVERYONE,
    "list the tensors in the file's order",
)
def _onnx_has_the_described_order(subject: Subject) -> Iterator[Fault]:
    for side in ("inputs", "outputs") if subject.onnx else ():
        held, described = list(getattr(subject.onnx, side)), tensor_ids(subject.rdf, side)
        if held != described and sorted(held) == sorted(described):
            yield _onnx(subject), f"has the {side} {held}, the description lists {described}"


@rule(
    '"ONNX: … float32": "JDLL gets outputs as nested Java arrays".',
    Code.onnx_not_float32,
    JDLL,
    "convert to float32",
    Severity.warning,
)
def _onnx_is_float32(subject: Subject) -> Iterator[Fault]:
    header = subject.onnx
    for name in (*header.inputs, *header.outputs) if header else ():
        if header and header.types.get(name) not in (_FLOAT32, 0):
            yield (
                _onnx(subject),
                f"'{name}' has the element type {header.types[name]}, float32 is 1",
            )


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
        yield _onnx(subject), f"imports the operators {custom}"


def _inputs(subject: Subject) -> Iterator[tuple[int, str, tuple[int | None, ...], str]]:
    """Index, name, sizes and described axes of the inputs whose axes fit the description."""
    for index, (name, sizes) in enumerate(subject.onnx.inputs.items() if subject.onnx else ()):
        letters = axes(at(subject.rdf, "inputs", index))
        if sizes is not None and len(letters) == len(sizes):
            yield index, name, sizes, letters


def _onnx(subject: Subject) -> str:
    return str(weights_file(subject.rdf, ONNX))
