"""What the command line prints: tables and progress bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

    from w2s_export.checkpoint.inspect import Inspection
    from w2s_export.export import ExportResult
    from w2s_export.training.fit import Step
    from w2s_export.training.run import Trained


def print_export(console: Console, result: ExportResult) -> None:
    """What was proven, where everything is, and the verdict."""
    report = result.report
    names = [package.name for package in report.packages]
    contents = [row for row in report.parity if row.subject.startswith(tuple(names))]
    for content in report.tables():
        table = Table(*content.columns, title=content.title, title_justify="left")
        for row in content.rows:
            if not row[0].startswith(tuple(f"{name}: " for name in names)):
                table.add_row(*(escape(_short(cell, names)) for cell in row))
        console.print(table)
    worst = max((row.max_relative for row in contents), default=0.0)
    console.print(
        f"Test tensors, samples and preprocessing in both packages: within {worst:.1e} of the "
        "source."
    )
    halo = result.report.halo
    console.print(f"Halo {halo.halo} and smallest image {halo.minimum} input pixels, measured.")
    stages = ", ".join(f"{name.lower()} {spent:.0f}" for name, spent in result.seconds.items())
    console.print(f"Seconds: {stages}; {sum(result.seconds.values()):.0f} in all.")
    for path in (result.packages.bioimageio, result.packages.deepimagej, result.report_path):
        console.print(str(path), soft_wrap=True, highlight=False)
    if result.report.passed:
        console.print("[bold green]Verified:[/] every format gives the same image.")
    else:
        faults = [f for f in report.findings if f.severity.value == "error"]
        codes = ", ".join(sorted({finding.code.value for finding in faults}))
        console.print(f"[bold red]Not verified:[/] {codes}. Do not publish these packages.")


def _short(cell: str, packages: list[str]) -> str:
    """Leave the model's name out of the packages' names: tables are narrow."""
    for name in packages:
        cell = cell.replace(name, ".".join(["…", *name.split(".")[-2:]]))
    return cell


def print_inspection(console: Console, inspection: Inspection) -> None:
    """What a checkpoint is."""
    table = Table("property", "value", title=str(inspection.path), show_header=False)
    table.add_row("format", inspection.format)
    if inspection.architecture is not None:
        for key, value in inspection.architecture.model_dump().items():
            table.add_row(key, str(value))
    if inspection.parameters is not None:
        table.add_row("parameters", f"{inspection.parameters:,}")
    if inspection.dtypes:
        table.add_row("stored as", ", ".join(inspection.dtypes))
    if inspection.normalisation is not None:
        table.add_row("normalisation", str(inspection.normalisation))
    elif inspection.exportable:
        table.add_row("normalisation", "not recorded; see --normalisation")
    for key, value in inspection.provenance.model_dump(exclude_defaults=True).items():
        table.add_row(key, str(value))
    table.add_row("exportable", "yes" if inspection.exportable else f"no: {inspection.reason}")
    console.print(table)


@contextmanager
def training_progress(console: Console) -> Iterator[Callable[[Step], None]]:
    """A bar with loss, validation PSNR and the time left; yields its callback."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("Training", total=None)

        def heard(step: Step) -> None:
            text = f"loss {step.loss:.4f}"
            bar.update(task, completed=step.step, total=step.steps, description=text)
            if step.scores:
                psnr, bicubic = step.scores["psnr_db"], step.scores["psnr_bicubic_db"]
                bar.console.print(
                    f"step {step.step}: validation PSNR {psnr:.2f} dB (bicubic {bicubic:.2f}), "
                    f"SSIM {step.scores['ssim']:.4f}, learning rate {step.rate:.2g}"
                )

        yield heard


def print_training(console: Console, trained: Trained) -> None:
    """Scores on the test fields, and where the checkpoint is."""
    if trained.fields:
        table = Table("test field", "PSNR dB", "bicubic", "SSIM", "bicubic")
        for field in trained.fields:
            table.add_row(
                field.name,
                f"{field.restored.psnr_db:.2f}",
                f"{field.bicubic.psnr_db:.2f}",
                f"{field.restored.ssim:.4f}",
                f"{field.bicubic.ssim:.4f}",
            )
        scores = trained.scores
        table.add_section()
        table.add_row(
            "mean",
            f"{scores['psnr_db']:.2f}",
            f"{scores['psnr_bicubic_db']:.2f}",
            f"{scores['ssim']:.4f}",
            f"{scores['ssim_bicubic']:.4f}",
        )
        console.print(table)
    console.print(f"Checkpoint: {trained.checkpoint}")
