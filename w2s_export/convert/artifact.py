"""What a conversion hands on: a file, its hash, and the versions clients ask about."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from w2s_export.errors import OutputError

INPUT_ID = "input"
"""Name of the input tensor in the ONNX file, the SavedModel's signature and the rdf."""
OUTPUT_ID = "output"
"""Name of the output tensor in the ONNX file, the SavedModel's signature and the rdf."""


class ConversionError(RuntimeError):
    """A conversion that broke its own promise: a bug of ours or of a converter, not of the user."""


@dataclass(frozen=True, slots=True)
class OnnxArtifact:
    """A single-file ONNX model, float32 NCHW in and out."""

    path: Path
    sha256: str
    opset: int
    ir_version: int


@dataclass(frozen=True, slots=True)
class SavedModelArtifact:
    """A zipped TensorFlow SavedModel, float32 NCHW in and out, its files at the zip's root."""

    path: Path
    sha256: str
    tensorflow_version: str
    """Version that wrote it; it loads in 1.15 and later."""


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there: never half of it.

    Raises:
        OutputError: the place cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            beside.unlink()
