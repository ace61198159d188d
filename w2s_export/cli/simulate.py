"""`w2s-export simulate`: pairs of widefield and SIM images for training and tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.progress import Progress

from w2s_export.cli.console import console, options_of, progress_bar
from w2s_export.options import SimulateOptions

if TYPE_CHECKING:
    from w2s_export.simulation.sets import SimulatedSet


def simulate_command(*, options: Annotated[SimulateOptions, options_of(SimulateOptions)]) -> int:
    """Simulate widefield and SIM images of the same fields, as folders that `train` reads."""
    from w2s_export.api import simulate

    with progress_bar(*Progress.get_default_columns()) as bar:
        task = bar.add_task("Simulating", total=None)
        plan = simulate(
            **vars(options),
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
    print_simulated(plan, Path(options.output))
    return 0


def print_simulated(plan: SimulatedSet, output: Path) -> None:
    """What was written, and how a training reads it."""
    names = [name for name, _ in plan.names()]
    held_out = max(1, len(names) // 8)
    low = ", ".join(f"avg{frames}" for frames in plan.frames)
    fields = "1 field" if len(names) == 1 else f"{len(names)} fields"
    console.print(f"{fields}, noise levels {low}: {output}", soft_wrap=True)
    if len(names) < 3:
        return
    console.print("A training reads them with this in its configuration, and --data that folder:")
    console.print(
        f"data: {{low: [{low}], high: sim, validation: [{', '.join(names[-held_out:])}], "
        f"test: [{', '.join(names[-2 * held_out : -held_out])}]}}",
        soft_wrap=True,
        highlight=False,
    )
