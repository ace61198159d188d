"""The verification of one package, of anybody's making: will it run, and where?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from w2s_export.clock import StageClock
from w2s_export.metrics.parity import Parity
from w2s_export.package.opening import OpenedPackage, OpeningError, OpeningFault, open_package
from w2s_export.verify.contents import check_files, unpack
from w2s_export.verify.findings import Client, Code, Finding
from w2s_export.verify.rules.registry import check_rules, intended_clients, version_text
from w2s_export.verify.specification import check_specification
from w2s_export.verify.verdicts import Verdict, judge

_REMEDIES = {
    OpeningFault.nested: "zip the files themselves, not the folder they lie in",
    OpeningFault.rdf_missing: "put rdf.yaml at the zip's root",
    OpeningFault.rdf_aliases: "write the values out instead of *name",
    OpeningFault.not_a_zip: "give the package's zip",
    OpeningFault.truncated: "fetch or write the package again",
    OpeningFault.compression: "zip with deflate or without compression",
}


@dataclass(frozen=True, slots=True)
class PackageReport:
    """Everything that was found in a package."""

    package: str
    """Name of the zip."""
    format_version: str
    """Of the description; empty where it could not be read."""
    verdicts: tuple[Verdict, ...]
    """One a client."""
    findings: tuple[Finding, ...]
    parity: tuple[Parity, ...]
    """Its weights' outputs against what it says they are; empty with rules alone."""
    seconds: Mapping[str, float]

    def refusing(self, clients: tuple[Client, ...] = ()) -> tuple[Client, ...]:
        """Those of the clients that would refuse it; of those it is meant for by default."""
        return tuple(
            verdict.client
            for verdict in self.verdicts
            if not verdict.accepts and (verdict.client in clients if clients else verdict.meant)
        )

    def as_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "report": "w2s-export package verification",
            "version": 1,
            "package": self.package,
            "format_version": self.format_version,
            "verdicts": [verdict.as_json() for verdict in self.verdicts],
            "findings": [finding.as_json() for finding in self.findings],
            "parity": [
                {
                    "subject": row.subject,
                    "case": row.case,
                    "max_abs": str(row.max_abs) if row.max_abs == float("inf") else row.max_abs,
                    "max_relative": (
                        "inf" if row.max_relative == float("inf") else row.max_relative
                    ),
                }
                for row in self.parity
            ],
            "seconds": dict(self.seconds),
        }


def verify_package(
    path: Path, *, rules_only: bool = False, progress: Callable[[str], None] = lambda _: None
) -> PackageReport:
    """Check a package against every client's rules, and run its weights on its test tensors.

    Nothing in the package is executed but graphs of numbers, and those in another process.

    Args:
        path: the zip.
        rules_only: do not run the weights; no framework is loaded.
        progress: called with a short text when a step begins.

    Raises:
        PackageError: the file cannot be read at all.
    """
    clock = StageClock(progress)
    clock("reading the package")
    try:
        package = open_package(path)
    except OpeningError as error:
        if error.fault is OpeningFault.absent:
            raise
        finding = _unopened(path, error)
        verdicts = judge([finding], tuple(Client))
        return PackageReport(path.name, "", verdicts, (finding,), (), clock.finish())
    clock("client rules")
    findings = check_rules(package, tuple(Client)) + check_specification(package)
    parity: list[Parity] = []
    if rules_only:
        findings += check_files(package)
    else:
        parity = _run(package, findings, clock)
    return PackageReport(
        package=path.name,
        format_version=version_text(package.rdf),
        verdicts=judge(findings, intended_clients(package.rdf)),
        findings=tuple(dict.fromkeys(findings)),
        parity=tuple(parity),
        seconds=clock.finish(),
    )


def _run(
    package: OpenedPackage, findings: list[Finding], clock: Callable[[str], None]
) -> list[Parity]:
    from w2s_export.verify.running import run_weights

    with tempfile.TemporaryDirectory(prefix="w2s-export-verify-") as folder:
        clock("unpacking")
        contents, found = unpack(package.path, Path(folder))
        findings += found
        clock("running the weights")
        rows, found = run_weights(contents)
        findings += found
    return rows


def _unopened(path: Path, error: OpeningError) -> Finding:
    message = str(error).removeprefix(f"{path}: ")
    remedy = _REMEDIES.get(error.fault, "write the package again")
    because = "Nothing opens it, or nothing should."
    return Finding(Code(error.fault.value), path.name, message, remedy=remedy, because=because)
