"""`w2s-export`: weights in, two verified packages out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.table import Table

from w2s_export.cli.console import IMAGES, NETWORK, RESULT, Flag, announce, console, styled
from w2s_export.cli.verify import print_findings
from w2s_export.errors import ConfigError
from w2s_export.resources import model_folder, models

if TYPE_CHECKING:
    from w2s_export.export import ExportResult

OUTPUT = Path("w2s-export-output")


def export_command(
    *,
    weights: Annotated[Path | None, NETWORK] = None,
    model: Annotated[str | None, NETWORK] = None,
    sample: Annotated[Path | None, IMAGES] = None,
    output: Annotated[Path, RESULT] = OUTPUT,
    name: Annotated[str | None, RESULT] = None,
    metadata: Annotated[Path | None, RESULT] = None,
    normalisation: Annotated[str | None, NETWORK] = None,
    scale: Annotated[int | None, NETWORK] = None,
    plane: Annotated[int | None, IMAGES] = None,
    channel: Annotated[int | None, IMAGES] = None,
    repeat_channels: Annotated[bool, Flag, IMAGES] = False,
    output_normalisation: Annotated[str | None, NETWORK] = None,
    fold_channels: Annotated[bool, Flag, NETWORK] = False,
    dynamic: Annotated[bool, Flag, NETWORK] = False,
    signature: Annotated[str | None, NETWORK] = None,
    cpu_fast: Annotated[bool, Flag, RESULT] = False,
    overwrite: Annotated[bool, Flag, RESULT] = False,
) -> int:
    """Export: weights in, two verified packages out.

    Parameters
    ----------
    weights
        An RRDBNet (this tool's .npz, PyTorch, Keras, SavedModel, ONNX), or any image-to-image
        network of Keras, TensorFlow, ONNX or spandrel. Default: the embedded
        wf2sim-microtubules-s.
    model
        Name of a model that comes with the tool, with its sample and metadata, in place of
        --weights; `list` shows them.
    sample
        Image of the kind the network restores (TIFF or PNG); of a large one the busiest part, at
        most 256 × 256 pixels and fewer for a large network, travels in the packages. Default: a
        simulated one.
    output
        Folder for the two zips and report.json.
    name
        Name of the model; 5 to 128 letters, digits, spaces and _ + - ( ).
    metadata
        YAML file with authors, maintainers, cite, license, tags.
    normalisation
        percentile:LOW:HIGH, range:LOW:HIGH, zero-mean, mean-std:MEAN:STD or none, where the weights
        do not record it (or to override what they record); :clip or :clip:LOW:HIGH behind it.
    scale
        1, 2 or 4, where the weights do not record by how much the network enlarges.
    plane
        Plane of the sample, if it is a stack; counted from 0.
    channel
        Channel or colour of the sample, if it has several; counted from 0.
    repeat_channels
        Give a grey sample to every channel of a colour network.
    output_normalisation
        What the result is scaled to, in every client: back (undoes a fixed normalisation),
        range:LOW:HIGH or mean-std:MEAN:STD.
    fold_channels
        Turn a network of colour images into the same one for grey images.
    dynamic
        Let the network take images of other sizes than its file fixes.
    signature
        Signature of a SavedModel that has several.
    cpu_fast
        Add a second ONNX file of the same network, which restore --cpu-fast runs in fewer
        multiplications; worth it from 64 features on.
    overwrite
        Replace the files of an earlier export.
    """
    if model == "list":
        print_models()
        return 0
    if model is not None:
        if weights is not None:
            raise ConfigError("--model and --weights both name weights; give one of them")
        folder = model_folder(model)
        weights = folder / "weights.npz"
        sample = sample or folder / "sample_input.tif"
        metadata = metadata or folder / "metadata.yaml"
    from w2s_export.data.normalise import parse_normalisation

    request_normalisation = parse_normalisation(normalisation) if normalisation else None
    with console.status("Starting") as status:
        from w2s_export.export import ExportRequest, export

        result = export(
            ExportRequest(
                output=output,
                weights=weights,
                scale=scale,
                sample=sample,
                plane=plane,
                channel=channel,
                repeat_channels=repeat_channels,
                output_normalisation=output_normalisation,
                fold_channels=fold_channels,
                dynamic=dynamic,
                signature=signature,
                metadata=metadata,
                name=name,
                normalisation=request_normalisation,
                cpu_fast=cpu_fast,
                overwrite=overwrite,
            ),
            lambda stage: announce(stage, status),
        )
    print_export(result)
    return 0 if result.report.passed else 1


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
    if report.passed:
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
