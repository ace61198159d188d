"""What a conversion hands on: a file, its hash, and the versions clients ask about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
