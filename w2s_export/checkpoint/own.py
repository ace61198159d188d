"""Our own checkpoint: one `.npz` file that opens without pickle.

A NumPy archive of the named tensors (`layer/kernel`, `layer/bias`) plus one string member,
`w2s_export.json`, with the format's version, the generator's configuration, its normalisation and
provenance. Any NumPy reads it: `numpy.load(path)["w2s_export.json"]`. The same content gives the
same bytes.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Literal

import numpy as np

from w2s_export.checkpoint.artifact import Checkpoint
from w2s_export.config import Frozen, GeneratorConfig, Normalisation, Provenance, parse_config
from w2s_export.errors import CheckpointError, CheckpointMismatchError, ConfigError, OutputError
from w2s_export.networks.generator import check_weights
from w2s_export.networks.layout import parameter_count

SUFFIX = ".npz"
HEADER = "w2s_export.json"
_HEADER_LIMIT = 1 << 20


class Header(Frozen):
    """The JSON member of a checkpoint."""

    format: Literal["w2s-export checkpoint"] = "w2s-export checkpoint"
    version: Literal[1] = 1
    generator: GeneratorConfig
    normalisation: Normalisation | None = None
    provenance: Provenance = Provenance()


def save_checkpoint(checkpoint: Checkpoint, path: Path, *, half: bool = False) -> Path:
    """Write a checkpoint, atomically.

    Args:
        checkpoint: what to write.
        path: file to write, ending in `.npz`.
        half: store float16 (half the size; kernels lose at most 2⁻¹¹ of their value).

    Raises:
        CheckpointMismatchError: the weights do not fit the configuration.
        OutputError: the file cannot be written.
    """
    check_weights(checkpoint.config, checkpoint.weights)
    header = Header(
        generator=checkpoint.config,
        normalisation=checkpoint.normalisation,
        provenance=checkpoint.provenance,
    )
    members = {
        name: np.ascontiguousarray(value, np.float16 if half else np.float32)
        for name, value in sorted(checkpoint.weights.items())
    }
    text = json.dumps(header.model_dump(mode="json"), sort_keys=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as stream:
            np.savez(stream, **{HEADER: np.array(text)}, **members)
        os.replace(beside, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        beside.unlink(missing_ok=True)
    return path


def is_own(path: Path) -> bool:
    """Whether the file is a zip that holds our header."""
    try:
        with zipfile.ZipFile(path) as archive:
            return f"{HEADER}.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def load_own(path: Path) -> Checkpoint:
    """Read a checkpoint of ours. Nothing in it is executed.

    Raises:
        CheckpointError: unreadable, truncated, or its header is not ours.
        CheckpointMismatchError: its tensors do not fit its configuration.
    """
    header = read_header(path)
    limit = 4 * parameter_count(header.generator) + (1 << 20)
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(member.file_size for member in archive.infolist())
        if claimed > limit + _HEADER_LIMIT:
            raise CheckpointError(
                f"{path}: claims {claimed} bytes, its architecture needs {limit} at most"
            )
        with np.load(path, allow_pickle=False) as archive:
            weights = {
                name: np.asarray(archive[name], np.float32)
                for name in archive.files
                if name != HEADER
            }
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: is damaged: {error}; fetch or write it again") from None
    try:
        check_weights(header.generator, weights)
    except CheckpointMismatchError as error:
        raise CheckpointMismatchError(f"{path}: {error}") from None
    return Checkpoint(
        config=header.generator,
        weights=weights,
        normalisation=header.normalisation,
        provenance=header.provenance,
        source_format="w2s-export",
    )


def read_header(path: Path) -> Header:
    """Read the configuration alone, without the weights.

    Raises:
        CheckpointError: unreadable, or not a checkpoint of ours.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(f"{HEADER}.npy").file_size > _HEADER_LIMIT:
                raise CheckpointError(f"{path}: its header claims more than 1 MiB")
        with np.load(path, allow_pickle=False) as archive:
            values = json.loads(str(archive[HEADER]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: is not a w2s-export checkpoint: {error}") from None
    try:
        return parse_config(Header, values, str(path))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
