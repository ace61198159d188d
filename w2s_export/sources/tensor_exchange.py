"""Tensors on their way from a worker that reads a foreign file to the process that asked for them.

Imports no other module of this package: a worker starts in the time of its own library.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

RESULT, DATA = "tensors.json", "tensors.bin"
MOST_TENSORS = 20_000
"""SwinIR-large has 1,500, our largest network 1,404."""
_FLOATS = ("float16", "float32", "float64", "bfloat16")


class RefusedError(Exception):
    """Why a worker does not read a file, for its user."""


@dataclass(frozen=True, slots=True)
class Found:
    """A tensor of a file, in the worker."""

    key: str
    shape: tuple[int, ...]
    dtype: str
    """NumPy's name, or `bfloat16`."""
    read: Callable[[], NDArray[Any]]
    note: str = ""
    """What else the file says of it."""


def check_count(count: int) -> None:
    """Refuse more tensors than a network has.

    Raises:
        RefusedError: states how many at least.
    """
    if count > MOST_TENSORS:
        raise RefusedError(f"holds more than {MOST_TENSORS} tensors; no network has so many")


def run(
    arguments: list[str],
    read: Callable[[], tuple[dict[str, Any], Iterable[Found]]],
    damage: tuple[type[Exception], ...],
    what: str,
) -> None:
    """Write what a reader finds, or why it refuses.

    Args:
        arguments: the file; a folder, which gains `tensors.json` and `tensors.bin`; bytes that its
            tensors may take as float32.
        read: gives what else the file tells, and the tensors.
        damage: errors that its library raises for damaged files.
        what: such a file is.
    """
    path, folder, most = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    try:
        facts, tensors = read()
        found = list(tensors)
        claimed = sum(4 * int(np.prod(tensor.shape, dtype=object)) for tensor in found)
        with (folder / DATA).open("wb") as stream:
            # What is too large together, or no network's, is judged by its claims alone.
            written = [
                _record(tensor, stream if claimed <= most and tensor.dtype in _FLOATS else None)
                for tensor in found
            ]
        result: dict[str, Any] = {"facts": facts, "tensors": written}
    except RefusedError as error:
        result = {"refused": str(error)}
    except damage as error:
        reason = " ".join(str(error).replace(f"{path.parent}/", "").split())
        result = {"refused": f"{what} ({reason:.200}); fetch or write it again"}
    (folder / RESULT).write_text(json.dumps(result), encoding="ascii")


def _record(tensor: Found, stream: BinaryIO | None) -> dict[str, Any]:
    """What is told of a tensor; its values go to the stream, if there is one."""
    record: dict[str, Any] = {
        "key": tensor.key,
        "shape": tensor.shape,
        "dtype": tensor.dtype,
        "note": tensor.note,
    }
    if stream is not None:
        values = np.ascontiguousarray(tensor.read())
        record |= {"offset": stream.tell(), "held": values.shape}
        with np.errstate(over="ignore"):
            stream.write(values.astype(np.float32, copy=False).data)
    return record
