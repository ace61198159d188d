"""`w2s-export verify`: will this package run, and where?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from w2s_export.cli.console import Flag, announce, console, styled
from w2s_export.shown import LONGEST_MESSAGE, shown

if TYPE_CHECKING:
    from w2s_export.verify.findings import Client, Finding
    from w2s_export.verify.package import PackageReport

_STYLES = {"error": "red", "warning": "yellow", "note": "dim"}


def verify_command(
    package: Path,
    /,
    *,
    client: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")] = (),
    json_output: Annotated[bool, Parameter(name="--json", negative="")] = False,
    rules_only: Annotated[bool, Flag] = False,
) -> int:
    """Say in which clients any bioimage.io package will run, and why not.

    Exit code 0: the clients asked about take it. 1: one of them would refuse it. 2: the file cannot
    be read.

    Parameters
    ----------
    package
        A bioimage.io zip of anybody's making. Nothing in it is executed but graphs of numbers.
    client
        Whom to ask: deepimagej-2.1, deepimagej-3.0, deepimagej-3.1, core-0.10, core-0.11, zoo, or
        how several begin (deepimagej). Default: those the package is meant for.
    json_output
        Print the whole report as JSON.
    rules_only
        Read, but do not run the weights on the package's test tensors.
    """
    from w2s_export.verify.package import verify_package
    from w2s_export.verify.verdicts import named_clients

    chosen = named_clients(client)
    if json_output:
        report = verify_package(package, rules_only=rules_only)
        print(json.dumps({**report.as_json(), "asked": [c.value for c in chosen]}, indent=2))
    else:
        with console.status("Starting") as status:
            report = verify_package(
                package,
                rules_only=rules_only,
                progress=lambda stage: announce(stage.capitalize(), status),
            )
        print_report(report, chosen)
    return 1 if report.refusing(chosen) else 0


def print_report(report: PackageReport, asked: tuple[Client, ...] = ()) -> None:
    """Clients and verdicts, what was found with its remedy, and how far outputs were off.

    What only others than the clients asked about (or meant) mind is left to the table's codes.
    """
    version = f" (format {shown(report.format_version)})" if report.format_version else ""
    table = Table("client", "verdict", "because of", title=f"{shown(report.package)}{version}")
    concerned = set(asked)
    for verdict in report.verdicts:
        if verdict.meant and not asked:
            concerned.add(verdict.client)
        codes = sorted({f"{f.code.value}" for f in verdict.findings})
        said = styled("takes it" if verdict.accepts else ("refuses it", "red"))
        if verdict.accepts and codes:
            said = styled(("takes it, with warnings", "yellow"))
        name = verdict.client.value if verdict.meant else f"{verdict.client.value} (not meant for)"
        table.add_row(name, said, ", ".join(codes))
    console.print(table)
    for finding in report.findings:
        if not finding.clients or concerned & set(finding.clients):
            console.print(_paragraph(finding, report.package), soft_wrap=True, highlight=False)
    if report.parity:
        rows = Table("weights in", "on", "max. difference", "of the range")
        for row in report.parity:
            difference = f"{row.max_abs:.1e}", f"{row.max_relative:.1e}"
            rows.add_row(shown(row.subject), shown(row.case), *difference)
        console.print(rows)
    spent = ", ".join(f"{name} {seconds:.1f}" for name, seconds in report.seconds.items())
    console.print(f"Seconds: {spent}.")


def _paragraph(finding: Finding, package: str) -> Text:
    style, where = _STYLES[finding.severity.value], finding.where.removeprefix(f"{package}: ")
    because = f"\n    why: {finding.because}" if finding.because else ""
    remedy = f"\n    do:  {finding.remedy}" if finding.remedy else ""
    return styled(
        (finding.severity.value, style),
        (f" {finding.code.value} ", "bold"),
        f"{shown(where)}: {shown(finding.message, LONGEST_MESSAGE)}{because}{remedy}",
    )
