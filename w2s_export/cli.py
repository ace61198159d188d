"""The command line: one command a stage, `w2s-export` alone being the main job.

Each command parses, calls one function, prints and returns an exit code: 0 good, 1 a check found
something, 2 bad input. Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from w2s_export import __version__
from w2s_export.errors import ConfigError, W2SExportError

if TYPE_CHECKING:
    from w2s_export.config import Normalisation

OUTPUT = Path("w2s-export-output")
Flag = Parameter(negative="")

app = App(
    help_format="plaintext",  # Markdown would double the time to show help
    name="w2s-export",
    version=__version__,
    help="Turn a trained microscopy super-resolution network into packages that run in DeepImageJ "
    "and the bioimage.io zoo, and prove that every format gives the same image.",
)
console = Console()
errors = Console(stderr=True)


def main() -> None:
    """Entry point: run the command line and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    # TensorFlow's C++ log says nothing a user could act on.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    # Nor do its deprecations (the version-1 SavedModel is on purpose) or the TIFF reader's notes.
    for name in ("tensorflow", "tifffile"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        code = app(arguments, exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:
        return 2
    except W2SExportError as error:
        errors.print(f"[bold red]Error:[/] {_escape(error)}", soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        hint = "; it goes on with --resume" if arguments[:1] == ["train"] else ""
        errors.print(f"Interrupted{hint}.")
        return 130
    return code if isinstance(code, int) else 0


@app.default
def export_command(
    *,
    weights: Path | None = None,
    sample: Path | None = None,
    output: Path = OUTPUT,
    name: str | None = None,
    metadata: Path | None = None,
    normalisation: str | None = None,
    scale: int | None = None,
    plane: int | None = None,
    repeat_channels: Annotated[bool, Flag] = False,
    overwrite: Annotated[bool, Flag] = False,
) -> int:
    """Export: weights in, two verified packages out.

    Parameters
    ----------
    weights
        Checkpoint: this tool's .npz, PyTorch, Keras, SavedModel, ONNX. Default: the embedded
        wf2sim-microtubules-s.
    sample
        Image of the kind the network restores (TIFF or PNG). Default: a simulated one.
    output
        Folder for the two zips and report.json.
    name
        Name of the model; 5 to 128 letters, digits, spaces and _ + - ( ).
    metadata
        YAML file with authors, maintainers, cite, license, tags.
    normalisation
        percentile:LOW:HIGH or range:LOW:HIGH, where the weights do not record it (or to override
        what they record).
    scale
        1, 2 or 4, where the weights do not record by how much the network enlarges.
    plane
        Plane of the sample, if it is a stack.
    repeat_channels
        Give a grey sample to every channel of a colour network.
    overwrite
        Replace the files of an earlier export.
    """
    request_normalisation = _normalisation(normalisation) if normalisation else None
    with console.status("Starting") as status:
        from w2s_export.export import ExportRequest, export

        result = export(
            ExportRequest(
                output=output,
                weights=weights,
                scale=scale,
                sample=sample,
                plane=plane,
                repeat_channels=repeat_channels,
                metadata=metadata,
                name=name,
                normalisation=request_normalisation,
                overwrite=overwrite,
            ),
            lambda stage: _announce(stage, status),
        )
    from w2s_export.tables import print_export

    print_export(console, result)
    return 0 if result.report.passed else 1


@app.command(name="train")
def train_command(
    config: Path,
    /,
    *,
    data: Path,
    output: Path,
    resume: Annotated[bool, Flag] = False,
) -> int:
    """Train a generator on paired images (phase one: pixel loss).

    Parameters
    ----------
    config
        YAML file, e.g. models/wf2sim-microtubules-s/config.yaml.
    data
        Folder that holds the folders of inputs and targets.
    output
        Folder for the checkpoint, the log and the state that resuming needs.
    resume
        Go on with an interrupted training.
    """
    from w2s_export.tables import print_training, training_progress
    from w2s_export.training.config import read_training_config
    from w2s_export.training.run import train

    settings = read_training_config(config)
    with training_progress(console) as progress:
        trained = train(settings, data, output, resume=resume, progress=progress)
    print_training(console, trained)
    return 0


@app.command(name="inspect")
def inspect_command(weights: Path, /, *, scale: int | None = None) -> int:
    """Show what a checkpoint is, and whether it can be exported.

    Parameters
    ----------
    weights
        Any file or SavedModel folder.
    scale
        1, 2 or 4, where the weights do not record by how much the network enlarges.
    """
    from w2s_export.checkpoint.inspect import inspect_checkpoint
    from w2s_export.tables import print_inspection

    inspection = inspect_checkpoint(weights, scale=scale)
    print_inspection(console, inspection)
    return 0 if inspection.exportable else 2


def _announce(stage: str, status: object) -> None:
    if console.is_terminal:
        status.update(f"{stage} …")  # type: ignore[attr-defined]
    else:
        console.print(f"{stage} …")


def _normalisation(text: str) -> Normalisation:
    """Parse `percentile:LOW:HIGH` or `range:LOW:HIGH`."""
    from w2s_export.config import FixedRangeNormalisation, PercentileNormalisation, parse_config

    kinds = {"percentile": PercentileNormalisation, "range": FixedRangeNormalisation}
    kind, *bounds = text.split(":")
    if kind not in kinds or len(bounds) != 2:
        raise ConfigError(
            f"--normalisation {text}: write percentile:LOW:HIGH (e.g. percentile:1:99.8) or "
            "range:LOW:HIGH (e.g. range:0:255)"
        )
    values = {"low": bounds[0], "high": bounds[1]}
    return parse_config(kinds[kind], values, "--normalisation")  # type: ignore[return-value]


def _escape(error: Exception) -> str:
    from rich.markup import escape

    return escape(str(error))
