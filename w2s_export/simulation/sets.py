"""Writes simulated fields as paired folders: `avgN/` for every noise level, and `sim/`.

One sample a field, seen through every noise level, as W2S has it; a training reads the folders with
`data: {low: [avg1, avg4], high: sim}`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from w2s_export.config import Frozen, parse_config
from w2s_export.errors import OutputError
from w2s_export.io.images import write_imagej_tiff
from w2s_export.io.yaml_files import read_yaml, write_yaml
from w2s_export.options import SimulateOptions
from w2s_export.simulation.fields import (
    SCALE,
    SimulationConfig,
    Structure,
    detect,
    simulate_field,
)

RECORD = "simulation.yaml"
_OF_OPTICS = ("pixel_size_um", "numerical_aperture", "emission_um", "photons", "read_noise")
"""Options that are fields of `SimulationConfig`."""


class SimulatedSet(Frozen):
    """Fields to simulate. The same plan gives the same files, byte for byte."""

    fields: Annotated[int, Field(ge=1, le=10_000)] = 24
    """Fields in all, the structures taking turns."""
    structures: Annotated[tuple[Structure, ...], Field(min_length=1)] = ("filaments",)
    """What the samples show."""
    frames: Annotated[tuple[Annotated[int, Field(ge=1, le=10_000)], ...], Field(min_length=1)] = (
        1,
        4,
        16,
    )
    """Noise levels: frames averaged."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Decides the samples and the noise. Sets of different seeds share no field."""
    optics: SimulationConfig = SimulationConfig()
    """Sample, microscope and camera; `structure` and `frames` above take the place of its own."""

    def names(self) -> list[tuple[str, Structure]]:
        """File name and structure of every field."""
        turns = [self.structures[n % len(self.structures)] for n in range(self.fields)]
        return [(f"{structure}_{n:04}.tif", structure) for n, structure in enumerate(turns)]


def planned_set(options: SimulateOptions) -> SimulatedSet:
    """The set that a user asks for; their options win over the file of `config`.

    Raises:
        ConfigError: a setting out of range, or a file that cannot be read.
    """
    stored = SimulatedSet() if options.config is None else read_simulated_set(Path(options.config))
    optics = {name: getattr(options, name) for name in _OF_OPTICS}
    optics |= {"height": options.size, "width": options.size}
    given = {name: getattr(options, name) for name in ("fields", "seed", "frames")}
    given["structures"] = options.structure
    plan = stored.model_dump() | {name: value for name, value in given.items() if value is not None}
    plan["optics"] |= {name: value for name, value in optics.items() if value is not None}
    return parse_config(SimulatedSet, plan, "simulate")


def read_simulated_set(path: Path) -> SimulatedSet:
    """Read a plan, `simulation.yaml` of a set for one.

    A file without `optics` may have the keys of `SimulationConfig` at its top; its `structure` and
    `frames` are then the only ones of the set.

    Raises:
        ConfigError: unreadable, or a key or value at fault (all are named).
    """
    values = read_yaml(path)
    of_optics = SimulationConfig.model_fields.keys() - SimulatedSet.model_fields.keys()
    if not isinstance(values, dict) or "optics" in values or not values.keys() & of_optics:
        return parse_config(SimulatedSet, values, str(path))
    of_set = {key: values.pop(key) for key in ("fields", "seed", "structures") if key in values}
    if isinstance(values.get("frames"), list):
        of_set["frames"] = values.pop("frames")
    optics = parse_config(SimulationConfig, values, str(path))
    if "structure" in values:
        of_set.setdefault("structures", [optics.structure])
    if "frames" in values:
        of_set["frames"] = [optics.frames]
    return parse_config(SimulatedSet, {**of_set, "optics": optics.model_dump()}, str(path))


def write_simulated_set(
    plan: SimulatedSet, output: Path, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Simulate and write `output`, whole or not at all; returns it.

    Holds `avgN/NAME.tif` (uint16 counts), `sim/NAME.tif` (float32 photoelectrons, twice as large),
    both with their pixel size, and the plan as `simulation.yaml`.

    Args:
        plan: what to simulate.
        output: folder to make; it may exist if it is empty.
        progress: hears (fields done, fields in all).

    Raises:
        OutputError: the folder holds something, or cannot be written.
    """
    output = output.absolute()
    beside = output.with_name(f".{output.name}.part")
    try:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise OutputError(f"{output}: holds something already; give a new or empty folder")
        shutil.rmtree(beside, ignore_errors=True)
        for folder in ("sim", *(f"avg{frames}" for frames in plan.frames)):
            (beside / folder).mkdir(parents=True, exist_ok=True)
        for number, (name, structure) in enumerate(plan.names()):
            _write_field(plan, number, structure, beside, name)
            if progress is not None:
                progress(number + 1, plan.fields)
        record = plan.model_dump(mode="json", exclude={"optics": {"structure", "frames"}})
        (beside / RECORD).write_bytes(write_yaml(record))
        if output.exists():
            output.rmdir()
        beside.rename(output)
    except OSError as error:
        raise OutputError(f"{output}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return output


def _write_field(
    plan: SimulatedSet, number: int, structure: Structure, root: Path, name: str
) -> None:
    # Seeds that are added would let set 1 begin with the second field of set 0.
    seed = int(np.random.SeedSequence((plan.seed, number)).generate_state(1)[0])
    config = plan.optics.model_copy(update={"structure": structure})
    photons, sim = simulate_field(config, seed)
    pixel = config.pixel_size_um
    write_imagej_tiff(root / "sim" / name, sim, pixel / SCALE)
    for frames in plan.frames:
        camera = config.model_copy(update={"frames": frames})
        counts = detect(camera, photons, np.random.default_rng((seed, 1, frames)))
        write_imagej_tiff(root / f"avg{frames}" / name, counts, pixel)
