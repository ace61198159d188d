"""What every runtime is: a name, and a call that restores a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import PackageError, W2SExportError


class Runtime(Protocol):
    """Something that restores a batch."""

    @property
    def name(self) -> str:
        """Program and version, e.g. `ONNX Runtime 1.32.0`."""
        ...

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Restore: (N, C, H, W) normalised float32 → (N, C', scale·H, scale·W)."""
        ...


@runtime_checkable
class Stoppable(Protocol):
    """A runtime that can give up the batch at work."""

    def stop(self) -> None:
        """Let the call that another thread is in fail, soon, and every later one."""
        ...


class EngineError(W2SExportError):
    """A network that the engine cannot run on this machine."""


def load_error(path: Path, name: str, error: Exception) -> PackageError:
    """The runtime `name` does not load the file."""
    return PackageError(f"{path}: {name} refuses it: {one_line(error)}")


def run_error(name: str, batch: NDArray[np.float32], error: Exception) -> EngineError:
    """The runtime `name` fails on a batch."""
    return EngineError(
        f"{name} cannot restore a tile of {'×'.join(map(str, batch.shape[2:]))}: "
        f"{one_line(error)}; if memory is short, allow less with --memory"
    )


def one_line(error: Exception) -> str:
    """The error's text on one line of at most 300 characters."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its class."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
