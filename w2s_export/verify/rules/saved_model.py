"""Rules of the TensorFlow SavedModel and of what the description says about it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from w2s_export.rdf.reading import (
    SAVED_MODEL,
    at,
    axes,
    stated_shape,
    tensor_ids,
    weights_file,
)
from w2s_export.verify.findings import Code, Severity
from w2s_export.verify.protobuf import Dimensions
from w2s_export.verify.rules.onnx import axes_faults
from w2s_export.verify.rules.registry import (
    CORE,
    DEEPIMAGEJ,
    EVERYONE,
    JDLL,
    LARGEST_WEIGHTS,
    OLD_DEEPIMAGEJ,
    ZOO,
    Fault,
    Subject,
    rule,
)


@rule(
    '"A zip with `saved_model.pb` and a `variables/` entry (even if empty) at its ROOT."',
    Code.saved_model_layout,
    EVERYONE,
    "zip the files of the folder, not the folder",
)
def _saved_model_is_flat(subject: Subject) -> Iterator[Fault]:
    name = weights_file(subject.rdf, SAVED_MODEL)
    if name not in subject.sizes or subject.sizes[name] > LARGEST_WEIGHTS:
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


# bioimageio.core matches by position, and JDLL's interface falls back to it.
@rule(
    '"with names equal to the rdf tensor ids": DeepImageJ 2.1.16, RunnerTf: '
    "`getInputsOrThrow(name)`.",
    Code.saved_model_names,
    OLD_DEEPIMAGEJ,
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


@rule(
    "\"Keras 3's `model.export()` fails in core ✔: its `serve` endpoint returns a bare tensor and "
    'core asserts a dict."',
    Code.saved_model_endpoint,
    CORE + ZOO,
    "write it without the endpoint, as a version 1 graph",
)
def _saved_model_has_no_bare_endpoint(subject: Subject) -> Iterator[Fault]:
    if subject.saved_model and "serve" in subject.saved_model.endpoints:
        yield _saved_model(subject), "has the endpoint 'serve' of Keras's export"


@rule(
    '"NCHW (`bcyx`)": "ONNX and SavedModel of one package share one `axes`".',
    Code.axes_not_the_weights,
    EVERYONE,
    "transpose inside the network, so that every format has the described axes",
)
def _saved_model_has_the_described_axes(subject: Subject) -> Iterator[Fault]:
    model = subject.saved_model
    for side in ("inputs", "outputs") if model else ():
        held = getattr(model, side)
        for index, name in enumerate(tensor_ids(subject.rdf, side)):
            if name in held:
                where = f"{_saved_model(subject)}: {name}"
                yield from axes_faults(subject, side, index, held[name], where)
                yield from _size_faults(subject, side, index, held[name], where)


@rule(
    '"Dynamic batch, y, x"; core tests with "batch 2 ✔".',
    Code.saved_model_fixed_batch,
    CORE + ZOO,
    "convert with a dynamic batch, or describe the batch axis with size: 1",
)
def _saved_model_takes_the_described_batch(subject: Subject) -> Iterator[Fault]:
    model = subject.saved_model if subject.format_05 else None
    for index, name in enumerate(tensor_ids(subject.rdf, "inputs")):
        sizes = model.inputs.get(name) if model else None
        place = axes(at(subject.rdf, "inputs", index)).find("b")
        if sizes is None or not 0 <= place < len(sizes) or sizes[place] is None:
            continue
        if stated_shape(subject.rdf, "inputs", index)[place] is None:
            yield _saved_model(subject), f"input '{name}' takes batches of {sizes[place]} alone"


@rule(
    '"In the 0.5 zip declare a version that conda-forge has."',
    Code.tensorflow_version_unknown,
    CORE + ZOO,
    "state a release, e.g. 2.16.1",
    Severity.warning,
)
def _tensorflow_version_is_a_release(subject: Subject) -> Iterator[Fault]:
    stated = at(subject.rdf, "weights", SAVED_MODEL, "tensorflow_version")
    if stated and not re.fullmatch(r"[12]\.\d+(\.\d+)?", str(stated)):
        yield f"weights.{SAVED_MODEL}.tensorflow_version", f"is {stated!r:.40}"


def _size_faults(
    subject: Subject, side: str, index: int, sizes: Dimensions, where: str
) -> Iterator[Fault]:
    """Where an input takes one size and the description accepts more."""
    letters = axes(at(subject.rdf, side, index))
    if side == "outputs" or sizes is None or len(sizes) != len(letters):
        return
    for axis, held, stated in zip(
        letters, sizes, stated_shape(subject.rdf, side, index), strict=False
    ):
        if axis in "xyz" and held is not None and stated is None:
            yield where, f"takes {held} alone along {axis}, the description accepts more"


def _saved_model(subject: Subject) -> str:
    return str(weights_file(subject.rdf, SAVED_MODEL))
