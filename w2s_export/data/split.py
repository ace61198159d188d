"""Splits pairs by field, never by patch, and finds fields that two splits share by sight."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import Normalisation
from w2s_export.data.duplicates import find_duplicates
from w2s_export.data.layouts import DataSource
from w2s_export.data.pairs import Pair, PairFiles, read_files
from w2s_export.errors import ConfigError, ImageError

logger = logging.getLogger(__name__)

ROLES = ("training", "validation", "test")


@dataclass(frozen=True, slots=True)
class Split:
    """Fields by their role; no field has two."""

    training: list[Pair]
    validation: list[Pair]
    test: list[Pair]


def assign(source: DataSource, folder: Path) -> dict[str, list[PairFiles]]:
    """Every pair under `folder`, by role; held-out fields in the order in which they are listed.

    Raises:
        ConfigError: a listed field is not there.
        ImageError: the folders are not as the source says.
    """
    files = source.files(folder)
    known = {file.field for file in files}
    roles: dict[str, list[PairFiles]] = {}
    held_out = source.held_out()
    named = {field for one in held_out.values() if isinstance(one, tuple) for field in one}
    free = sorted(known - named, key=lambda field: hashlib.sha256(field.encode()).digest())
    for role, fields in held_out.items():
        if not isinstance(fields, tuple):
            count = max(1, round(fields * len(known)))
            fields, free = tuple(sorted(free[:count])), free[count:]
        absent = [field for field in fields if field not in known]
        if absent:
            raise ConfigError(f"data.{role} lists '{absent[0]}', which is not in {folder}")
        place = {field: position for position, field in enumerate(fields)}
        chosen = [file for file in files if file.field in place]
        roles[role] = sorted(chosen, key=lambda file: place[file.field])
        files = [file for file in files if file.field not in place]
    return {"training": files, **roles}


def read_split(
    source: DataSource,
    folder: Path,
    scale: int,
    normalisation: Normalisation | None,
    target_normalisation: Normalisation | None,
) -> Split:
    """Read every pair under `folder` and split as the source says.

    Raises:
        ConfigError: a listed field is not there, or nothing is left to train on.
        ImageError: see `read_files`; or a held-out field looks like one of another split.
    """
    files = assign(source, folder)
    if not files["training"]:
        raise ConfigError("validation and test take every field; none is left to train on")
    everything = [file for role in ROLES for file in files[role]]
    pairs = read_files(everything, scale, normalisation, target_normalisation)
    of = dict(zip(everything, pairs, strict=True))
    _compare_splits(source, files, of)
    return Split(**{role: [of[file] for file in files[role]] for role in ROLES})


def _compare_splits(
    source: DataSource, files: dict[str, list[PairFiles]], of: dict[PairFiles, Pair]
) -> None:
    """Raise ImageError, or warn, where two splits hold one place."""
    targets = {role: _targets([of[file] for file in files[role]]) for role in ROLES}
    for role, others in (("validation", ("training",)), ("test", ("training", "validation"))):
        for other in others:
            _refuse_shared(targets[role], role, targets[other], other, source.duplicates)


def compare_with_split(split: Split, pairs: Sequence[Pair], name: str, duplicates: str) -> None:
    """Raise ImageError, or warn, where further training pairs show a held-out place."""
    for role in ("validation", "test"):
        _refuse_shared(_targets(getattr(split, role)), role, _targets(pairs), name, duplicates)


def _targets(pairs: Sequence[Pair]) -> dict[str, NDArray[np.float32]]:
    """One image per target, however many noise levels have it."""
    return {
        pair.name if pair.files is None else _target_name(pair.files): pair.high for pair in pairs
    }


def _target_name(files: PairFiles) -> str:
    return f"{files.high}" if files.plane is None else f"{files.high}[{files.plane}]"


def _refuse_shared(
    held_out: dict[str, NDArray[np.float32]],
    role: str,
    others: dict[str, NDArray[np.float32]],
    other: str,
    duplicates: str,
) -> None:
    """Raise ImageError (`duplicates` is `refuse`) or warn where targets of both look alike."""
    found = find_duplicates(held_out, others)
    if not found:
        return
    worst = found[0]
    message = (
        f"{len(found)} targets of {role} look like targets of {other}, turned or not, the "
        f"most {worst.first} like {worst.second} (correlation {worst.correlation:.2f}); "
        "put both in one split, or set data.duplicates to warn"
    )
    if duplicates == "refuse":
        raise ImageError(message)
    logger.warning("%s", message)
