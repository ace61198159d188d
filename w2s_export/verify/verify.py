"""The verification of an export: what was written is read back, run and compared."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from w2s_export.clock import StageClock
from w2s_export.data.normalise import normalise
from w2s_export.errors import PackageError
from w2s_export.formats.registry import format_of
from w2s_export.io.files import sha256_of
from w2s_export.package.archive import Packages
from w2s_export.package.macros import postprocessing_macro, preprocessing_macro
from w2s_export.rdf.description import POSTPROCESSING, PREPROCESSING
from w2s_export.rdf.stated import CPU_FAST, ONNX, SAVED_MODEL, example_files, weights_file
from w2s_export.verify.cases import noise_cases
from w2s_export.verify.clients.core_tests import CoreProgram, CoreTest, core_tests
from w2s_export.verify.contents import Contents, unpack
from w2s_export.verify.findings import Code, Finding
from w2s_export.verify.numbers import (
    EXPORT_AGAIN,
    SEAM_LIMIT,
    TOLERANCE,
    Outcome,
    check_chain,
    check_plans,
    check_seams,
    check_tensors,
    compare_with_source,
    declared_halo,
    load_weights,
)
from w2s_export.verify.report import PackageFacts, SampleRuns, VerificationReport
from w2s_export.verify.rules.registry import check_rules, intended_clients

if TYPE_CHECKING:
    from w2s_export.rdf.description import Description
    from w2s_export.runtime.protocol import Runtime

__all__ = ["VerificationReport", "verify_packages"]

NOTHING_LOADED: Mapping[str, Runtime] = MappingProxyType({})

_SEAM_WORK = 1.5e11
"""Multiplications of the tiled comparison above which one format stands for the others."""


def verify_packages(
    packages: Packages,
    source: Runtime,
    description: Description,
    progress: Callable[[str], None] = lambda _: None,
    core: CoreProgram | None = None,
    loaded: Mapping[str, Runtime] = NOTHING_LOADED,
) -> VerificationReport:
    """Read both zips as a stranger would, and compare what they hold with the source.

    Args:
        packages: the finished zips.
        source: the network the weights were converted from.
        description: what the packages were written from.
        progress: called with a short text when a step begins.
        core: the program that runs bioimageio.core, if it has been started already.
        loaded: runtimes of weights files, by the SHA-256 of the file. A package that holds the same
            file is run by the same runtime.
    """
    clock = StageClock(progress)
    outcome = Outcome()
    paths = (packages.bioimageio, packages.deepimagej)
    with (
        tempfile.TemporaryDirectory(prefix="w2s-export-verify-") as folder,
        core_tests(paths, core) as under_way,
    ):
        clock("reading the packages")
        opened = [
            contents
            for index, path in enumerate(paths)
            if (contents := _open(path, Path(folder) / str(index), outcome)) is not None
        ]
        clock("client rules")
        for contents in opened:
            outcome.findings += check_rules(contents.package)
        clock("test tensors and samples")
        for contents in opened:
            check_tensors(contents, description, outcome)
            check_plans(contents, description, outcome)
            _check_macros(contents, description, outcome)
        halos = {c.name: declared_halo(c, description, outcome) for c in opened}
        before_running = len(outcome.findings)
        clock("loading the weights")
        loaders: dict[str, Callable[[Path], Runtime]] = {
            artifact.format: format_of(artifact.format).load for artifact in description.artifacts
        }
        distinct = _distinct(opened, outcome)
        runnable = [
            (contents, load_weights(contents, loaders, outcome, loaded)) for contents in distinct
        ]
        clock("comparing formats")
        network = description.network
        noise = noise_cases(network.channels_in, description.minimum, description.step)
        expected = [(case, source(case.batch)) for case in noise]
        for contents, runtimes in runnable:
            check_chain(contents, runtimes, outcome)
            compare_with_source(contents, runtimes, expected, outcome)
        clock("comparing tiles")
        image = normalise(description.sample.image, description.network.normalisation)
        for contents, runtimes in runnable:
            if (halo := halos[contents.name]) is not None:
                affordable = _affordable(runtimes, halo, description)
                check_seams(contents, affordable, image, halo, description, outcome)
        ran = outcome.findings[before_running:]
        for contents in opened:
            if contents not in distinct:  # what is wrong with its twin is wrong with it
                outcome.findings += _as_of(contents.name, distinct[0].name, ran)
        clock("bioimageio.core")
        tests = under_way.finish()
        outcome.findings += _core_findings(tests)
    return VerificationReport(
        packages=tuple(_facts(contents) for contents in opened),
        findings=tuple(outcome.findings),
        parity=tuple(outcome.parity),
        core_tests=tests,
        halo=description.halo,
        tolerance=TOLERANCE,
        seam_limit=SEAM_LIMIT,
        seconds=clock.finish(),
        sample=SampleRuns(
            name=description.sample.name,
            pixel_size_um=description.sample.pixel_size_um,
            image=description.sample.image,
            restored=description.sample.restored,
            outputs=outcome.outputs,
        ),
    )


def _open(path: Path, folder: Path, outcome: Outcome) -> Contents | None:
    folder.mkdir()
    try:
        contents, findings = unpack(path, folder)
    except PackageError as error:
        outcome.findings.append(
            Finding(Code.package_unreadable, path.name, str(error), remedy=EXPORT_AGAIN)
        )
        return None
    outcome.findings += findings
    return contents


def _distinct(opened: list[Contents], outcome: Outcome) -> list[Contents]:
    """Packages that need a run of their own: both, unless they hold the same files.

    The two zips of an export differ in their rdf alone. Where that holds, running one is running
    both; where it does not, that is a finding and both are run.
    """
    if len(opened) < 2:
        return opened
    first, second = opened
    names = [{*package.hashes} - {package.package.rdf_name} for package in opened]
    differing = sorted(
        name for name in names[0] | names[1] if first.hashes.get(name) != second.hashes.get(name)
    )
    for name in differing:
        message = f"is not the same file as in {first.name}"
        outcome.findings.append(
            Finding(Code.packages_differ, f"{second.name}: {name}", message, remedy=EXPORT_AGAIN)
        )
    return opened if differing else _by_description(opened)


def _by_description(opened: list[Contents]) -> list[Contents]:
    """One of them, unless their descriptions name different weights or test tensors."""
    first, second = opened
    same = example_files(first.rdf) == example_files(second.rdf) and all(
        weights_file(first.rdf, key) == weights_file(second.rdf, key)
        for key in (ONNX, SAVED_MODEL, CPU_FAST)
    )
    return [first] if same else opened


def _as_of(name: str, twin: str, findings: list[Finding]) -> list[Finding]:
    """Findings of a package, as those of another that holds the same files.

    What only one client minds lies in the description, which each package has of its own.
    """
    return [
        replace(finding, where=name + finding.where.removeprefix(twin))
        for finding in findings
        if finding.where.startswith(twin) and not finding.clients
    ]


def _check_macros(contents: Contents, description: Description, outcome: Outcome) -> None:
    """The macros are those of this model: DeepImageJ 2.1 and 3.0 normalise by nothing else."""
    network = description.network
    expected = {POSTPROCESSING: postprocessing_macro(description.scale)}
    if macro := preprocessing_macro(network.normalisation, network.channels_in):
        expected[PREPROCESSING] = macro
    for name, text in expected.items():
        path = contents.folder / name
        if name not in contents.hashes or path.read_bytes() != text.encode():
            outcome.findings.append(
                Finding(
                    Code.macro_differs,
                    f"{contents.name}: {name}",
                    "is not the macro that does what the rdf says",
                    remedy=EXPORT_AGAIN,
                )
            )


def _core_findings(tests: tuple[CoreTest, ...]) -> list[Finding]:
    return [
        Finding(
            Code.core_test_failed,
            f"{test.package}: weights.{test.weight_format}",
            "; ".join(test.errors)[:1000] or "failed",
            remedy=EXPORT_AGAIN,
        )
        for test in tests
        if not test.passed
    ]


def _affordable(
    runtimes: dict[str, Runtime], halo: int, description: Description
) -> dict[str, Runtime]:
    """All formats, or the first where a large network looks far.

    A seam comes from what the network sees, which is the same in every format.
    """
    height, width = description.sample.image.shape[1:]
    pixels = (height + 2 * halo) * (width + 2 * halo)
    pixels += 4 * (height // 2 + 2 * halo) * (width // 2 + 2 * halo)
    work = pixels * description.network.facts.multiplications
    return runtimes if work <= _SEAM_WORK else dict(list(runtimes.items())[:1])


def _facts(contents: Contents) -> PackageFacts:
    path = contents.package.path
    return PackageFacts(
        name=contents.name,
        sha256=sha256_of(path),
        bytes=path.stat().st_size,
        files=dict(sorted(contents.hashes.items())),
        clients=intended_clients(contents.rdf),
    )
