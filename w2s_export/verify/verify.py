"""Verifies packages, ours or anybody's: opened, read by every client's rules, run and compared."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_export.clock import StageClock
from w2s_export.errors import OutputError, W2SExportError
from w2s_export.io.files import sha256_of
from w2s_export.io.memory import release_freed_memory
from w2s_export.io.temporary import temporary_folder
from w2s_export.package.opening import OpenedPackage, OpeningError, OpeningFault, open_package
from w2s_export.rdf.reading import mapped
from w2s_export.verify.contents import Contents, check_files, unpack
from w2s_export.verify.core_verdict import settle, unproven_clients
from w2s_export.verify.findings import Client, Code, Finding, Severity, internal_error
from w2s_export.verify.report import Gathered, PackageFacts, Report, versions
from w2s_export.verify.report_freshness import check_reports
from w2s_export.verify.rules.registry import (
    ZOO,
    Subject,
    check_rules,
    intended_clients,
    maintained,
    version_text,
)
from w2s_export.verify.specification import check_specification
from w2s_export.verify.verdicts import Verdict, judge

if TYPE_CHECKING:
    from w2s_export.verify.after_export import Source
    from w2s_export.verify.clients.core_tests import CoreProgram, CoreTest

__all__ = ["Report", "verify"]

CORE_TOLERANCE = 1e-3
_REMEDIES = {
    OpeningFault.nested: "zip the files themselves, not the folder they lie in",
    OpeningFault.rdf_missing: "put rdf.yaml at the zip's root",
    OpeningFault.rdf_aliases: "write the values out instead of *name",
    OpeningFault.not_a_zip: "give the package's zip",
    OpeningFault.truncated: "fetch or write the package again",
    OpeningFault.compression: "zip with deflate or without compression",
}


def verify(
    packages: Path | str | Sequence[Path],
    source: Source | None = None,
    *,
    rules_only: bool = False,
    asked: Sequence[Client] = (),
    core: CoreProgram | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Say what every client makes of packages, by their rules and by running them.

    Nothing in a package is executed but graphs of numbers, and those of strangers in a process of
    their own.

    Args:
        packages: a zip, or the zips of one model.
        source: what they were written from, to compare them with; None for packages of anybody.
        rules_only: run nothing; no framework is loaded.
        asked: clients to judge by, though the packages be meant for others.
        core: the program that runs bioimageio.core, if it has been started already.
        progress: called with a short text when a step begins.

    Raises:
        PackageError: a package of anybody's cannot be read at all.
    """
    paths = [Path(packages)] if isinstance(packages, (str, Path)) else list(packages)
    clock, gathered = StageClock(progress), Gathered()
    clock("reading the packages")
    opened = [p for path in paths if (p := _open(path, source, gathered)) is not None]
    clock("client rules")
    gathered.findings += [f for p in opened for f in _by_rules(p, own=source is not None)]
    tests: tuple[CoreTest, ...] = ()
    hashes: dict[str, dict[str, str]] = {}
    try:
        if rules_only:
            gathered.findings += [fault for p in opened for fault in check_files(p)]
        else:
            tests, hashes = _run(paths, opened, source, gathered, clock, core)
    except OutputError as error:  # the disk of temporary files is full
        if source is not None:
            raise
        gathered.findings += [_disk_full(package.path.name, str(error)) for package in opened]
    settle(gathered, tests)
    facts = [_facts(path, opened, hashes) for path in paths]
    if source is None:
        for path, fact in zip(paths, facts, strict=True):
            gathered.findings += check_reports(path, fact.sha256)
    verdicts = [v for f in facts for v in _verdicts(f, opened, gathered, tests, rules_only, asked)]
    return Report(
        packages=tuple(facts),
        verdicts=tuple(verdicts),
        findings=tuple(dict.fromkeys(gathered.findings)),
        parity=tuple(gathered.comparisons),
        core_tests=tests,
        seconds=clock.finish(),
        rules_only=rules_only,
        asked=tuple(asked),
        environment=_environment(tests),
        **_measures(source, gathered),
    )


def _by_rules(package: OpenedPackage, *, own: bool) -> list[Finding]:
    """What the rules find; of anybody's package those of every client, and the specification's."""
    if own:
        return check_rules(package, intended_clients(package.rdf))
    return [*check_rules(package, tuple(Client)), *check_specification(package)]


def _measures(source: Source | None, gathered: Gathered) -> dict[str, Any]:
    """What the numbers were judged by, and what the source makes of the sample."""
    if source is None:
        return {"tolerance": CORE_TOLERANCE}
    from w2s_export.rdf.whole_image import whole_image_memory
    from w2s_export.verify.after_export import sample_runs
    from w2s_export.verify.numbers import SEAM_LIMIT, TOLERANCE

    return {
        "tolerance": TOLERANCE,
        "seam_limit": SEAM_LIMIT,
        "halo": source.description.halo,
        "whole_image": whole_image_memory(source.description.network),
        "sample": sample_runs(source, gathered),
    }


