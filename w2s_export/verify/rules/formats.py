"""Rules of the description as such: its place, its version, its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from w2s_export.rdf.reading import at, listed, release
from w2s_export.verify.clients.versions import CORE_KNOWS, READS
from w2s_export.verify.findings import Client, Code, Severity
from w2s_export.verify.rules.registry import (
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


@rule(
    'DeepImageJ: "`rdf.yaml` at zip root".',
    Code.rdf_name,
    DEEPIMAGEJ,
    "rename the description to rdf.yaml",
)
def _rdf_has_its_name(subject: Subject) -> Iterator[Fault]:
    if subject.package.rdf_name != "rdf.yaml":
        yield subject.package.rdf_name, "DeepImageJ looks for rdf.yaml alone"


_VERSIONS = (
    (
        'DeepImageJ 2.1 / 3.0 refuse "0.5 packages ✔".',
        OLD_DEEPIMAGEJ,
        "use the package of format 0.4",
    ),
    (
        "DeepImageJ 3.1 (JDLL 0.6.1): \"`format_version` '0.4.x' or '0.5.x'\".",
        JDLL,
        "write format 0.4.10 or 0.5.10",
    ),
    (
        'The zoo\'s bioimageio.core 0.10.4 with spec 0.5.10: "`format_version` ≤ 0.5.10".',
        (CORE[0], *ZOO),
        "write format 0.5.10",
    ),
    (
        "bioimageio.core 0.11.0 with spec 0.5.12.0 reads versions from 0.3 on.",
        (CORE[1],),
        "write format 0.5.10",
    ),
)


def _reads(client: Client) -> Callable[[Subject], Iterator[Fault]]:
    """A version that a client does not read; a number where the format wants text."""

    def unread(subject: Subject) -> Iterator[Fault]:
        if not isinstance(subject.rdf.get("format_version"), str):
            yield "format_version", f"is {subject.rdf.get('format_version')!r:.40}, no text"
        elif not READS[client].covers(release(subject.rdf)):
            yield "format_version", f"is {version_text(subject.rdf)}; {READS[client].words}"

    return unread


for _because, _clients, _remedy in _VERSIONS:
    rule(_because, Code.format_unsupported, _clients, _remedy)(_reads(_clients[0]))


@rule(
    "bioimageio.spec 0.5.12.0: \"future format_version '0.5.13' treated as '0.5.12'\" ✔.",
    Code.format_newer,
    (CORE[1],),
    "write format 0.5.10",
    Severity.warning,
)
def _core_knows_the_version(subject: Subject) -> Iterator[Fault]:
    if release(subject.rdf) > CORE_KNOWS:
        known = ".".join(map(str, CORE_KNOWS))
        yield "format_version", f"is {version_text(subject.rdf)}; read as {known}, the rest ignored"


@rule(
    "Every client runs models; bioimageio.spec reads other types as other resources.",
    Code.not_a_model,
    EVERYONE,
    "set type: model",
)
def _it_is_a_model(subject: Subject) -> Iterator[Fault]:
    if subject.rdf.get("type") != "model":
        yield "type", f"is {subject.rdf.get('type')!r:.40}, not 'model'"


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
    covers = listed(subject.rdf, "covers")
    documents += [(f"covers[{i}]", cover) for i, cover in enumerate(covers)]
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
    '2.1 / 3.0: `run("DeepImageJ Run", "model=[NAME] …")`; 3.1: "model_path=[FOLDER]".',
    Code.name_breaks_macros,
    DEEPIMAGEJ,
    "leave [ and ] out of the name",
    Severity.warning,
)
def _name_fits_a_macro(subject: Subject) -> Iterator[Fault]:
    name = subject.rdf.get("name")
    if isinstance(name, str) and set(name) & set("[]"):
        yield "name", f"'{name:.60}': a bracket ends the argument of a recorded macro"


@rule(
    '"one input, one output": DeepImageJ takes the current image as the first input; JDLL then '
    'throws "Missing input tensor".',
    Code.several_inputs,
    DEEPIMAGEJ,
    "join the inputs as channels of one",
)
def _one_image_goes_in(subject: Subject) -> Iterator[Fault]:
    if (count := len(listed(subject.rdf, "inputs"))) > 1:
        yield "inputs", f"are {count}; the current image is one"


@rule(
    '"one input, one output": what all of them were tried with.',
    Code.several_outputs,
    DEEPIMAGEJ,
    "join the outputs as channels of one",
    Severity.warning,
)
def _one_image_comes_out(subject: Subject) -> Iterator[Fault]:
    if (count := len(listed(subject.rdf, "outputs"))) > 1:
        yield "outputs", f"are {count}; macros go on with the current image alone"


def _nickname(subject: Subject) -> Iterator[Fault]:
    nickname = at(subject.rdf, "config", "bioimageio", "nickname")
    if not isinstance(nickname, str) or not nickname:
        yield "config.bioimageio.nickname", f"is {nickname!r:.40}"
