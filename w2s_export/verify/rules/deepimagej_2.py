"""Rules of `config.deepimagej`, which format 0.4 carries and DeepImageJ reads by Java casts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from w2s_export.rdf.reading import at, listed, mapped
from w2s_export.verify.findings import Code
from w2s_export.verify.rules.registry import JDLL, OLD_DEEPIMAGEJ, Fault, Subject, rule

_CONFIG = "config.deepimagej"
_RUN_MACRO = "ij.IJ::runMacroFile"


@rule(
    'DeepImageJ 2.1 / 3.0: "`config.deepimagej` complete".',
    Code.deepimagej_missing,
    OLD_DEEPIMAGEJ,
    "add the whole of config.deepimagej",
)
def _deepimagej_is_configured(subject: Subject) -> Iterator[Fault]:
    config = _config(subject)
    if not config:
        yield _CONFIG, "is missing: without it the model is not listed"
        return
    # model_keys may be missing: Parameters.java of 2.1.16 looks for the key before it reads it.
    keys = ("pyramidal_model", "prediction", "test_information", "allow_tiling")
    for key in keys:
        if key not in config:
            yield f"{_CONFIG}.{key}", "is missing"


# JDLL's ModelDescriptorV04.isTilingAllowed is true where there is no config.deepimagej at all, so
# DeepImageJ 3.1 takes such a package; a section without the key reads as false.
@rule(
    '"allow_tiling: true (without it every reference-tensor model breaks in 3.1 ✔)"',
    Code.deepimagej_tiling,
    JDLL,
    "set allow_tiling: true",
)
def _tiling_is_allowed(subject: Subject) -> Iterator[Fault]:
    config = _config(subject)
    refer = any(
        at(output, "shape", "reference_tensor") for output in listed(subject.rdf, "outputs")
    )
    allowed = config.get("allow_tiling")
    if config and (refer or subject.format_05) and allowed is not True:
        yield f"{_CONFIG}.allow_tiling", f"is {allowed!r:.40}"
    elif config and not isinstance(allowed, bool) and "allow_tiling" in config:
        yield f"{_CONFIG}.allow_tiling", f"is {allowed!r:.40}, cast to boolean"


@rule(
    '"booleans `pyramidal_model: false`"',
    Code.deepimagej_pyramidal,
    OLD_DEEPIMAGEJ,
    "set pyramidal_model: false",
)
def _model_is_not_pyramidal(subject: Subject) -> Iterator[Fault]:
    config = _config(subject)
    if config and config.get("pyramidal_model") is not False:
        yield f"{_CONFIG}.pyramidal_model", f"is {config.get('pyramidal_model')!r:.40}"


@rule(
    '"booleans `pyramidal_model: false`": JDLL casts what is there.',
    Code.deepimagej_pyramidal,
    JDLL,
    "set pyramidal_model: false",
)
def _pyramidal_is_a_boolean(subject: Subject) -> Iterator[Fault]:
    config = _config(subject)
    stated = config.get("pyramidal_model", False)
    if not isinstance(stated, bool):
        yield f"{_CONFIG}.pyramidal_model", f"is {stated!r:.40}, cast to boolean"


@rule(
    '"`model_keys: null`"',
    Code.deepimagej_model_keys,
    OLD_DEEPIMAGEJ,
    "set model_keys: null",
)
def _model_keys_are_null(subject: Subject) -> Iterator[Fault]:
    keys = _config(subject).get("model_keys")
    if keys is not None and not isinstance(keys, Mapping):
        yield f"{_CONFIG}.model_keys", f"is {keys!r:.40}: ClassCastException"


@rule(
    '"prediction.preprocess/postprocess as lists of `{spec: "ij.IJ::runMacroFile", kwargs: '
    'FILE.ijm}` (none: `[{spec: null}]`)"; "at most two a stage; distinct file names".',
    Code.deepimagej_macros,
    OLD_DEEPIMAGEJ,
    "list {spec: ij.IJ::runMacroFile, kwargs: FILE.ijm}",
)
def _macros_are_listed_and_there(subject: Subject) -> Iterator[Fault]:
    prediction = _config(subject).get("prediction")
    if prediction is None:
        return
    names: list[str] = []
    for stage in ("preprocess", "postprocess"):
        where = f"{_CONFIG}.prediction.{stage}"
        calls = at(prediction, stage)
        if not isinstance(calls, list) or not calls:
            yield where, f"is {calls!r:.60}, a list is cast"
            continue
        if len(calls) > 2:
            yield where, f"has {len(calls)} macros, at most 2 are run"
        for call in calls:
            spec, name = at(call, "spec"), at(call, "kwargs")
            if spec is None and isinstance(call, Mapping):
                continue
            if spec != _RUN_MACRO or not isinstance(name, str):
                yield where, f"holds {call!r:.80}"
            elif name not in subject.sizes:
                yield where, f"names '{name}', which the zip does not hold"
            else:
                names.append(name)
    if len(set(names)) < len(names):
        yield f"{_CONFIG}.prediction", f"runs the same file twice: {names}"


@rule(
    '"`test_information` with as many inputs/outputs as the rdf (each `name`, `size: "48 x 64 '
    'x 1 x 1"`, `pixel_size: {x,y,z}`; outputs `type: image`)"',
    Code.deepimagej_test_information,
    OLD_DEEPIMAGEJ,
    "describe each test image",
)
def _test_images_are_described(subject: Subject) -> Iterator[Fault]:
    information = _config(subject).get("test_information")
    if information is None:
        return
    for side in ("inputs", "outputs"):
        where = f"{_CONFIG}.test_information.{side}"
        entries = at(information, side)
        count = len(listed(subject.rdf, side))
        if not isinstance(entries, list) or len(entries) != count:
            yield where, f"must list {count}, got {entries!r:.60}"
            continue
        for entry in entries:
            size, pixel = at(entry, "size"), at(entry, "pixel_size")
            if not isinstance(at(entry, "name"), str):
                yield where, "an entry has no name"
            if not isinstance(size, str) or not all(p.strip().isdecimal() for p in size.split("x")):
                yield where, f"size is {size!r:.40}, read is '48 x 64 x 1 x 1'"
            stated = isinstance(pixel, Mapping) and {"x", "y", "z"} <= set(pixel)
            if not stated and (side == "inputs" or pixel is not None):
                yield where, f"pixel_size is {pixel!r:.60}, read are x, y and z"
            if side == "outputs" and at(entry, "type") != "image":
                yield where, f"type is {at(entry, 'type')!r:.40}, read is 'image'"


@rule(
    '"`memory_peak` as a STRING ("0.1 Gb"; a number crashes V2), `runtime` string"',
    Code.deepimagej_memory_peak,
    OLD_DEEPIMAGEJ,
    'write strings, e.g. memory_peak: "0.1 Gb"',
)
def _peak_and_runtime_are_strings(subject: Subject) -> Iterator[Fault]:
    information = _config(subject).get("test_information")
    for key in ("memory_peak", "runtime") if information is not None else ():
        value = at(information, key)
        if value is not None and not isinstance(value, str):  # null passes a cast
            yield f"{_CONFIG}.test_information.{key}", f"is {value!r:.40}: ClassCastException"


def _config(subject: Subject) -> Mapping[str, object]:
    return mapped(subject.rdf, "config", "deepimagej")
