"""What each client demands of a package, as small functions with the demand quoted above each.

A rule needs the description, the list of files and the headers of the weights: no framework. The
demands were read from the clients' sources and, where marked ✔, seen by running the client:
deepimagej-plugin 2.1.16, 3.0 and c84362b (3.1.0-SNAPSHOT), JDLL dl-modelrunner 0.6.1 (inside 3.1),
bioimageio.core 0.10.4 and 0.11.0 with bioimageio.spec 0.5.10 and 0.5.12.0, the zoo's uploader.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

from w2s_export.errors import PackageError
from w2s_export.package.opening import MAX_RATIO, OpenedPackage
from w2s_export.rdf.reading import (
    ONNX,
    SAVED_MODEL,
    DescriptionError,
    at,
    is_05,
    listed,
    release,
    weights_file,
)
from w2s_export.verify.clients.jdll_axes import JdllError
from w2s_export.verify.clients.jdll_weights import Weights, chosen_weights
from w2s_export.verify.findings import Client, Code, Finding, Severity, internal_error
from w2s_export.verify.protobuf import (
    OnnxHeader,
    SavedModelHeader,
    WireError,
    read_onnx,
    read_saved_model,
)

Fault = tuple[str, str]
"""Where (a field or file of the package) and what is wrong."""

OLD_DEEPIMAGEJ = (Client.deepimagej_2_1, Client.deepimagej_3_0)
JDLL = (Client.deepimagej_3_1,)
DEEPIMAGEJ = OLD_DEEPIMAGEJ + JDLL
CORE = (Client.core_0_10, Client.core_0_11)
ZOO = (Client.zoo,)
EVERYONE = DEEPIMAGEJ + CORE + ZOO

LARGEST_WEIGHTS = 1 << 30
"""Larger weights are not looked into: rules answer in seconds and bounded memory."""


class Subject:
    """A package as rules see it."""

    def __init__(self, package: OpenedPackage) -> None:
        self.package = package
        self.rdf: Mapping[str, Any] = package.rdf
        self.sizes = package.sizes
        self.refusing: set[Client] = set()
        """Clients that a rule has found an error for so far."""

    @cached_property
    def format_05(self) -> bool:
        """Whether the description is of format 0.5 or later."""
        return is_05(self.rdf)

    def read(self, name: str | None, limit: int = 64 << 20) -> bytes | None:
        """A file's content; None where it is not there, damaged or larger than `limit`."""
        if name is None:
            return None
        try:
            return self.package.read(name, limit)
        except PackageError:
            return None

    @cached_property
    def jdll_weights(self) -> Weights | None:
        """The weights that DeepImageJ 3.1 runs, None where it finds none."""
        try:
            return chosen_weights(self.rdf, self.sizes)
        except JdllError:
            return None

    @cached_property
    def onnx(self) -> OnnxHeader | None:
        """Header of the ONNX file, None where there is none or it cannot be read."""
        data = self.read(weights_file(self.rdf, ONNX), LARGEST_WEIGHTS)
        try:
            return read_onnx(data) if data is not None else None
        except WireError:
            return None

    @cached_property
    def saved_model_files(self) -> dict[str, int] | None:
        """Members of the zipped SavedModel and their sizes, None where it is no zip."""
        try:
            with zipfile.ZipFile(io.BytesIO(self._saved_model or b"")) as archive:
                return {member.filename: member.file_size for member in archive.infolist()}
        except (zipfile.BadZipFile, OSError, ValueError):
            return None

    @cached_property
    def saved_model(self) -> SavedModelHeader | None:
        """Header of the zipped SavedModel, None where it cannot be read."""
        try:
            with zipfile.ZipFile(io.BytesIO(self._saved_model or b"")) as archive:
                member = archive.getinfo("saved_model.pb")
                most = min(LARGEST_WEIGHTS, max(1 << 20, MAX_RATIO * member.compress_size))
                if member.file_size > most:
                    return None
                return read_saved_model(archive.read(member))
        except (WireError, zipfile.BadZipFile, zlib.error, *_UNREADABLE):
            return None

    @cached_property
    def _saved_model(self) -> bytes | None:
        return self.read(weights_file(self.rdf, SAVED_MODEL), LARGEST_WEIGHTS)


