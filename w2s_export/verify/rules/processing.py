"""Rules of pre- and post-processing: of the rdf, and of the macros that 2.1 and 3.0 run instead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from w2s_export.rdf.stated import at, axes, listed, stated_shape
from w2s_export.verify.clients.jdll import PROCESSING
from w2s_export.verify.findings import Code, Severity
from w2s_export.verify.rules.registry import JDLL, OLD_DEEPIMAGEJ, Fault, Subject, rule

_CALLS = ("config", "deepimagej", "prediction")
_LARGEST_MACRO = 1 << 20


@rule(
    'JDLL: "supports scale_range, scale_linear, zero_mean_unit_variance, '
    "fixed_zero_mean_unit_variance, clip (both bounds), binarize, sigmoid; any other name "
    'throws at run time".',
    Code.processing_unknown,
    JDLL,
    "describe it by steps that JDLL knows",
)
def _processing_is_known(subject: Subject) -> Iterator[Fault]:
    for where, step, _ in _processing(subject):
        name = at(step, "id") or at(step, "name")
        if name not in PROCESSING:
            yield where, f"'{name}' throws at run time; JDLL knows {sorted(PROCESSING)}"
        elif name == "clip" and None in (at(step, "kwargs", "min"), at(step, "kwargs", "max")):
            yield where, "clip needs both bounds in JDLL"
        elif name == "scale_range" and at(step, "kwargs", "reference_tensor") is not None:
            yield where, "JDLL leaves the reference_tensor of scale_range out of account"


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
        if name == "scale_linear" and any(isinstance(v, list) and len(v) > 1 for v in values):
            yield where, "JDLL uses the first value of a list for every channel"
        named = at(step, "kwargs", "axes")
        if name == "zero_mean_unit_variance" and named is not None:
            left = _parts(subject, side, index, named)
            if left:
                yield where, f"leaves out {left}: JDLL normalises the whole by each part in turn"


@rule(
    'DeepImageJ 2.1 / 3.0: "preprocessing ONLY through its macros"; "rdf `preprocessing` is not '
    'executed there".',
    Code.preprocessing_without_macro,
    OLD_DEEPIMAGEJ,
    "add a macro that does what the rdf says, and name it in config.deepimagej.prediction",
)
def _a_macro_does_what_the_rdf_says(subject: Subject) -> Iterator[Fault]:
    steps = [where for where, *_ in _processing(subject) if ".preprocessing[" in where]
    if _has_config(subject) and steps and not _macros(subject, "preprocess"):
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


def _has_config(subject: Subject) -> bool:
    return isinstance(at(subject.rdf, "config", "deepimagej"), Mapping)


def _macros(subject: Subject, stage: str) -> list[str]:
    """Files that a stage runs."""
    names = [at(call, "kwargs") for call in listed(subject.rdf, *_CALLS, stage) if at(call, "spec")]
    return [name for name in names if isinstance(name, str)]


def _code(subject: Subject, name: str) -> str:
    """A macro without its comments."""
    text = (subject.read(name, _LARGEST_MACRO) or b"").decode("utf-8", "replace")
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


def _parts(subject: Subject, side: str, index: int, named: Any) -> str:
    """Axes along which a step that names some treats an image piece by piece."""
    letters = axes(at(subject.rdf, side, index))
    sizes = stated_shape(subject.rdf, side, index)
    covered = ["c" if axis == "channel" else axis for axis in named]  # of a list, or of a string
    return "".join(
        letter
        for letter, size in zip(letters, sizes, strict=True)
        if letter != "b" and letter not in covered and size != 1
    )


def _processing(subject: Subject) -> Iterator[tuple[str, Any, tuple[str, int]]]:
    """Where each step stands, the step, and the tensor it belongs to."""
    for side, key in (("inputs", "preprocessing"), ("outputs", "postprocessing")):
        for index, tensor in enumerate(listed(subject.rdf, side)):
            for number, step in enumerate(listed(tensor, key)):
                yield f"{side}[{index}].{key}[{number}]", step, (side, index)
