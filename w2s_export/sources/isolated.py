"""Tensors of a foreign file, read by a worker: formats whose libraries trust what they read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import CheckpointError, WorkerError
from w2s_export.io.files import regular_size
from w2s_export.io.temporary import temporary_folder
from w2s_export.io.worker import Limits, worker
from w2s_export.sources.stored_tensor import Stored, allowance
from w2s_export.sources.tensor_exchange import DATA, RESULT

_START = 60.0
"""Seconds a worker may take to import TensorFlow, on a busy machine, and to read little."""
_SPEED = 10e6
"""Bytes a second it reads at least."""
_LIBRARIES = 768 << 20
"""Bytes that TensorFlow takes before it reads anything: 673 MB with 2.21."""
_LONGEST_RESULT = 64 << 20


@contextmanager
def isolated(
    program: str, path: Path, files: Sequence[Path]
) -> Iterator[tuple[dict[str, Any], list[tuple[Stored, str]]]]:
    """Have a worker list a file's tensors and write their values; they can be read inside.

    Returns:
        What else the program tells; each tensor with what the file notes of it.

    Raises:
        CheckpointError: refused, damaged, or beyond what a file of its size may take.
    """
    held = sum(regular_size(file, CheckpointError) for file in files)
    most = allowance(held)
    limits = Limits(_START + held / _SPEED, _LIBRARIES + 2 * held + most, file_size=2 * most)
    with temporary_folder() as temporary:
        folder = temporary / "worker"
        try:
            with worker(
                f"{__package__}.{program}",
                [str(path.absolute()), str(folder), str(most)],
                folder,
                limits,
                reads=[file.resolve() for file in files],
            ) as run:
                run.wait()
            result = _result(folder / RESULT)
        except WorkerError as error:
            raise CheckpointError(
                f"cannot be read: its reader {error}; the file is damaged or is no checkpoint"
            ) from None
        if "refused" in result:
            raise CheckpointError(result["refused"])
        found = [(_stored(record, folder / DATA), record["note"]) for record in result["tensors"]]
        yield result["facts"], found


def _result(path: Path) -> dict[str, Any]:
    if not path.exists() or path.stat().st_size > _LONGEST_RESULT:
        raise CheckpointError("holds names too long for any network")
    result: dict[str, Any] = json.loads(path.read_bytes())
    return result


def _stored(record: dict[str, Any], data: Path) -> Stored:
    def read() -> NDArray[Any]:
        if "offset" not in record:
            raise CheckpointError(f"'{record['key']}' was not read")
        held = tuple(record["held"])
        count = int(np.prod(held, dtype=object))
        return np.fromfile(data, np.float32, count, offset=record["offset"]).reshape(held)

    return Stored(record["key"], tuple(record["shape"]), record["dtype"], read)
