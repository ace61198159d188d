"""What a verification found, as values, as JSON (docs/report.schema.json) and as tables of text."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from w2s_export import __version__
from w2s_export.io.files import write_atomically
from w2s_export.metrics.parity import Parity
from w2s_export.rdf.whole_image import MEMORIES_GB
from w2s_export.verify.findings import Client, Finding
from w2s_export.verify.verdicts import Verdict

if TYPE_CHECKING:
    from w2s_export.network import HaloMeasurement
    from w2s_export.rdf.whole_image import WholeImageMemory
    from w2s_export.verify.clients.core_tests import CoreTest

REPORT_NAME = "report.json"
VERSION = 2
"""Of the JSON report: changes when a reader of it would have to."""
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


class Kind(str, Enum):
    """What a comparison is about."""

    output = "output"
    """What weights make of an input, against what they should."""
    sample = "sample"
    """What weights make of a sample, which is a picture for people, often rescaled."""
    file = "file"
    """A test tensor, a sample or the described preprocessing."""
    tiles = "tiles"
    """An image restored in tiles, against the whole."""
    client = "client"
    """An image restored as a client does it."""


@dataclass(frozen=True, slots=True)
class Comparison(Parity):
    """How far one array is from the expected one, and what that speaks for."""

    package: str
    """Name of the zip."""
    format: str
    """Weights format, a key of the rdf's `weights`; empty where none was run."""
    kind: Kind
    against: str
    """What it should be, e.g. `Keras 3.15.0`."""
    clients: tuple[Client, ...]
    """Whom it tells something about; empty for all."""

    @property
    def pair(self) -> str:
        """What was compared with what."""
        return f"{self.subject} and {self.against}"


