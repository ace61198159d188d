"""What a format hands on: a written file and its hash."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from w2s_export.io.files import sha256_of, write_atomically


@dataclass(frozen=True, slots=True)
class Artifact:
    """A network written in one format, float32 NCHW in and out."""

    format: str
    """Key of the format, e.g. `onnx`."""
    path: Path
    sha256: str


def write_artifact(key: str, path: Path, content: bytes) -> Artifact:
    """Write the file at once or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    write_atomically(path, content)
    return Artifact(key, path, sha256_of(path))
