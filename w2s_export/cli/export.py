"""`w2s-export`: weights in, two verified packages out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from rich.table import Table

from w2s_export.cli.console import announce, console, options_of, shown_under, styled
from w2s_export.cli.verify import print_findings
from w2s_export.errors import ConfigError
from w2s_export.options import NETWORK, ExportOptions
from w2s_export.resources import model_folder, models

if TYPE_CHECKING:
    from w2s_export.export import ExportResult

DEFAULTS = ExportOptions()


def export_command(
    *,
    options: Annotated[ExportOptions, options_of(ExportOptions)] = DEFAULTS,
    model: Annotated[str | None, shown_under(NETWORK)] = None,
) -> int:
    """Export: weights in, two verified packages out.

    Parameters
    ----------
    model
        Name of a model that comes with the tool, with its sample and metadata, in place of
        --weights; `list` shows them.
    """
    if model == "list":
        print_models()
        return 0
    if model is not None:
        options = _with_model(options, model)
    with console.status("Starting") as status:
        from w2s_export.api import export

        result = export(**vars(options), progress=lambda stage: announce(stage, status))
    print_export(result)
    return 0 if result.report.passed else 1


def _with_model(options: ExportOptions, model: str) -> ExportOptions:
    if options.weights is not None:
        raise ConfigError("--model and --weights both name weights; give one of them")
    folder = model_folder(model)
    return replace(
        options,
        weights=folder / "weights.npz",
        sample=options.sample or folder / "sample_input.tif",
        metadata=options.metadata or folder / "metadata.yaml",
    )


def print_models() -> None:
    """A row per model that comes with the tool."""
    from w2s_export.io.yaml_files import read_yaml

    table = Table("model", "what it restores", "weights")
    for name, folder in models().items():
        values = read_yaml(folder / "config.yaml")
        origin = values.get("provenance", {}) if isinstance(values, dict) else {}
        path = folder / "weights.npz"
        size = f"{path.stat().st_size / 1e6:.1f} MB" if path.is_file() else "not installed"
        table.add_row(name, str(origin.get("description", "")), size)
    console.print(table)


def print_export(result: ExportResult) -> None:
    """What was proven, where everything is, and the verdict."""
    report = result.report
    names = [package.name for package in report.packages]
    for content in report.tables():
        table = Table(*content.columns, title=content.title, title_justify="left")
        for row in content.rows:
            table.add_row(*(_short(cell, names) for cell in row))
        console.print(table)
    print_findings(report, report.findings)
    files = [row.max_relative for row in report.parity if row.kind.value == "file"]
    console.print(
        "Test tensors, samples and preprocessing in both packages: within "
        f"{max(files, default=0.0):.1e} of the source."
    )
    if report.halo is not None:
        halo = report.halo
        console.print(f"Halo {halo.halo} and smallest image {halo.minimum} input pixels, measured.")
    stages = ", ".join(f"{name.lower()} {spent:.0f}" for name, spent in result.seconds.items())
    console.print(f"Seconds: {stages}; {sum(result.seconds.values()):.0f} in all.")
    packages = result.packages
    for path in (packages.bioimageio, packages.deepimagej, result.report_path, result.page_path):
        console.print(str(path), soft_wrap=True, highlight=False)
    if report.passed and report.halo is not None and report.halo.visible is not None:
        said = f" tiles show seams of up to {report.halo.visible:.1g} of the range."
        console.print(styled(("Every format gives the same image, but", "bold yellow"), said))
    elif report.passed:
        console.print(styled(("Verified:", "bold green"), " every format gives the same image."))
    else:
        faults = {code.value for v in report.judged for code in (f.code for f in v.findings)}
        codes = ", ".join(sorted(faults)) or "nothing could be proven"
        said = f" {codes}. Do not publish these packages."
        console.print(styled(("Not verified:", "bold red"), said))


def _short(cell: str, packages: list[str]) -> str:
    """Leave the model's name out of the packages' names: tables are narrow."""
    for name in packages:
        cell = cell.replace(name, ".".join(["…", *name.split(".")[-2:]]))
    return cell
