"""`.safetensors` files with PyTorch's keys.

The format is eight bytes of length, a JSON header and raw little-endian data
(https://github.com/huggingface/safetensors#format), so it is parsed here: the twenty lines need no
dependency and check every claim of the header against the file before anything is allocated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import CheckpointError
from w2s_export.sources.architecture import NOTHING_KNOWN
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.choose import choose
from w2s_export.sources.pytorch import assemble
from w2s_export.sources.stored_tensor import Stored, elements, upper_half

_MAX_HEADER = 16 << 20
_TYPES = {
    "F16": ("float16", "<f2"), "BF16": ("bfloat16", "<u2"), "F32": ("float32", "<f4"),
    "F64": ("float64", "<f8"), "I64": ("int64", "<i8"), "I32": ("int32", "<i4"),
    "I16": ("int16", "<i2"), "I8": ("int8", "i1"), "U8": ("uint8", "u1"), "BOOL": ("bool", "?"),
}  # fmt: skip
"""NumPy's name of each type, and how its numbers lie in the file."""


def read(path: Path, known: Mapping[str, Any] = NOTHING_KNOWN) -> Checkpoint:
    """Read a `.safetensors` file.

    Raises:
        CheckpointError: truncated, or a header that does not fit the data.
        CheckpointMismatchError: its tensors are not an RRDBNet's.
    """
    tensors, said = choose(stored_tensors(path))
    return replace(assemble(tensors, "safetensors", known), chosen=said)


def stored_tensors(path: Path) -> list[Stored]:
    """Every tensor of a file.

    Raises:
        CheckpointError: truncated, or a header that does not fit the data.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(_MAX_HEADER, size - 8):
            raise CheckpointError(f"claims a header of {length} bytes; the file has {size}")
        try:
            header = json.loads(stream.read(length))
            return [
                _stored(path, str(key), entry, 8 + length, size)
                for key, entry in header.items()
                if key != "__metadata__"
            ]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"has a damaged header ({error!r:.120})") from None


def _stored(path: Path, key: str, entry: Mapping[str, Any], start: int, size: int) -> Stored:
    begin, end = (int(offset) for offset in entry["data_offsets"])
    shape = tuple(int(length) for length in entry["shape"])
    dtype, raw = _TYPES.get(entry["dtype"], (str(entry["dtype"]), ""))
    count = elements(key, shape)
    width = np.dtype(raw).itemsize if raw else None
    if not 0 <= begin <= end:
        raise CheckpointError(f"'{key}' has shape {shape} at bytes {begin} to {end}")
    if width is not None and end - begin != count * width:
        raise CheckpointError(f"'{key}' claims {shape} {dtype} but has {end - begin} bytes")
    if start + end > size:
        raise CheckpointError(
            f"is truncated: '{key}' ends at byte {start + end}, the file at {size}; fetch it again"
        )

    def read_values() -> NDArray[Any]:
        if not raw:
            raise CheckpointError(f"'{key}' holds {dtype} numbers, which are not read")
        values = np.fromfile(path, raw, count, offset=start + begin).reshape(shape)
        return upper_half(values) if dtype == "bfloat16" else values

    return Stored(key, shape, dtype, read_values, axes="OIHW")
