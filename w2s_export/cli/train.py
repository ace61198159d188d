"""`w2s-export train`: paired images in, a checkpoint out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from w2s_export.cli.console import console, options_of, progress_bar
from w2s_export.errors import ConfigError
from w2s_export.options import TrainOptions

if TYPE_CHECKING:
    from w2s_export.training.fit import Step
    from w2s_export.training.run import Trained

DEFAULTS = TrainOptions()


def train_command(
    config: Path | None = None,
    /,
    *,
    options: Annotated[TrainOptions, options_of(TrainOptions)] = DEFAULTS,
    init: Path | None = None,
    explain: bool = False,
) -> int:
    """Train a generator on paired images, with the pixel loss and then all losses.

    Parameters
    ----------
    config
        YAML file, e.g. models/wf2sim-microtubules-s/config.yaml.
    init
        Write a commented configuration for the images in --data to this file, and end.
    explain
        Print every key of the configuration with its default and meaning, and end.
    """
    if explain:
        from w2s_export.training.config_reference import configuration_reference

        sys.stdout.write(configuration_reference())
        return 0
    if options.data is None:
        raise ConfigError("give the folder of the images as --data")
    if init is not None:
        from w2s_export.training.starter import write_starter

        written = write_starter(init, Path(options.data))
        console.print(f"Configuration: {written}", soft_wrap=True)
        return 0
    if config is None or options.output is None:
        raise ConfigError("give a configuration and --output; --init writes one to begin with")
    from w2s_export.api import train

    with training_progress() as progress:
        trained = train(config, **vars(options), progress=progress)
    print_training(trained)
    return 0


@contextmanager
def training_progress() -> Iterator[Callable[[Step], None]]:
    """A bar with loss, validation PSNR and the time left; yields its callback."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with progress_bar(*columns) as bar:
        task = bar.add_task("Starting TensorFlow, and the first step", total=None)

        def heard(step: Step) -> None:
            text = f"{step.phase}: loss {step.loss:.4f}"
            bar.update(task, completed=step.step, total=step.steps, description=text)
            if step.scores:
                bicubic = _cell(step.scores, "psnr_bicubic_db", 2) or "has other channels"
                bar.console.print(
                    f"step {step.step}: validation PSNR {step.scores['psnr_db']:.2f} dB (bicubic "
                    f"{bicubic}), "
                    f"SSIM {step.scores['ssim']:.4f}, learning rate {step.rate:.2g}"
                )

        yield heard


def print_training(trained: Trained) -> None:
    """Scores on the test fields, and where the checkpoint is."""
    if trained.fields:
        table = Table("test field", "PSNR dB", "bicubic", "SSIM", "bicubic")
        for field in trained.fields:
            table.add_row(
                field.name,
                f"{field.restored['psnr_db']:.2f}",
                _cell(field.bicubic, "psnr_db", 2),
                f"{field.restored['ssim']:.4f}",
                _cell(field.bicubic, "ssim", 4),
            )
        scores = trained.scores
        table.add_section()
        table.add_row(
            "mean",
            f"{scores['psnr_db']:.2f}",
            _cell(scores, "psnr_bicubic_db", 2),
            f"{scores['ssim']:.4f}",
            _cell(scores, "ssim_bicubic", 4),
        )
        console.print(table)
    console.print(f"Checkpoint: {trained.checkpoint}")


def _cell(scores: Mapping[str, float], key: str, digits: int) -> str:
    """A score as a table shows it; nothing where bicubic has none."""
    return f"{scores[key]:.{digits}f}" if key in scores else ""
