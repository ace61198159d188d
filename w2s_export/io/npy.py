"""Reads a plane that numpy saved (`.npy`), as W2S publishes its normalised images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from w2s_export.errors import ImageError
from w2s_export.io.source import ArraySource, arranged, native

SIGNATURE = b"\x93NUMPY"


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
