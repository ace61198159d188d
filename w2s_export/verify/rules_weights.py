"""Rules of the weights files and of what the description says about them."""

from __future__ import annotations

from collections.abc import Iterator

from w2s_export.verify.described import ONNX, SAVED_MODEL, at, tensor_ids, weights_file
from w2s_export.verify.findings import Client, Code
from w2s_export.verify.rules import (
    CORE,
    DEEPIMAGEJ,
    EVERYONE,
    JDLL,
    OLD_DEEPIMAGEJ,
    ZOO,
    Fault,
    Subject,
    rule,
)

_TORCHSCRIPT = "torchscript"
_RUNNABLE = {
    **dict.fromkeys(OLD_DEEPIMAGEJ, (SAVED_MODEL, _TORCHSCRIPT)),
    **dict.fromkeys(JDLL, (SAVED_MODEL, ONNX, _TORCHSCRIPT)),
}
_LIMITS = "convert with opset 17 and IR 8, which every client reads"


@rule(
    'DeepImageJ 2.1 / 3.0: "TF 1.15-loadable SavedModel (or TorchScript)"; refuse "ONNX-only '
    'packages".',
    Code.weights_unsupported,
    OLD_DEEPIMAGEJ,
    "add a TensorFlow SavedModel",
)
def _old_deepimagej_finds_weights(subject: Subject) -> Iterator[Fault]:
    yield from _runnable(subject, Client.deepimagej_2_1)


@rule(
    'DeepImageJ 3.1: "refuses keras_hdf5, tensorflow_js".',
    Code.weights_unsupported,
    JDLL,
    "add ONNX or TensorFlow SavedModel weights",
)
def _jdll_finds_weights(subject: Subject) -> Iterator[Fault]:
    yield from _runnable(subject, Client.deepimagej_3_1)


def _runnable(subject: Subject, client: Client) -> Iterator[Fault]:
    formats = at(subject.rdf, "weights") or {}
    if not any(key in formats for key in _RUNNABLE[client]):
        held = ", ".join(map(str, formats)) or "none"
        yield "weights", f"holds {held}; it runs {', '.join(_RUNNABLE[client])}"


@rule(
    '"Exactly one weights entry lacks `parent`."',
    Code.weights_parent,
    CORE + ZOO,
    "give every weights entry but the first its parent",
)
def _one_entry_has_no_parent(subject: Subject) -> Iterator[Fault]:
    entries = at(subject.rdf, "weights") or {}
    originals = [key for key in entries if at(entries, key, "parent") is None]
    if entries and len(originals) != 1:
        yield "weights", f"{len(originals)} entries have no parent: {', '.join(originals)}"


@rule(
    "Every client opens the file; a damaged one fails there.",
    Code.onnx_unreadable,
    EVERYONE,
    "convert again",
)
def _onnx_can_be_read(subject: Subject) -> Iterator[Fault]:
    name = weights_file(subject.rdf, ONNX)
    if name in subject.sizes and subject.sizes[name] <= 1 << 30 and subject.onnx is None:
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
    '"A fixed input shape forces small tiles, but images under a third of the tile throw ✔, '
    'and when (tile − image) is odd the output is shifted by one pixel ✔."',
    Code.onnx_fixed_size,
    JDLL,
    "convert with dynamic batch, height and width",
)
def _onnx_takes_any_size(subject: Subject) -> Iterator[Fault]:
    if subject.onnx is None:
        return
    for name, sizes in subject.onnx.inputs.items():
        if sizes is not None and len(sizes) == 4 and (sizes[2:] != (None, None)):
            yield _onnx(subject), f"input '{name}' has the fixed size {sizes}"


@rule(
    '"A zip with `saved_model.pb` and a `variables/` entry (even if empty) at its ROOT."',
    Code.saved_model_layout,
    EVERYONE,
    "zip the files of the folder, not the folder",
)
def _saved_model_is_flat(subject: Subject) -> Iterator[Fault]:
    name = weights_file(subject.rdf, SAVED_MODEL)
    if name not in subject.sizes or subject.sizes[name] > 1 << 30:
        return
    files = subject.saved_model_files
    if files is None:
        yield name, "is no zip"
        return
    if "saved_model.pb" not in files:
        yield name, f"has no saved_model.pb at its root, but {sorted(files)[:3]}"
    elif not any(member.startswith("variables/") for member in files):
        yield name, "has no variables/ at its root"
    elif subject.saved_model is None:
        yield name, "has an unreadable saved_model.pb"


@rule('"tag `serve`"', Code.saved_model_tag, EVERYONE, "write it with the tag serve")
def _saved_model_is_tagged(subject: Subject) -> Iterator[Fault]:
    model = subject.saved_model
    if model and "serve" not in model.tags:
        yield _saved_model(subject), f"has the tags {sorted(model.tags)}"


@rule(
    '"signature `serving_default`, one input, one output in a dict"',
    Code.saved_model_signature,
    EVERYONE,
    "write a signature serving_default",
)
def _saved_model_has_its_signature(subject: Subject) -> Iterator[Fault]:
    model = subject.saved_model
    if model and "serving_default" not in model.signatures:
        yield _saved_model(subject), f"has the signatures {sorted(model.signatures)}"


@rule(
    '"with names equal to the rdf tensor ids"',
    Code.saved_model_names,
    EVERYONE,
    "name the signature's tensors as the rdf does",
)
def _saved_model_names_are_the_rdfs(subject: Subject) -> Iterator[Fault]:
    model = subject.saved_model
    signature = model.signatures.get("serving_default") if model else None
    if signature is None:
        return
    for side, names in zip(("inputs", "outputs"), signature, strict=True):
        described = sorted(tensor_ids(subject.rdf, side))
        if list(names) != described:
            yield _saved_model(subject), f"has the {side} {list(names)}, the rdf {described}"


@rule(
    '"A plain TF 2.21 SavedModel fails in TF 2.7 (`DisableCopyOnRead`) and in 1.15 '
    '(`debug_name`) ✔."',
    Code.saved_model_too_new,
    DEEPIMAGEJ,
    "freeze it and write a version 1 graph",
)
def _saved_model_is_of_old_operations(subject: Subject) -> Iterator[Fault]:
    model = subject.saved_model
    if not model:
        return
    if "DisableCopyOnRead" in model.operations:
        yield _saved_model(subject), "uses DisableCopyOnRead, which TensorFlow 2.7 does not know"
    if "debug_name" in model.attributes:
        yield _saved_model(subject), "uses debug_name, which TensorFlow 1.15 does not know"


@rule(
    '"JDLL drops a model whose TF weights lack it."',
    Code.tensorflow_version_missing,
    JDLL,
    "state tensorflow_version, e.g. 2.7.0",
)
def _tensorflow_version_is_stated(subject: Subject) -> Iterator[Fault]:
    entry = at(subject.rdf, "weights", SAVED_MODEL)
    if entry is not None and not at(entry, "tensorflow_version"):
        yield f"weights.{SAVED_MODEL}.tensorflow_version", "is not stated"


def _onnx(subject: Subject) -> str:
    return str(weights_file(subject.rdf, ONNX))


def _saved_model(subject: Subject) -> str:
    return str(weights_file(subject.rdf, SAVED_MODEL))
