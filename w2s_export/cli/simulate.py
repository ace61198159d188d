"""`w2s-export simulate`: pairs of widefield and SIM images for training and tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from rich.progress import Progress

from w2s_export.cli.console import Several, console

if TYPE_CHECKING:
    from w2s_export.simulation.sets import SimulatedSet


def simulate_command(
    *,
    output: Path,
    fields: int = 24,
    structure: Annotated[
        list[Literal["filaments", "vesicles", "mitochondria"]] | None, Several
    ] = None,
    frames: Annotated[list[int] | None, Several] = None,
    seed: int = 0,
    size: int | None = None,
    pixel_size_um: float | None = None,
    numerical_aperture: float | None = None,
    emission_um: float | None = None,
    photons: float | None = None,
    read_noise: float | None = None,
    config: Path | None = None,
) -> int:
    """Simulate widefield and SIM images of the same fields, as folders that `train` reads.

    Parameters
    ----------
    output
        Folder to make: avgN/ for every noise level, sim/ and simulation.yaml.
    fields
        How many fields.
    structure
        One or more of filaments, vesicles, mitochondria, taking turns. Default: filaments.
    frames
        One or more noise levels: frames averaged. Default: 1 4 16.
    seed
        Decides samples and noise; the same seed gives the same files.
    size
        Height and width of the widefield images, pixels. Default: 128.
    pixel_size_um
        Pixel of the widefield images, micrometres. Default: 0.0626.
    numerical_aperture
        Of the objective. Default: 1.41.
    emission_um
        Wavelength, micrometres. Default: 0.525.
    photons
        Photoelectrons a frame in the brightest pixel. Default: 160.
    read_noise
        Of the camera, electrons a frame. Default: 1.6.
    config
        YAML file for all else of sample, microscope and camera: density, haze, background, gain …
        The options above win over it.
    """
    from w2s_export.config import parse_config
    from w2s_export.io.yaml_files import read_yaml
    from w2s_export.simulation.fields import SimulationConfig
    from w2s_export.simulation.sets import SimulatedSet, write_simulated_set

    stored = parse_config(SimulationConfig, read_yaml(config), str(config)) if config else None
    given = {
        "height": size,
        "width": size,
        "pixel_size_um": pixel_size_um,
        "numerical_aperture": numerical_aperture,
        "emission_um": emission_um,
        "photons": photons,
        "read_noise": read_noise,
    }
    optics = stored.model_dump() if stored else {}
    optics |= {key: value for key, value in given.items() if value is not None}
    plan = {"fields": fields, "seed": seed, "optics": optics}
    plan |= {"structures": structure} if structure else {}
    plan |= {"frames": frames} if frames else {}
    parsed = parse_config(SimulatedSet, plan, "simulate")
    with Progress(console=console) as bar:
        task = bar.add_task("Simulating", total=fields)
        write_simulated_set(parsed, output, lambda done, _: bar.update(task, completed=done))
    print_simulated(parsed, output)
    return 0


def print_simulated(plan: SimulatedSet, output: Path) -> None:
    """What was written, and how a training reads it."""
    names = [name for name, _ in plan.names()]
    held_out = max(1, len(names) // 8)
    low = ", ".join(f"avg{frames}" for frames in plan.frames)
    console.print(f"{len(names)} fields, noise levels {low}: {output}", soft_wrap=True)
    if len(names) < 3:
        return
    console.print("A training reads them with this in its configuration, and --data that folder:")
    console.print(
        f"data: {{low: [{low}], high: sim, validation: [{', '.join(names[-held_out:])}], "
        f"test: [{', '.join(names[-2 * held_out : -held_out])}]}}",
        soft_wrap=True,
        highlight=False,
    )