@dataclass(slots=True)
class Gathered:
    """What the checks gather while they run."""

    findings: list[Finding] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    outputs: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """The restored sample, (C, H, W), by runtime and package."""

    def compared(
        self,
        measured: Parity,
        kind: Kind,
        against: str,
        *,
        package: str,
        weights_format: str = "",
        clients: tuple[Client, ...] = (),
    ) -> Comparison:
        """Add a comparison: the subject and the case are those of the measurement."""
        row = Comparison(
            **asdict(measured),
            package=package,
            format=weights_format,
            kind=kind,
            against=against,
            clients=clients,
        )
        self.comparisons.append(row)
        return row


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """A zip that was verified."""

    name: str
    format_version: str
    """Of the description; empty where it could not be read."""
    sha256: str
    bytes: int
    files: Mapping[str, str]
    """SHA-256 by name; empty with rules alone."""
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
class Table:
    """Rows of text, for a terminal or a page."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was checked, and what was found."""

    packages: tuple[PackageFacts, ...]
    verdicts: tuple[Verdict, ...]
    """One per package and client."""
    findings: tuple[Finding, ...]
    parity: tuple[Comparison, ...]
    core_tests: tuple[CoreTest, ...]
    seconds: Mapping[str, float]
    """Time of each step."""
    tolerance: float
    """Largest difference that counts as none, part of the output's range; of a package of
    somebody else it is bioimageio.core's, absolute and relative."""
    rules_only: bool = False
    """Whether nothing was run."""
    asked: tuple[Client, ...] = ()
    """The clients asked about; empty for those the packages are meant for."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    """Versions, what of bioimageio.core was replaced, and what held the workers."""
    halo: HaloMeasurement | None = None
    seam_limit: float | None = None
    """Largest seam allowed between tiles, part of the output's range."""
    whole_image: WholeImageMemory | None = None
    """What an image needs in DeepImageJ 3.1; None of a package of somebody else."""
    sample: SampleRuns | None = field(default=None, compare=False, repr=False)

    @property
    def judged(self) -> tuple[Verdict, ...]:
        """Verdicts that count: of the clients asked about, or of those a package is meant for."""
        return tuple(
            v for v in self.verdicts if (v.client in self.asked or (not self.asked and v.meant))
        )

    @property
    def passed(self) -> bool:
        """Whether every client that counts takes every package."""
        return bool(self.judged) and all(verdict.answer.takes for verdict in self.judged)

    def as_json(self) -> dict[str, Any]:
        """The report as plain values; numbers that are not finite become "inf", "-inf", "nan"."""
        halo = self.halo
        plain: dict[str, Any] = _plain(
            {
                "report": "w2s-export verification",
                "version": VERSION,
                "passed": self.passed,
                "rules_only": self.rules_only,
                "asked": self.asked,
                "packages": self.packages,
                "verdicts": [
                    {
                        "package": verdict.package,
                        "client": verdict.client,
                        "meant": verdict.meant,
                        "verdict": verdict.answer,
                        "would": verdict.would,
                        "codes": sorted({finding.code.value for finding in verdict.findings}),
                    }
                    for verdict in self.verdicts
                ],
                "findings": self.findings,
                "parity": self.parity,
                "bioimageio_core": self.core_tests,
                "tolerance": {"outputs": self.tolerance, "seams": self.seam_limit},
                "halo": halo
                and {
                    "input_pixels": halo.halo,
                    "minimum": halo.minimum,
                    "tolerance": halo.tolerance,
                    "seams": [{"halo": tried, "max_relative": seam} for tried, seam in halo.seams],
                },
                "deepimagej_3_1": self.whole_image
                and {
                    "gb_per_megapixel": self.whole_image.gb_per_megapixel,
                    "largest_megapixels": self.whole_image.largest_megapixels,
                    "megapixels_by_gb": {
                        str(size): self.whole_image.megapixels(size) for size in MEMORIES_GB
                    },
                },
                "environment": self.environment,
                "seconds": self.seconds,
            }
        )
        for package in plain["packages"]:
            del package["clients"]  # the verdicts say whom it is meant for
        return plain

    def write_json(self, path: Path) -> None:
        """Write `report.json`, at once or not at all.

        Raises:
            OutputError: the place cannot be written.
        """
        text = json.dumps(self.as_json(), indent=2, ensure_ascii=False, allow_nan=False)
        # A lone surrogate, of a file name that is no UTF-8, becomes its escape in JSON.
        write_atomically(path, f"{text}\n".encode("utf-8", "backslashreplace"))

    def worst(self) -> Comparison | None:
        """The largest difference between outputs of weights and what they should be."""
        rows = [row for row in self.parity if row.kind is Kind.output]
        return max(rows, key=lambda row: row.max_relative, default=None)

    def tables(self) -> tuple[Table, ...]:
        """Numbers, bioimageio.core's tests and clients; each only where there is any."""
        numbers = [
            (row.subject, row.case, row.against, *numbers_of(row))
            for row in distinct(self.parity)
            if row.kind is not Kind.file
        ]
        tests = [(test.package, test.format, test.result.words) for test in self.core_tests]
        columns = ("what", "on", "against", "max. difference", "of the range", "PSNR, dB")
        tables = (
            Table("The same image in every format", columns, tuple(numbers)),
            Table("bioimageio.core's own test", ("package", "weights", "result"), tuple(tests)),
            Table("Clients", ("package", "client", "verdict", "because of"), self._clients()),
        )
        return tuple(table for table in tables if table.rows)

    def shown(self) -> tuple[Verdict, ...]:
        """Verdicts worth a row: all, or those of the clients asked about."""
        return tuple(v for v in self.verdicts if v.client in self.asked or not self.asked)

    def _clients(self) -> tuple[tuple[str, ...], ...]:
        return tuple(
            (
                verdict.package,
                verdict.client.value,
                verdict.answer.words,
                ", ".join(sorted({finding.code.value for finding in verdict.findings})),
            )
            for verdict in self.shown()
        )


def distinct(rows: Sequence[Comparison]) -> list[Comparison]:
    """Rows less those that a package has in common with one before it."""
    seen: dict[tuple[Any, ...], Comparison] = {}
    for row in rows:
        shared = (row.format, row.kind, row.case, row.subject, row.against, row.max_abs)
        seen.setdefault(shared if row.kind is not Kind.file else (row.package, *shared), row)
    return list(seen.values())


def numbers_of(row: Comparison) -> tuple[str, str, str]:
    """Largest difference, the same as a part of the range, and PSNR, as text."""
    db = "equal" if row.psnr_db == math.inf else f"{row.psnr_db:.1f}"
    return f"{row.max_abs:.1e}", f"{row.max_relative:.1e}", db


def versions() -> dict[str, str]:
    """Versions of everything that took part; nothing is imported."""
    found = {"w2s-export": __version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return {**found, "platform": platform.platform()}


def _plain(value: Any) -> Any:
    """Plain values; strict JSON has no infinity: `float("inf")` reads what this writes."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value
