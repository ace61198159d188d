"""Rules of pre- and post-processing: of the rdf, and of the macros that 2.1 and 3.0 run instead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from w2s_export.errors import PackageError
from w2s_export.rdf.reading import at, axes, axis_letter, listed, mapped, stated_shape, tensor_ids
from w2s_export.verify.clients.core_processing import postprocess, preprocess
from w2s_export.verify.clients.jdll_axes import JdllError, read_model
from w2s_export.verify.clients.jdll_processing import SETTERS, read_steps
from w2s_export.verify.findings import Client, Code, Severity
from w2s_export.verify.rules.registry import CORE, JDLL, OLD_DEEPIMAGEJ, ZOO, Fault, Subject, rule
from w2s_export.verify.rules.shapes import example_array

_CALLS = ("config", "deepimagej", "prediction")
_LARGEST_MACRO = 1 << 20
_KNOWN = {*SETTERS, "softmax", "scale_mean_variance"}
"""Steps that our model of core knows; it has others, which run code of their own."""


@rule(
    "JDLL 0.6.1, TransformationInstance: a step is a class <Name>Transformation, an argument a "
    'setter set<Name>; "any other name throws at run time". Steps whose id is ensure_dtype are '
    "left out while reading (TensorSpecV04 and V05); format 0.4 calls steps by name, so there one "
    "is kept, and has no setter for dtype.",
    Code.processing_unknown,
    JDLL,
    "describe it by steps and arguments that JDLL knows: docs/clients.md",
)
def _processing_is_known(subject: Subject) -> Iterator[Fault]:
    for where, step, _ in _processing(subject):
        if at(step, "id") == "ensure_dtype":
            continue
        name = at(step, "name") or at(step, "id")
        setters = SETTERS.get(name) if isinstance(name, str) else None
        if setters is None:
            yield where, f"'{name}' throws at run time; JDLL knows {sorted(SETTERS)}"
            continue
        for key in mapped(step, "kwargs"):
            if key not in setters:
                yield where, f"'{name}' has no setter for '{key}' in JDLL"


@rule(
    "JDLL 0.6.1, the setters and checkRequiredArgs of each Transformation: both bounds of clip, no "
    "null, one threshold, a mean with the mode fixed alone, lists with axes alone.",
    Code.processing_unknown,
    JDLL,
    "describe it as JDLL takes it: docs/clients.md",
)
def _processing_is_taken(subject: Subject) -> Iterator[Fault]:
    if Client.deepimagej_3_1 in subject.refusing:
        return
    try:
        model = read_model(subject.rdf)
    except PackageError:  # dropped, or several inputs: there are rules for either
        return
    try:
        for tensor in (model.input, *model.outputs):
            read_steps(tensor)
    except JdllError as error:
        yield "processing", str(error).removeprefix("DeepImageJ 3.1 ")


@rule(
    'JDLL 0.6.1, ScaleRangeTransformation.setReferenceTensor: "JDLL still does not support this '
    'processing": it takes the percentiles of the tensor itself.',
    Code.processing_unknown,
    JDLL,
    "scale by the tensor's own percentiles",
)
def _processing_refers_to_no_other_tensor(subject: Subject) -> Iterator[Fault]:
    for where, step, (side, index) in _processing(subject):
        named = at(step, "kwargs", "reference_tensor")
        own = tensor_ids(subject.rdf, side)[index]
        if named not in (None, own) and at(step, "kwargs") is not None:
            yield where, f"JDLL leaves the reference_tensor '{named}' out of account"


# JDLL's zero_mean_unit_variance takes the mean of each part and changes the whole image by it, once
# a part: harmless where the axes that are left out have length 1, as a lone channel has.
@rule(
    'JDLL: "No per-channel scale_linear arrays (only the first is used), no `axes` on '
    'zero_mean_unit_variance".',
    Code.processing_per_channel,
    JDLL,
    "use one gain and offset, or mean and deviation, for all channels",
)
def _processing_is_the_same_for_every_channel(subject: Subject) -> Iterator[Fault]:
    for where, step, (side, index) in _processing(subject):
        name = at(step, "id") or at(step, "name")
        values = [at(step, "kwargs", key) for key in ("gain", "offset")]
        if name == "scale_linear" and any(map(_differ, values)):
            yield where, "JDLL uses the first value of a list for every channel, or none"
        alone = at(step, "kwargs", "gain") if at(step, "kwargs", "axis") is None else None
        if name == "scale_linear" and isinstance(alone, list) and alone not in ([], [1], [1.0]):
            yield where, "JDLL leaves a list of gains without an axis out of account"
        named = at(step, "kwargs", "axes")
        if name == "zero_mean_unit_variance" and named is not None:
            left = _parts(subject, side, index, named)
            if left:
                yield where, f"leaves out {left}: JDLL normalises the whole by each part in turn"


@rule(
    "bioimageio.core 0.11.0, proc_ops: scale_linear with axes of format 0.4 is not implemented, a "
    "list of thresholds is compared along the last axis, statistics of an output are not there.",
    Code.processing_fails,
    CORE + ZOO,
    "describe it by a step that bioimageio.core runs",
)
def _core_runs_the_processing(subject: Subject) -> Iterator[Fault]:
    references = {
        name: array
        for index, name in enumerate(tensor_ids(subject.rdf, "inputs"))
        if (array := example_array(subject, "inputs", index)) is not None
    }
    for side, run in (("inputs", preprocess), ("outputs", postprocess)):
        for index, tensor in enumerate(listed(subject.rdf, side)):
            array = example_array(subject, side, index)
            if array is None or any(name not in _KNOWN for name in _step_names(tensor)):
                continue
            try:
                run(array, tensor, references)
            except PackageError as error:
                yield f"{side}[{index}]", str(error)


@rule(
    'DeepImageJ 2.1 / 3.0: "preprocessing ONLY through its macros"; "rdf `preprocessing` is not '
    'executed there".',
    Code.preprocessing_without_macro,
    OLD_DEEPIMAGEJ,
    "add a macro that does what the rdf says, and name it in config.deepimagej.prediction",
)
def _a_macro_does_what_the_rdf_says(subject: Subject) -> Iterator[Fault]:
    steps = [where for where, *_ in _processing(subject) if ".preprocessing[" in where]
    configured = isinstance(at(subject.rdf, "config", "deepimagej"), Mapping)
    if configured and steps and not _macros(subject, "preprocess"):
        yield steps[0], "has no macro: the network would see raw counts"


@rule(
    'DeepImageJ 3.1: "runs NO macros".',
    Code.macro_without_preprocessing,
    JDLL,
    "describe the macro's normalisation in the rdf too",
)
def _the_rdf_says_what_the_macro_does(subject: Subject) -> Iterator[Fault]:
    steps = [where for where, *_ in _processing(subject) if ".preprocessing[" in where]
    if (names := _macros(subject, "preprocess")) and not steps:
        yield "inputs[0].preprocessing", f"is empty, and '{names[0]}' is not run: raw counts go in"


@rule(
    'DeepImageJ 2.1 / 3.0: "run `IJ.runMacroFile(path)` with no argument on the current image".',
    Code.macro_argument,
    OLD_DEEPIMAGEJ,
    "work on the current image",
)
def _macros_need_no_argument(subject: Subject) -> Iterator[Fault]:
    for stage in ("preprocess", "postprocess"):
        for name in _macros(subject, stage):
            if "getArgument(" in _code(subject, name):
                yield name, "asks for an argument and gets an empty one"


@rule(
    '"ImageJ\'s own 256-bin histogram percentile is 2e-3 off numpy ✔: write an exact one"',
    Code.macro_histogram,
    OLD_DEEPIMAGEJ,
    "sort the pixels, or count every value",
    Severity.warning,
)
def _macros_normalise_exactly(subject: Subject) -> Iterator[Fault]:
    for name in _macros(subject, "preprocess"):
        if re.search(r"Enhance Contrast[^\n]*normalize", _code(subject, name)):
            yield name, "normalises by ImageJ's histogram of 256 bins"


@rule(
    "ImageJ 1.53t reads a macro's bytes as Latin-1 (measured: a µ in UTF-8 is two letters there, "
    "so a unit or the name of a file is another).",
    Code.macro_not_ascii,
    OLD_DEEPIMAGEJ,
    "write it in ASCII; µ is fromCharCode(181)",
    Severity.warning,
)
def _macros_are_ascii(subject: Subject) -> Iterator[Fault]:
    for stage in ("preprocess", "postprocess"):
        for name in _macros(subject, stage):
            if others := sorted(letter for letter in _code(subject, name) if not letter.isascii()):
                yield name, f"holds {others[0]!a}, which becomes other letters"


def _macros(subject: Subject, stage: str) -> list[str]:
    """Files that a stage runs."""
    names = [at(call, "kwargs") for call in listed(subject.rdf, *_CALLS, stage) if at(call, "spec")]
    return [name for name in names if isinstance(name, str)]


def _code(subject: Subject, name: str) -> str:
    """A macro without its comments."""
    text = (subject.read(name, _LARGEST_MACRO) or b"").decode("utf-8", "replace")
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


def _step_names(tensor: Any) -> list[str]:
    """Of all steps; empty for a name that is no text."""
    keys = ("preprocessing", "postprocessing")
    names = [at(s, "id") or at(s, "name") for key in keys for s in listed(tensor, key)]
    return [name if isinstance(name, str) else "" for name in names]


def _differ(values: Any) -> bool:
    return isinstance(values, list) and any(value != values[0] for value in values)


def _parts(subject: Subject, side: str, index: int, named: Any) -> str:
    """Axes along which a step that names some treats an image piece by piece."""
    letters = axes(at(subject.rdf, side, index))
    sizes = stated_shape(subject.rdf, side, index)
    covered = [axis_letter(str(axis)) for axis in (named if isinstance(named, list | str) else ())]
    return "".join(
        letter
        for letter, size in zip(letters, sizes, strict=False)
        if letter != "b" and letter not in covered and size != 1
    )


def _processing(subject: Subject) -> Iterator[tuple[str, Any, tuple[str, int]]]:
    """Where each step stands, the step, and the tensor it belongs to."""
    for side, key in (("inputs", "preprocessing"), ("outputs", "postprocessing")):
        for index, tensor in enumerate(listed(subject.rdf, side)):
            for number, step in enumerate(listed(tensor, key)):
                yield f"{side}[{index}].{key}[{number}]", step, (side, index)
