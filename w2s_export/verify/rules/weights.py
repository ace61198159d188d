"""Rules of which weights a package holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from w2s_export.rdf.reading import ONNX, SAVED_MODEL, at, mapped, weights_file
from w2s_export.verify.clients.jdll_weights import STATE_DICT, TORCHSCRIPT
from w2s_export.verify.findings import Client, Code, Severity
from w2s_export.verify.rules.registry import JDLL, OLD_DEEPIMAGEJ, Fault, Subject, rule

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
    'DeepImageJ 3.1: "refuses keras_hdf5, tensorflow_js". JDLL 0.6.1, RunnerAdapter: a state dict '
    "alone goes to Python, and BioimageIoModelPytorch.create wants its architecture as a mapping "
    "and a .pt or .pth file.",
    Code.weights_unsupported,
    JDLL,
    "add ONNX weights",
)
def _jdll_finds_weights(subject: Subject) -> Iterator[Fault]:
    if _supported(subject) == [STATE_DICT]:
        entry = mapped(subject.rdf, "weights", STATE_DICT)
        code, source = at(entry, "architecture"), at(entry, "source")
        if not isinstance(code, Mapping):
            yield f"weights.{STATE_DICT}.architecture", f"is {code!r:.60}, no mapping"
        elif at(code, "import_from") is None and not str(at(code, "source")).endswith(".py"):
            yield f"weights.{STATE_DICT}.architecture", "is no .py file of the package"
        if source not in subject.sizes or not str(source).endswith((".pt", ".pth")):
            yield f"weights.{STATE_DICT}.source", f"is {source!r:.60}, no .pt or .pth file"
    else:
        yield from _runnable(subject, Client.deepimagej_3_1)


@rule(
    "JDLL 0.6.1, RunnerAdapter: a state dict alone is run by BioimageIoModelPytorch in a Python "
    "environment that DeepImageJ installs. Read from the source, never run here.",
    Code.python_runner,
    JDLL,
    "add ONNX weights, which run without Python",
    Severity.note,
)
def _a_state_dict_runs_in_python(subject: Subject) -> Iterator[Fault]:
    if _supported(subject) == [STATE_DICT]:
        yield f"weights.{STATE_DICT}", "is run by Python code of the package, which is not tried"


@rule(
    "JDLL 0.6.1, getSourceFileName and BioimageIoModelJava.createBioimageioModel: weights are "
    "looked for by their bare file name in the model's folder.",
    Code.weights_in_folder,
    JDLL,
    "put the weights at the zip's root",
)
def _weights_lie_at_the_root(subject: Subject) -> Iterator[Fault]:
    if subject.jdll_weights is not None:
        return
    for key in _supported(subject):
        name = weights_file(subject.rdf, key)
        if name in subject.sizes and "/" in name:
            yield f"weights.{key}.source", f"is '{name}'; '{name.rpartition('/')[2]}' is looked for"


@rule(
    "DeepImageJ 3.1: \"TensorFlow 2 is black ✔: the interface sends task 'inference', whose "
    'result goes to new shared memory that nobody reads". JDLL 0.6.1, ModelWeight: "which format '
    "is tried first is the HashMap order of the keys `onnx_v<opset>` and "
    '`tensorflow_saved_model_bundle_v<version>` ✔".',
    Code.tensorflow_first,
    JDLL,
    "add ONNX weights, and state versions that put them first: docs/clients.md",
)
def _tensorflow_2_is_not_run(subject: Subject) -> Iterator[Fault]:
    weights = subject.jdll_weights
    if weights and weights.weights_format == SAVED_MODEL and str(weights.version).startswith("2"):
        others = [key for key in _supported(subject) if key != SAVED_MODEL]
        why = f"is tried before {', '.join(others)}" if others else "is all there is"
        yield f"weights.{SAVED_MODEL}", f"{weights.version} {why}: the result is black"


def _runnable(subject: Subject, client: Client) -> Iterator[Fault]:
    formats = mapped(subject.rdf, "weights")
    if not any(formats.get(key) is not None for key in RUNNABLE[client]):
        held = ", ".join(map(str, formats)) or "none"
        yield "weights", f"holds {held}; it runs {', '.join(RUNNABLE[client])}"


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


def _supported(subject: Subject) -> list[str]:
    """Formats that JDLL's RunnerAdapter counts."""
    formats = (SAVED_MODEL, ONNX, TORCHSCRIPT, STATE_DICT)
    return [key for key in mapped(subject.rdf, "weights") if key in formats]
