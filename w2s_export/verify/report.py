"""The verdict, as `report.json` and as tables of text."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from w2s_export import __version__
from w2s_export.io.files import write_atomically
from w2s_export.verify.findings import Client, Finding, Severity

if TYPE_CHECKING:
    from w2s_export.metrics.parity import Parity
    from w2s_export.network import HaloMeasurement
    from w2s_export.verify.clients.core_tests import CoreTest

REPORT_NAME = "report.json"
_LIBRARIES = (
    "tensorflow",
    "tensorflow-cpu",
    "keras",
    "onnx",
    "onnxruntime",
    "bioimageio.core",
    "bioimageio.spec",
    "pydantic",
    "numpy",
    "tifffile",
)


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """A zip that was verified."""

    name: str
    sha256: str
    bytes: int
    files: Mapping[str, str]
    """SHA-256 by name."""
    clients: tuple[Client, ...]
    """Programs the package is meant for."""


@dataclass(frozen=True, slots=True, eq=False)
class SampleRuns:
    """The sample and what every format made of it: pictures, too large for `report.json`."""

    name: str
    """Where the image comes from."""
    pixel_size_um: float | None
    """Side of a pixel of `image`, micrometres."""
    image: NDArray[Any]
    """(C, H, W), detector counts as stored."""
    restored: NDArray[np.float32]
    """(C', s·H, s·W), by the source."""
    outputs: Mapping[str, NDArray[np.float32]]
    """The same by each runtime and package that ran; of the shape that it gave."""

    @property
    def output_pixel_size_um(self) -> float | None:
        """Side of a pixel of `restored`, micrometres."""
        if self.pixel_size_um is None:
            return None
        scale: int = self.restored.shape[1] // self.image.shape[1]
        return self.pixel_size_um / scale


@dataclass(frozen=True, slots=True)
class ClientVerdict:
    """What one client makes of one package."""

    package: str
    client: Client
    accepts: bool
    findings: tuple[Finding, ...]
    """All that concern this client and package, warnings too."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text, for a terminal or a page."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """Everything that was checked, and what was found."""

    packages: tuple[PackageFacts, ...]
    findings: tuple[Finding, ...]
    parity: tuple[Parity, ...]
    core_tests: tuple[CoreTest, ...]
    halo: HaloMeasurement
    tolerance: float
    """Largest difference allowed between formats, part of the output's range."""
    seam_limit: float
    """Largest seam allowed between tiles, part of the output's range."""
    seconds: Mapping[str, float]
    """Time of each step."""
    sample: SampleRuns | None = field(default=None, compare=False, repr=False)

    @property
    def passed(self) -> bool:
        """Whether nothing was found that makes a package fail."""
        return all(finding.severity is not Severity.error for finding in self.findings)

    def client_verdicts(self) -> tuple[ClientVerdict, ...]:
        """Whether each client takes each package that is meant for it, and what it found."""
        verdicts = []
        for package in self.packages:
            for client in package.clients:
                minded = tuple(
                    finding
                    for finding in self.findings
                    if finding.where.startswith(package.name)
                    and (client in finding.clients or not finding.clients)
                )
                accepts = all(finding.severity is not Severity.error for finding in minded)
                verdicts.append(ClientVerdict(package.name, client, accepts, minded))
        return tuple(verdicts)

    def verdicts(self) -> dict[tuple[str, Client], bool]:
        """Whether each client takes each package that is meant for it."""
        return {
            (verdict.package, verdict.client): verdict.accepts for verdict in self.client_verdicts()
        }

    def as_json(self) -> dict[str, Any]:
        """The report as plain values; numbers that are not finite become "inf", "-inf", "nan"."""
        report: dict[str, Any] = _finite(
            {
                "report": "w2s-export verification",
                "version": 1,
                "passed": self.passed,
                "findings": [finding.as_json() for finding in self.findings],
                "clients": [
                    {"package": package, "client": client.value, "passed": passed}
                    for (package, client), passed in self.verdicts().items()
                ],
                "tolerance": {
                    "formats": self.tolerance,
                    "seams": self.seam_limit,
                    "unit": "part of the output's range",
                },
                "parity": [
                    {
                        "subject": row.subject,
                        "case": row.case,
                        "shape": list(row.shape),
                        "max_abs": row.max_abs,
                        "max_relative": row.max_relative,
                        "psnr_db": row.psnr_db,
                    }
                    for row in self.parity
                ],
                "bioimageio_core": [
                    {
                        "package": test.package,
                        "format": test.weight_format,
                        "passed": test.passed,
                        "errors": list(test.errors),
                        "seconds": test.seconds,
                    }
                    for test in self.core_tests
                ],
                "halo": {
                    "input_pixels": self.halo.halo,
                    "minimum": self.halo.minimum,
                    "tolerance": self.halo.tolerance,
                    "seams": [
                        {"halo": tried, "max_relative": seam} for tried, seam in self.halo.seams
                    ],
                },
                "packages": [
                    {
                        "name": package.name,
                        "sha256": package.sha256,
                        "bytes": package.bytes,
                        "files": dict(package.files),
                    }
                    for package in self.packages
                ],
                "environment": environment(),
                "seconds": dict(self.seconds),
            }
        )
        return report

    def write_json(self, path: Path) -> None:
        """Write `report.json`, at once or not at all.

        Raises:
            OutputError: the place cannot be written.
        """
        text = json.dumps(self.as_json(), indent=2, ensure_ascii=False, allow_nan=False)
        write_atomically(path, f"{text}\n".encode())

    def tables(self) -> tuple[Table, ...]:
        """Numbers, clients and findings; the last only where there are any."""
        numbers = tuple(
            (row.subject, row.case, f"{row.max_abs:.1e}", f"{row.max_relative:.1e}", _db(row))
            for row in self.parity
        )
        clients = tuple(
            (package, client.value, "accepts" if passed else "refuses")
            for (package, client), passed in self.verdicts().items()
        )
        tests = tuple(
            (test.package, test.weight_format, "passed" if test.passed else "failed")
            for test in self.core_tests
        )
        found = tuple(
            (f.severity.value, f.code.value, f.where, f.message, f.remedy) for f in self.findings
        )
        columns = ("what", "on", "max. difference", "of the range", "PSNR, dB")
        tables = (
            Table("The same image in every format", columns, numbers),
            Table("bioimageio.core's own test", ("package", "weights", "result"), tests),
            Table("Clients", ("package", "client", "verdict"), clients),
            Table("Findings", ("severity", "code", "where", "what", "remedy"), found),
        )
        return tuple(table for table in tables if table.rows)


def environment() -> dict[str, str]:
    """Versions of everything that took part; nothing is imported."""
    versions = {"w2s-export": __version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return {**versions, "platform": platform.platform()}


def _db(row: Parity) -> str:
    return "equal" if row.psnr_db == math.inf else f"{row.psnr_db:.1f}"


def _finite(value: Any) -> Any:
    """Strict JSON has no infinity: `float("inf")` reads what this writes."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return value
