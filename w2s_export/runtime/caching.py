"""A runtime that runs nothing twice.

A file is its bytes: what the export has seen a weights file make of the sample and of its tiles,
verification need not compute again where the finished package holds the same file (by SHA-256) and
the same pixels. Running them again was a third of the time of an export of 23 blocks.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from w2s_export.io.memory import release_freed_memory
from w2s_export.runtime.protocol import Runtime


class CachingRuntime:
    """A runtime and its outputs so far, by the bits of their inputs."""

    def __init__(self, runtime: Runtime) -> None:
        self.name = runtime.name
        self._runtime = runtime
        self._outputs: dict[tuple[tuple[int, ...], bytes], NDArray[np.float32]] = {}

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Restore: (N, C, H, W) → (N, C, scale·H, scale·W), read-only."""
        key = (batch.shape, hashlib.sha256(batch.tobytes()).digest())
        if key not in self._outputs:
            output = self._runtime(batch)
            release_freed_memory()
            output.flags.writeable = False
            self._outputs[key] = output
        return self._outputs[key]
