"""`w2s-export verify`: will this package run, and where?"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from w2s_export.cli.console import announce, console, options_of, styled
from w2s_export.foreign_text import LONGEST_MESSAGE, shown
from w2s_export.options import VerifyOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from w2s_export.verify.findings import Finding
    from w2s_export.verify.report import Report

DEFAULTS = VerifyOptions()
_MOST_OF_A_KIND = 20
_STYLES = {"error": "red", "warning": "yellow", "note": "dim"}
_COLOURS = {"accepts": "green", "refuses": "red", "not-meant": "dim"}


def verify_command(
    package: Path,
    /,
    *,
    options: Annotated[VerifyOptions, options_of(VerifyOptions)] = DEFAULTS,
    json_output: Annotated[bool, Parameter(name="--json")] = False,
    page: Path | None = None,
    unproven_is_fine: bool = False,
) -> int:
    """Say in which clients any bioimage.io package will run, and why not.

    Parameters
    ----------
    package
        A bioimage.io zip of anybody's making. Nothing in it is executed but graphs of numbers.
    json_output
        Print the whole report as JSON (docs/report.schema.json).
    page
        Write the report as a page, an HTML file that opens anywhere.
    unproven_is_fine
        Count a client for which the package is unproven as one that accepts it.
    """
    from w2s_export.api import verify
    from w2s_export.verify.findings import Code
    from w2s_export.verify.specification import import_in_haste
    from w2s_export.verify.verdicts import Answer

    import_in_haste()
    if json_output:
        report = verify(package, **vars(options))
        print(json.dumps(report.as_json(), indent=2, allow_nan=False))
    else:
        with console.status("Starting") as status:
            report = verify(
                package,
                **vars(options),
                progress=lambda stage: announce(stage, status),
            )
        print_report(report)
    if page is not None:
        from w2s_export.verify.page import write_page

        write_page(report, page, package.name)
    if any(finding.code is Code.disk_full for finding in report.findings):
        return 2  # the check could not be made
    fine = {Answer.unproven} if unproven_is_fine else set()
    taken = [v.answer.takes or v.answer in fine for v in report.judged]
    return 0 if taken and all(taken) else 1


def print_report(report: Report) -> None:
    """Clients and verdicts, what was found with its remedy, and how far outputs were off."""
    (package,) = report.packages
    version = f" (format {shown(package.format_version)})" if package.format_version else ""
    table = Table("client", "verdict", "because of", title=f"{shown(package.name)}{version}")
    for verdict in report.shown():
        codes = ", ".join(sorted({finding.code.value for finding in verdict.findings}))
        colour = _COLOURS.get(verdict.answer.value, "yellow")
        table.add_row(verdict.client.value, styled((verdict.answer.words, colour)), codes)
    console.print(table)
    print_findings(report, report.findings)
    for content in report.tables():
        if content.columns[0] != "package":
            rows = Table(*content.columns)
            for row in content.rows:
                rows.add_row(*map(shown, row))
            console.print(rows)
    for test in report.core_tests:
        spent = "" if test.seconds is None else f" in {test.seconds:.1f} s"
        said = f"bioimageio.core's own test of {test.format}: {test.result.words}{spent}"
        console.print(said, soft_wrap=True, highlight=False)
    if report.rules_only:
        console.print("By the rules alone: nothing was run, no numbers were compared.")
    spent = ", ".join(f"{name} {seconds:.1f}" for name, seconds in report.seconds.items())
    console.print(f"Seconds: {spent}.")


def print_findings(report: Report, findings: Iterable[Finding]) -> None:
    """What concerns the clients that count, one paragraph per finding."""
    counting = {verdict.client for verdict in report.judged}
    several = len(report.packages) > 1
    counts: Counter[str] = Counter()
    for finding in findings:
        if any(finding.concerns(client) for client in counting):
            counts[finding.code.value] += 1
            if counts[finding.code.value] <= _MOST_OF_A_KIND:
                console.print(_paragraph(finding, several), soft_wrap=True, highlight=False)
    for code, count in counts.items():
        if count > _MOST_OF_A_KIND:
            console.print(f"{count - _MOST_OF_A_KIND} more of {code}; --json shows all.")


def _paragraph(finding: Finding, several: bool) -> Text:
    style = _STYLES[finding.severity.value]
    where = f"{finding.package}: {finding.where}" if several else finding.where
    because = f"\n    why: {finding.because}" if finding.because else ""
    remedy = f"\n    do:  {finding.remedy}" if finding.remedy else ""
    return styled(
        (finding.severity.value, style),
        (f" {finding.code.value} ", "bold"),
        f"{shown(where)}: {shown(finding.message, LONGEST_MESSAGE)}{because}{remedy}",
    )
