"""Our own checkpoint: one `.npz` file that opens without pickle.

A NumPy archive of the named tensors (`layer/kernel`, `layer/bias`) plus one string member,
`w2s_export.json`, with the format's version, the generator's configuration, its normalisation and
provenance. Any NumPy reads it: `numpy.load(path)["w2s_export.json"]`. The same content gives the
same bytes.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import Frozen, GeneratorConfig, Normalisation, Provenance, parse_config
from w2s_export.errors import CheckpointError, CheckpointMismatchError, ConfigError
from w2s_export.io.files import written_beside
from w2s_export.io.npy import read_header
from w2s_export.networks.layout import check_weights
from w2s_export.sources.architecture import NOTHING_KNOWN, settle
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.naming import naming
from w2s_export.sources.recognise import ZIP_DAMAGE, member_names
from w2s_export.sources.stored_tensor import Stored, check_claims, fill

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
        CheckpointMismatchError: the weights do not fit the configuration, or overflow float16.
        OutputError: the file cannot be written.
    """
    check_weights(checkpoint.config, checkpoint.weights)
    header = Header(
        generator=checkpoint.config,
        normalisation=checkpoint.normalisation,
        provenance=checkpoint.provenance,
    )
    with np.errstate(over="ignore"):
        members: dict[str, Any] = {
            name: np.ascontiguousarray(value, np.float16 if half else np.float32)
            for name, value in sorted(checkpoint.weights.items())
        }
    large = [name for name, value in members.items() if not np.isfinite(value).all()]
    if large:
        raise CheckpointMismatchError(f"'{large[0]}' is beyond float16; save with half=False")
    members[HEADER] = np.array(json.dumps(header.model_dump(mode="json"), sort_keys=True))
    with written_beside(path) as beside, beside.open("wb") as stream:
        np.savez(stream, **members)
    return path


def load_own(path: Path) -> Checkpoint:
    """Read a checkpoint of ours. Nothing in it is executed.

    Raises:
        CheckpointError: unreadable, truncated, or its header is not ours.
        CheckpointMismatchError: its tensors do not fit its configuration.
    """
    with naming(path):
        return read(path)


def read(path: Path, known: Mapping[str, Any] = NOTHING_KNOWN) -> Checkpoint:
    """Read a checkpoint of ours; errors as `load_own`, without the file's name."""
    header = _header(path)
    settle(known, header.generator.model_dump())
    try:
        with zipfile.ZipFile(path) as archive:
            tensors = [
                stored_array(archive, name)
                for name in archive.namelist()
                if name != f"{HEADER}.npy"
            ]
            check_claims(tensors)
            weights = fill(header.generator, ((tensor.key, tensor) for tensor in tensors))
    except ZIP_DAMAGE as error:
        raise CheckpointError(f"is damaged ({error}); fetch or write it again") from None
    return Checkpoint(
        config=header.generator,
        weights=weights,
        normalisation=header.normalisation,
        provenance=header.provenance,
        source_format="w2s-export",
        dtypes=tuple(sorted({tensor.dtype for tensor in tensors})),
    )


def _header(path: Path) -> Header:
    member_names(path)
    try:
        with zipfile.ZipFile(path) as archive:
            member = f"{HEADER}.npy"
            if archive.getinfo(member).file_size > _HEADER_LIMIT:
                raise CheckpointError("its header claims more than 1 MiB")
            values = json.loads(str(stored_array(archive, member).read()))
    except RecursionError:
        raise CheckpointError("its header nests too deeply") from None
    except (KeyError, *ZIP_DAMAGE) as error:
        raise CheckpointError(f"is not a w2s-export checkpoint, or damaged ({error})") from None
    try:
        return parse_config(Header, values, "its header")
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def stored_array(archive: zipfile.ZipFile, member: str) -> Stored:
    """A `.npy` member, whose header must agree with the member's size before it is allocated.

    Raises:
        CheckpointError: no array of numbers; or, once it is read, not of the size it claims.
    """
    with archive.open(member) as stream:
        shape, fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise CheckpointError("holds Python objects, which are never unpickled")
    expected = int(np.prod(shape, dtype=object)) * dtype.itemsize

    def read() -> NDArray[Any]:
        with archive.open(member) as stream:
            read_header(stream)
            data = stream.read()
        if len(data) != expected:
            raise CheckpointError(f"'{member}' claims {expected} bytes but holds {len(data)}")
        return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")

    return Stored(member.removesuffix(".npy"), shape, dtype.name, read)