def _open(path: Path, source: Source | None, gathered: Gathered) -> OpenedPackage | None:
    try:
        return open_package(path)
    except OpeningError as error:
        if error.fault is OpeningFault.absent and source is None:
            raise
        message = str(error).removeprefix(f"{path}: ")
        finding = Finding(
            Code(error.fault.value),
            path.name,
            message,
            remedy=_REMEDIES.get(error.fault, "write the package again"),
            because="Nothing opens it, or nothing should.",
            package=path.name,
        )
        gathered.findings.append(finding)
        return None


def _run(
    paths: Sequence[Path],
    opened: Sequence[OpenedPackage],
    source: Source | None,
    gathered: Gathered,
    clock: Callable[[str], None],
    core: CoreProgram | None,
) -> tuple[tuple[CoreTest, ...], dict[str, dict[str, str]]]:
    """Run every package's weights; what core says of them, and hashes of files by package."""
    tests: list[CoreTest] = []
    with temporary_folder() as folder, ExitStack() as stack:
        under_way = None
        if source is not None and opened:
            from w2s_export.verify.clients.core_tests import core_program

            core = core or stack.enter_context(core_program([path.parent for path in paths]))
            under_way = core.test([package.path for package in opened])
        clock("unpacking")
        contents = []
        for number, package in enumerate(opened):
            (folder / str(number)).mkdir()
            unpacked, found = unpack(package, folder / str(number))
            contents.append(unpacked)
            gathered.findings += found
        if source is not None:
            from w2s_export.verify.after_export import check_export

            if contents:
                check_export(contents, source, gathered, clock)
            source.release()
            release_freed_memory()
        else:
            clock("running the weights")
            for number, whole in enumerate(contents):
                tests += _run_foreign(whole, folder / f"run{number}", gathered)
        if under_way is not None:
            clock("bioimageio.core")
            stated = {(p.path.name, key) for p in opened for key in mapped(p.rdf, "weights")}
            tests += [t for t in under_way.finish() if (t.package, t.format) in stated]
    return tuple(tests), {whole.name: whole.hashes for whole in contents}


def _run_foreign(contents: Contents, folder: Path, gathered: Gathered) -> list[CoreTest]:
    from w2s_export.verify.run_weights import run_weights

    try:
        return run_weights(contents, folder, gathered)
    except (MemoryError, OSError, W2SExportError):
        raise
    except Exception as error:
        broken = internal_error("running the weights", error, package=contents.name)
        gathered.findings.append(broken)
    return []


def _disk_full(package: str, message: str) -> Finding:
    return Finding(
        Code.disk_full,
        tempfile.gettempdir(),
        f"the package was not run: {message}",
        Severity.note,
        remedy="free space, or set TMPDIR to another folder, and verify again",
        package=package,
    )


def _facts(
    path: Path, opened: Sequence[OpenedPackage], hashes: dict[str, dict[str, str]]
) -> PackageFacts:
    package = next((p for p in opened if p.path == path), None)
    exists = path.is_file()
    return PackageFacts(
        name=path.name,
        format_version="" if package is None else version_text(package.rdf),
        sha256=sha256_of(path) if exists else "",
        bytes=path.stat().st_size if exists else 0,
        files=dict(sorted(hashes.get(path.name, {}).items())),
        clients=tuple(Client) if package is None else intended_clients(package.rdf),
    )


def _verdicts(
    facts: PackageFacts,
    opened: Sequence[OpenedPackage],
    gathered: Gathered,
    tests: Sequence[CoreTest],
    rules_only: bool,
    asked: Sequence[Client],
) -> tuple[Verdict, ...]:
    package = next((p for p in opened if p.path.name == facts.name), None)
    runs = None if package is None else Subject(package).jdll_weights
    jdll = "" if runs is None else runs.weights_format
    stated = {} if package is None else mapped(package.rdf, "weights")
    return judge(
        facts.name,
        [finding for finding in gathered.findings if finding.package == facts.name],
        facts.clients,
        asked=asked,
        barred=ZOO if package is not None and not maintained(package.rdf) else (),
        unproven=() if rules_only else unproven_clients(facts.name, gathered, tests, stated, jdll),
    )


def _environment(tests: Sequence[CoreTest]) -> dict[str, Any]:
    """Versions, and what ran where; nothing is imported."""
    from w2s_export.io.confine import protections

    patched: tuple[str, ...] = ()
    if tests:
        from w2s_export.verify.clients.core_program import PATCHED as patched  # noqa: N811
    return {"versions": versions(), "patched": list(patched), "isolation": list(protections())}
