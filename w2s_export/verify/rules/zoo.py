"""Rules of a submission to the bioimage.io zoo. Most are alerts: the package runs without."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from w2s_export.package.opening import description_names
from w2s_export.rdf.licenses import spdx_licenses
from w2s_export.rdf.reading import at, example_files, file_references, listed
from w2s_export.verify.findings import Code, Severity
from w2s_export.verify.rules.registry import ZOO, Fault, Subject, maintained, rule

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_COVER_BYTES = 500_000


@rule(
    '"missing description, authors, cite, license, documentation, tags, test or sample '
    'tensors is an ALERT"',
    Code.metadata_incomplete,
    ZOO,
    "give it with --metadata FILE.yaml",
    Severity.warning,
)
def _metadata_is_complete(subject: Subject) -> Iterator[Fault]:
    for key in ("description", "authors", "cite", "license", "documentation", "tags"):
        if not subject.rdf.get(key):
            yield key, "is missing"
    files = example_files(subject.rdf)
    for key in ("test_input", "test_output", "sample_input", "sample_output"):
        if getattr(files, key) is None:
            yield key, "is missing"


@rule(
    'The zoo asks for "maintainers with GitHub user".',
    Code.metadata_incomplete,
    ZOO,
    "name a maintainer with github_user",
    Severity.warning,
)
def _somebody_maintains_it(subject: Subject) -> Iterator[Fault]:
    if not maintained(subject.rdf):
        yield "maintainers", "nobody with a GitHub account"


@rule(
    '"License: SPDX id."',
    Code.license_unknown,
    ZOO,
    "use an SPDX identifier, e.g. CC-BY-4.0",
    Severity.warning,
)
def _license_is_spdx(subject: Subject) -> Iterator[Fault]:
    stated, known = subject.rdf.get("license"), spdx_licenses()
    if stated and known and not (isinstance(stated, str) and stated in known):
        yield "license", f"'{stated!s:.60}' is no SPDX identifier, or a deprecated one"


@rule(
    '"README needs a heading matching `#.*[vV]alidation` (else a WARNING)"',
    Code.readme_validation,
    ZOO,
    "add a section '## Validation'",
    Severity.warning,
)
def _readme_has_a_validation_section(subject: Subject) -> Iterator[Fault]:
    name = subject.rdf.get("documentation")
    name = at(name, "source") or name
    data = subject.read(name, 10 << 20) if isinstance(name, str) else None
    if data is not None and not re.search(r"#.*[vV]alidation", data.decode("utf-8", "replace")):
        yield str(name), "has no heading with 'Validation'"


@rule(
    '"Cover: <500 KB, 2:1 or 1:1, PNG/JPEG."',
    Code.cover_unsuitable,
    ZOO,
    "PNG or JPEG, 2:1 or 1:1, below 500 KB",
    Severity.warning,
)
def _cover_is_suitable(subject: Subject) -> Iterator[Fault]:
    covers = [name for name in listed(subject.rdf, "covers") if isinstance(name, str)]
    if not covers:
        yield "covers", "there is none"
    for name in covers:
        data = subject.read(name)
        if data is None:
            continue
        if not data.startswith((_PNG, _JPEG)):
            yield name, "is neither PNG nor JPEG"
        elif len(data) >= _COVER_BYTES:
            yield name, f"has {len(data)} bytes"
        elif (size := _picture_size(data)) and size[0] not in (size[1], 2 * size[1]):
            yield name, f"is {size[0]}×{size[1]}"


@rule(
    '"removes `config.bioimageio` (tolerances lost): must pass at DEFAULT tolerances"',
    Code.tolerance_relaxed,
    ZOO,
    "remove it: the uploader does",
    Severity.warning,
)
def _tolerances_are_the_default(subject: Subject) -> Iterator[Fault]:
    for key in ("reproducibility_tolerance", "test_kwargs"):
        if at(subject.rdf, "config", "bioimageio", key):
            yield f"config.bioimageio.{key}", "is lost on upload, tests run at the default"


@rule(
    '"leave `id` unset for a first submission". bioimageio.spec 0.5.12, upload: "You cannot upload '
    'a resource with an id"; the server makes one, {animal_adjective}-{animal}, and its emoji.',
    Code.id_set,
    ZOO,
    "leave id and id_emoji unset, the zoo assigns them",
    Severity.warning,
)
def _id_is_left_to_the_zoo(subject: Subject) -> Iterator[Fault]:
    for key in ("id", "id_emoji"):
        if subject.rdf.get(key):
            yield key, f"is '{subject.rdf[key]!s:.60}'"


@rule(
    'zoo uploader: "flat zip"',
    Code.zip_not_flat,
    ZOO,
    "put every file at the zip's root",
)
def _zip_is_flat(subject: Subject) -> Iterator[Fault]:
    for name in [name for name in subject.sizes if "/" in name][:1]:
        yield name, "lies in a folder"


@rule(
    'zoo uploader: "renames rdf"',
    Code.upload_breaks,
    ZOO,
    "hold one description, and name it nowhere",
)
def _a_renamed_description_harms_nothing(subject: Subject) -> Iterator[Fault]:
    others = description_names(subject.sizes)
    if len(others) > 1:
        yield others[1], f"is a second description beside {others[0]}"
    for reference in file_references(subject.rdf):
        if reference.name == subject.package.rdf_name:
            yield reference.where, "names the description itself"


@rule('"No `run_mode`."', Code.run_mode_set, ZOO, "remove run_mode", Severity.warning)
def _no_run_mode(subject: Subject) -> Iterator[Fault]:
    if subject.rdf.get("run_mode"):
        yield "run_mode", "asks for a special consumer"


def _picture_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG or JPEG, from its header."""
    if data.startswith(_PNG):
        return struct.unpack_from(">II", data, 16) if len(data) >= 24 else None
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame, and no table
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        place += 2 + length
    return None
