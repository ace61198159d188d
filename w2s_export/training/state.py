"""State of a training on disk: everything that resuming needs, in one pickle-free file."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import CheckpointError, OutputError
from w2s_export.training.config import TrainingConfig


@dataclass(frozen=True, slots=True)
class TrainingState:
    """Weights, their average and the optimizer's variables after `step` steps."""

    step: int
    best_psnr_db: float
    weights: Sequence[NDArray[np.float32]]
    average: Sequence[NDArray[np.float32]]
    optimizer: Sequence[NDArray[np.float32]]


def save_state(path: Path, state: TrainingState, config: TrainingConfig) -> None:
    """Write the state, atomically: an interruption leaves the former one.

    Raises:
        OutputError: the file cannot be written.
    """
    header = json.dumps(
        {"step": state.step, "best": state.best_psnr_db, "config": fingerprint(config)}
    )
    members = {
        f"{group}_{index:05d}": np.asarray(value)
        for group in ("weights", "average", "optimizer")
        for index, value in enumerate(getattr(state, group))
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
        with np.load(path, allow_pickle=False) as archive:
            header = json.loads(str(archive["header"]))
            groups = {
                group: [archive[name] for name in sorted(archive.files) if name.startswith(group)]
                for group in ("weights", "average", "optimizer")
            }
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{path}: is damaged ({error}); start again in another folder"
        ) from None
    if header["config"] != fingerprint(config):
        raise CheckpointError(
            f"{path}: belongs to another configuration; resume with the same one, or start in "
            "another folder"
        )
    return TrainingState(step=header["step"], best_psnr_db=header["best"], **groups)


def fingerprint(config: TrainingConfig) -> str:
    """SHA-256 of everything that decides the weights."""
    decisive = config.model_dump(mode="json", exclude={"provenance"})
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
