"""State of a training on disk: everything that resuming needs, in one pickle-free file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import CheckpointError, OutputError
from w2s_export.io.files import regular_size
from w2s_export.sources.recognise import ZIP_DAMAGE
from w2s_export.training.config import TrainingConfig

_INDECISIVE = {"provenance", "save_every", "keep_every", "simulation_workers"}
Arrays = Sequence[NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a training has come."""

    step: int = 0
    """Steps taken, of all phases together."""
    phase: int = 0
    """Index of the phase the variables belong to."""
    first: int = 0
    """Steps taken before the phase."""
    best: float | None = None
    """Best validation score of the phase."""
    best_step: int = 0
    """Step it was reached at."""


@dataclass(frozen=True, slots=True)
class TrainingState:
    """The standing, and the variables of the phase by group."""

    standing: Standing
    variables: Mapping[str, Arrays]


def save_state(path: Path, state: TrainingState, config: TrainingConfig) -> None:
    """Write the state, atomically: an interruption leaves the former one.

    Raises:
        OutputError: the file cannot be written.
    """
    header = json.dumps({"standing": asdict(state.standing), "config": fingerprint(config)})
    members = {
        f"{group}/{index:05d}": np.asarray(value)
        for group, values in state.variables.items()
        for index, value in enumerate(values)
    }
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("wb") as stream:
            np.savez(stream, header=np.array(header), **members)  # type: ignore[arg-type]
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None


def load_state(path: Path, config: TrainingConfig) -> TrainingState:
    """Read a state written by a training of the same configuration.

    Raises:
        CheckpointError: damaged, or of another configuration.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no training state to resume; start without --resume")
    try:
        regular_size(path, CheckpointError)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            header = json.loads(str(archive["header"]))
            standing = Standing(**header["standing"])
            groups: dict[str, list[NDArray[Any]]] = {}
            for name in sorted(archive.files):
                if "/" in name:
                    groups.setdefault(name.split("/")[0], []).append(archive[name])
    except (CheckpointError, RecursionError, *ZIP_DAMAGE, OSError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: is damaged ({error}); start again in another folder"
        ) from None
    if header["config"] != fingerprint(config):
        raise CheckpointError(
            f"{path}: belongs to another configuration; resume with the same one, or start in "
            "another folder"
        )
    return TrainingState(standing, groups)


def fingerprint(config: TrainingConfig) -> str:
    """SHA-256 of everything that decides the weights."""
    decisive = config.model_dump(mode="json", exclude=_INDECISIVE)
    # A training may go on for longer than it was meant to: the last phase's steps may change.
    (decisive["adversarial"] or decisive).pop("steps")
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
