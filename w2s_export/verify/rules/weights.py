"""Rules of which weights a package holds."""

from __future__ import annotations

from collections.abc import Iterator

from w2s_export.rdf.stated import ONNX, SAVED_MODEL, at, mapped
from w2s_export.verify.findings import Client, Code, Severity
from w2s_export.verify.rules.registry import CORE, JDLL, OLD_DEEPIMAGEJ, ZOO, Fault, Subject, rule

TORCHSCRIPT = "torchscript"
RUNNABLE = {
    **dict.fromkeys(OLD_DEEPIMAGEJ, (SAVED_MODEL, TORCHSCRIPT)),
    **dict.fromkeys(JDLL, (SAVED_MODEL, ONNX, TORCHSCRIPT)),
}
"""Formats that each DeepImageJ runs; the others take every format of the specification."""


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
    formats = mapped(subject.rdf, "weights")
    if not any(key in formats for key in RUNNABLE[client]):
        held = ", ".join(map(str, formats)) or "none"
        yield "weights", f"holds {held}; it runs {', '.join(RUNNABLE[client])}"


@rule(
    '"Exactly one weights entry lacks `parent`."',
    Code.weights_parent,
    CORE + ZOO,
    "give every weights entry but the first its parent",
)
def _one_entry_has_no_parent(subject: Subject) -> Iterator[Fault]:
    entries = mapped(subject.rdf, "weights")
    originals = [key for key in entries if at(entries, key, "parent") is None]
    if entries and len(originals) != 1:
        yield (
            "weights",
            f"{len(originals)} entries have no parent: {', '.join(map(str, originals))}",
        )


@rule(
    'DeepImageJ 3.1: "TF hidden on macOS ARM".',
    Code.tensorflow_alone,
    JDLL,
    "add ONNX weights",
    Severity.warning,
)
def _macs_find_weights(subject: Subject) -> Iterator[Fault]:
    formats = mapped(subject.rdf, "weights")
    if SAVED_MODEL in formats and not {ONNX, TORCHSCRIPT} & set(formats):
        yield f"weights.{SAVED_MODEL}", "is not offered on Macs with Apple processors"
