"""What bioimageio.core's own test settles: where it and our rules disagree, it knows better."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from w2s_export.rdf.reading import ONNX, SAVED_MODEL
from w2s_export.verify.findings import Client, Code, Finding, Severity
from w2s_export.verify.report import Gathered, Kind

if TYPE_CHECKING:
    from w2s_export.verify.clients.core_tests import CoreTest

CORES = (Client.core_0_10, Client.core_0_11, Client.zoo)
TEST_CASE = "test tensors"
RUNNERS: dict[str, tuple[Client, ...]] = {
    ONNX: (Client.deepimagej_3_1, *CORES),
    SAVED_MODEL: tuple(Client),
}
"""Clients that run a weights format of which we know how to run it as they do."""

_INSTALLED = Client.core_0_11
_DISAGREEMENT = "one of the two is wrong; report it to w2s-export with the package"


def settle(gathered: Gathered, tests: Sequence[CoreTest]) -> None:
    """Turn core's tests into findings, and take back what they refute.

    A rule's error that core 0.11 is said to make is refuted where core's test of all weights it
    could test passed; core 0.10.4 and the zoo follow it, unless the rule is about them alone.
    """
    from w2s_export.verify.clients.core_tests import Result

    for package in dict.fromkeys(test.package for test in tests):
        own = [test for test in tests if test.package == package]
        ran = [test for test in own if test.result in (Result.passed, Result.failed)]
        gathered.findings += [_not_run(test) for test in own if test not in ran]
        failed = [test for test in ran if not test.passed]
        against = [f for f in gathered.findings if f.package == package and _is_refusal(f)]
        gathered.findings += [_failed(test) for test in failed]
        if failed and not against:
            said = "; ".join(f"{test.format}: {_first(test)}" for test in failed)
            message = f"our rules find nothing, its own test fails: {said}"
            gathered.findings.append(_disagrees(package, message, failed[0].format))
        elif ran and not failed:
            _refute(gathered, package, against, {test.format for test in ran})


def unproven_clients(
    package: str,
    gathered: Gathered,
    tests: Sequence[CoreTest],
    stated: Collection[str] = (),
    jdll: str = "",
) -> tuple[Client, ...]:
    """Clients for which no test output was compared, by us or by core, with weights they run.

    bioimageio.core takes the SavedModel before ONNX, and the zoo tests both: each that the package
    has must have been compared, or passed core's test.

    Args:
        package: name of the zip.
        gathered: what was compared.
        tests: what core's own test said.
        stated: weights formats of the package.
        jdll: the weights format that DeepImageJ 3.1 runs; empty where that is not known.
    """
    compared = {
        row.format
        for row in gathered.comparisons
        if row.package == package and row.kind is Kind.output
    }
    passed = {test.format for test in tests if test.package == package and test.passed}
    proven = compared | passed
    lacking = RUNNERS.keys() & {*stated} - proven
    return tuple(
        client
        for client in Client
        if (client is Client.deepimagej_3_1 and jdll and jdll not in proven)
        or (client in CORES and lacking)
        or (
            not any(client in RUNNERS.get(name, ()) for name in proven)
            and not (client in CORES and passed)
        )
    )


def _is_refusal(finding: Finding) -> bool:
    return finding.severity is Severity.error and finding.concerns(_INSTALLED)


def _refute(gathered: Gathered, package: str, against: Sequence[Finding], tested: set[str]) -> None:
    refuted = [f for f in against if not f.format or f.format in tested]
    if not refuted:
        return
    codes = ", ".join(sorted({finding.code.value for finding in refuted}))
    message = f"our rules say that it refuses the package ({codes}), its own test passes"
    kept = []
    for finding in gathered.findings:
        left = tuple(client for client in finding.clients or Client if client not in CORES)
        if finding not in refuted:
            kept.append(finding)
        elif left:
            kept.append(replace(finding, clients=left))
    gathered.findings[:] = [*kept, _disagrees(package, message)]


def _disagrees(package: str, message: str, weights_format: str = "") -> Finding:
    return Finding(
        Code.core_disagrees,
        "bioimageio.core 0.11",
        message,
        Severity.note,
        CORES,
        _DISAGREEMENT,
        package=package,
        format=weights_format,
    )


def _failed(test: CoreTest) -> Finding:
    return Finding(
        Code.core_test_failed,
        f"weights.{test.format}",
        "; ".join(test.errors)[:1000] or "failed",
        clients=CORES,
        remedy="see what bioimageio.core says: it refuses these weights",
        because="bioimageio.core's own test, test_description, decides for it and for the zoo.",
        package=test.package,
        format=test.format,
    )


def _not_run(test: CoreTest) -> Finding:
    from w2s_export.verify.clients.core_tests import Result

    lost = test.result is Result.unavailable
    return Finding(
        Code.core_unavailable if lost else Code.core_not_run,
        f"weights.{test.format}",
        f"bioimageio.core's own test was not made: {_first(test)}",
        Severity.note,
        CORES,
        "mend the environment, then verify again" if lost else "",
        package=test.package,
        format=test.format,
    )


def _first(test: CoreTest) -> str:
    return (test.errors or ("no reason given",))[0][:300]