_UNREADABLE = (OSError, ValueError, KeyError, EOFError, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Rule:
    """One demand."""

    because: str
    """The demand, quoted."""
    code: Code
    clients: tuple[Client, ...]
    """Who makes it."""
    remedy: str
    severity: Severity
    check: Callable[[Subject], Iterator[Fault]]
    """Yields each place that does not meet the demand."""

    @property
    def weights_format(self) -> str:
        """The weights format it is about; empty for the whole package."""
        return {"onnx": ONNX, "saved_model": SAVED_MODEL}.get(
            self.check.__module__.rpartition(".")[2], ""
        )


RULES: list[Rule] = []
_MODULES = (
    "formats",
    "processing",
    "weights",
    "onnx",
    "saved_model",
    "shapes",
    "deepimagej_2",
    "zoo",
    "jdll",  # the last: it speaks where the rules above have found nothing
)
"""Each registers its rules when it is imported."""


def rule(
    because: str,
    code: Code,
    clients: tuple[Client, ...],
    remedy: str,
    severity: Severity = Severity.error,
) -> Callable[[Callable[[Subject], Iterator[Fault]]], Callable[[Subject], Iterator[Fault]]]:
    """Register a function as the check of a rule."""

    def register(
        check: Callable[[Subject], Iterator[Fault]],
    ) -> Callable[[Subject], Iterator[Fault]]:
        reason = because.replace("✔", "(seen)")  # alone, a tick reads as approval
        RULES.append(Rule(reason, code, clients, remedy, severity, check))
        return check

    return register


def intended_clients(rdf: Mapping[str, Any]) -> tuple[Client, ...]:
    """Whom a package is for: 0.4 for every DeepImageJ, 0.5 for DeepImageJ 3.1, either for core.

    0.5 is for the zoo too where somebody with a GitHub account maintains the model: nobody else can
    submit it.
    """
    if not is_05(rdf):
        return (*DEEPIMAGEJ, *CORE)
    return (*JDLL, *CORE, *ZOO) if maintained(rdf) else (*JDLL, *CORE)


def maintained(rdf: Mapping[str, Any]) -> bool:
    """Whether a maintainer has a GitHub account."""
    return any(at(person, "github_user") for person in listed(rdf, "maintainers"))


def check_rules(package: OpenedPackage, clients: tuple[Client, ...] | None = None) -> list[Finding]:
    """Check a package against every rule of the clients, by default those it is meant for."""
    for module in _MODULES:
        import_module(f"{__package__}.{module}")
    wanted = clients if clients is not None else intended_clients(package.rdf)
    subject = Subject(package)
    findings: list[Finding] = []
    for entry in RULES:
        minding = tuple(c for c in entry.clients if c in wanted and not _spared(entry, subject, c))
        if not minding:
            continue
        about: dict[str, Any] = {
            "clients": minding,
            "package": package.path.name,
            "format": entry.weights_format,
        }
        before = len(findings)
        try:
            findings += [
                Finding(
                    code=entry.code,
                    where=where,
                    message=message,
                    severity=entry.severity,
                    remedy=entry.remedy,
                    because=entry.because,
                    **about,
                )
                for where, message in entry.check(subject)
            ]
        except DescriptionError as error:
            message = f"cannot be checked for {entry.code.value}: {error}"
            findings.append(Finding(Code.rdf_malformed, package.rdf_name, message, **about))
        except MemoryError:
            raise  # not the description's doing
        except Exception as error:
            findings.append(internal_error(entry.code.value, error, **about))
        if any(finding.severity is Severity.error for finding in findings[before:]):
            subject.refusing.update(minding)
    return list(dict.fromkeys(findings))


def _spared(entry: Rule, subject: Subject, client: Client) -> bool:
    """Whether a rule is about weights that DeepImageJ 3.1 does not run, because it runs others."""
    topic = entry.weights_format
    runs = subject.jdll_weights if topic and client is Client.deepimagej_3_1 else None
    return runs is not None and runs.weights_format != topic


def version_text(rdf: Mapping[str, Any]) -> str:
    """Format version for a message."""
    return ".".join(map(str, release(rdf))) or repr(rdf.get("format_version"))
