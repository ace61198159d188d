"""Rules of the description as such: its place, its version, its parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from w2s_export.verify.described import at, is_05, release
from w2s_export.verify.findings import Code, Severity
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
    version_text,
)

_JDLL_PROCESSING = {
    "scale_range",
    "scale_linear",
    "zero_mean_unit_variance",
    "fixed_zero_mean_unit_variance",
    "clip",
    "binarize",
    "sigmoid",
}


@rule(
    'DeepImageJ: "`rdf.yaml` at zip root".',
    Code.rdf_name,
    DEEPIMAGEJ,
    "rename the description to rdf.yaml",
)
def _rdf_has_its_name(subject: Subject) -> Iterator[Fault]:
    if subject.package.rdf_name != "rdf.yaml":
        yield subject.package.rdf_name, "DeepImageJ looks for rdf.yaml alone"


@rule(
    'DeepImageJ 2.1 / 3.0 refuse "0.5 packages ✔".',
    Code.format_unsupported,
    OLD_DEEPIMAGEJ,
    "use the package of format 0.4",
)
def _old_deepimagej_reads_04(subject: Subject) -> Iterator[Fault]:
    if release(subject.rdf)[:2] != (0, 4):
        yield "format_version", f"is {version_text(subject.rdf)}; these versions read 0.4 alone"


@rule(
    "DeepImageJ 3.1 (JDLL 0.6.1): \"`format_version` '0.4.x' or '0.5.x'\".",
    Code.format_unsupported,
    JDLL,
    "write format 0.4.10 or 0.5.10",
)
def _jdll_reads_04_and_05(subject: Subject) -> Iterator[Fault]:
    if release(subject.rdf)[:2] not in ((0, 4), (0, 5)):
        yield "format_version", f"is {version_text(subject.rdf)}; JDLL reads 0.4.x and 0.5.x"


@rule(
    'The zoo\'s bioimageio.core 0.10.4 with spec 0.5.10: "`format_version` ≤ 0.5.10".',
    Code.format_unsupported,
    (CORE[0], *ZOO),
    "write format 0.5.10",
)
def _zoo_reads_up_to_0510(subject: Subject) -> Iterator[Fault]:
    if not (0, 3) <= release(subject.rdf) <= (0, 5, 10):
        yield "format_version", f"is {version_text(subject.rdf)}; the zoo reads up to 0.5.10"


@rule(
    "bioimageio.core 0.11.0 with spec 0.5.12.0.",
    Code.format_unsupported,
    (CORE[1],),
    "write format 0.5.10",
)
def _core_reads_up_to_0512(subject: Subject) -> Iterator[Fault]:
    if not (0, 3) <= release(subject.rdf) < (0, 6):
        yield "format_version", f"is {version_text(subject.rdf)}; bioimageio.spec reads 0.5"


@rule(
    'JDLL: "Missing `weights`, `inputs` or `outputs` is an NPE"; the specification requires them.',
    Code.rdf_incomplete,
    EVERYONE,
    "describe the tensors and the weights",
)
def _tensors_and_weights_are_described(subject: Subject) -> Iterator[Fault]:
    for key, kind in (("weights", dict), ("inputs", list), ("outputs", list)):
        value = subject.rdf.get(key)
        if not value or not isinstance(value, kind):
            yield key, f"is {value!r:.40}; clients crash without it"


@rule(
    'JDLL 0.5: "documentation/covers as mappings (0.5.11+: ClassCastException)"; core 0.10.4 '
    'refuses "0.5.11+ mappings `{source, sha256}` ✔".',
    Code.documents_as_mappings,
    (*JDLL, CORE[0], *ZOO),
    "write the file name as a plain string, as formats up to 0.5.10 do",
)
def _documents_are_strings(subject: Subject) -> Iterator[Fault]:
    documents = [("documentation", subject.rdf.get("documentation"))]
    covers = subject.rdf.get("covers")
    documents += [(f"covers[{i}]", cover) for i, cover in enumerate(covers or ())]
    for where, value in documents:
        if value is not None and not isinstance(value, str):
            yield where, f"is {type(value).__name__}; JDLL and core 0.10.4 read a string"


@rule('JDLL: drops a model with "no `name`".', Code.name_missing, EVERYONE, "give the model a name")
def _model_has_a_name(subject: Subject) -> Iterator[Fault]:
    name = subject.rdf.get("name")
    if not isinstance(name, str) or not name.strip():
        yield "name", f"is {name!r:.40}"


@rule(
    'JDLL: "drops a 0.5 model with `config` but neither `id` nor `config.bioimageio.nickname`".',
    Code.nickname_missing,
    JDLL,
    "set config.bioimageio.nickname",
)
def _model_of_05_has_a_nickname(subject: Subject) -> Iterator[Fault]:
    if subject.format_05 and subject.rdf.get("config") and not subject.rdf.get("id"):
        yield from _nickname(subject)


@rule(
    'JDLL, 0.4: without a nickname "a `friend-N` that changes at each parse and breaks '
    'recorded macros".',
    Code.nickname_missing,
    JDLL,
    "set config.bioimageio.nickname",
    Severity.warning,
)
def _model_of_04_has_a_nickname(subject: Subject) -> Iterator[Fault]:
    if not subject.format_05:
        yield from _nickname(subject)


@rule(
    'JDLL: "supports scale_range, scale_linear, zero_mean_unit_variance, '
    "fixed_zero_mean_unit_variance, clip (both bounds), binarize, sigmoid; any other name "
    'throws at run time".',
    Code.processing_unknown,
    JDLL,
    "describe it by steps that JDLL knows",
)
def _processing_is_known(subject: Subject) -> Iterator[Fault]:
    for where, step in _processing(subject):
        name = at(step, "id") or at(step, "name")
        if name not in _JDLL_PROCESSING:
            yield where, f"'{name}' throws at run time; JDLL knows {sorted(_JDLL_PROCESSING)}"
        elif name == "clip" and None in (at(step, "kwargs", "min"), at(step, "kwargs", "max")):
            yield where, "clip needs both bounds in JDLL"


@rule(
    'JDLL: "No per-channel scale_linear arrays (only the first is used), no `axes` on '
    'zero_mean_unit_variance".',
    Code.processing_per_channel,
    JDLL,
    "use one gain and offset for all channels",
)
def _processing_is_the_same_for_every_channel(subject: Subject) -> Iterator[Fault]:
    for where, step in _processing(subject):
        name = at(step, "id") or at(step, "name")
        values = [at(step, "kwargs", key) for key in ("gain", "offset")]
        if name == "scale_linear" and any(isinstance(v, list) and len(v) > 1 for v in values):
            yield where, "JDLL uses the first value of a list for every channel"
        if name == "zero_mean_unit_variance" and at(step, "kwargs", "axes") is not None:
            yield where, "JDLL ignores the axes of zero_mean_unit_variance"


@rule(
    "Both runtimes are fed float32: JDLL converts to the stated type before the engine sees it.",
    Code.tensor_not_float32,
    EVERYONE,
    "state float32 and convert the network to it",
)
def _tensors_are_float32(subject: Subject) -> Iterator[Fault]:
    for side in ("inputs", "outputs"):
        for index, tensor in enumerate(at(subject.rdf, side) or ()):
            data = at(tensor, "data", "type") if is_05(subject.rdf) else at(tensor, "data_type")
            if data not in (None, "float32"):
                yield f"{side}[{index}]", f"is {data!r:.40}; networks of images take float32"


def _nickname(subject: Subject) -> Iterator[Fault]:
    nickname = at(subject.rdf, "config", "bioimageio", "nickname")
    if not isinstance(nickname, str) or not nickname:
        yield "config.bioimageio.nickname", f"is {nickname!r:.40}"


def _processing(subject: Subject) -> Iterator[tuple[str, Any]]:
    for side, key in (("inputs", "preprocessing"), ("outputs", "postprocessing")):
        for index, tensor in enumerate(at(subject.rdf, side) or ()):
            for number, step in enumerate(at(tensor, key) or ()):
                yield f"{side}[{index}].{key}[{number}]", step
