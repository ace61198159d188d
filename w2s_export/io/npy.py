"""Reads what numpy saved (`.npy`): headers, and planes, as W2S publishes its normalised images."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from w2s_export.errors import ImageError
from w2s_export.io.source import ArraySource, arranged, native

SIGNATURE = b"\x93NUMPY"


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the first axis is the fastest, and type that a file claims.

    Raises:
        ValueError: of an unknown version. NumPy's own reader lets other errors out, too.
    """
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"is a NumPy array of the unknown version {version}")
    reader = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, first_fastest, dtype = reader(stream)
    return shape, first_fastest, dtype


def read(path: Path, limit: int) -> ArraySource:
    """Read one plane (H, W). Pickled objects are refused, never opened.

    Args:
        path: a `.npy` file.
        limit: bytes the array may take.

    Raises:
        ImageError: not two axes, or larger than `limit`. Damage comes as numpy's ValueError.
    """
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)  # reads no more than the header
    if mapped.ndim != 2:
        raise ImageError(f"its shape is {mapped.shape}; a plane is (height, width)")
    if mapped.nbytes > limit:
        raise ImageError(f"claims {mapped.shape} of {mapped.dtype}, more than fits in memory")
    return ArraySource(native(arranged(np.array(mapped), "YX")))
