"""Loads a checkpoint of any known format."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from w2s_export.sources import (
    keras_archive,
    keras_h5,
    npz_checkpoint,
    onnx_file,
    package_file,
    pytorch,
    recognise,
    safetensors,
    saved_model,
)
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.naming import naming

_log = logging.getLogger(__name__)

_READERS: Mapping[str, Callable[[Path, Mapping[str, Any]], Checkpoint]] = {
    recognise.OWN: npz_checkpoint.read,
    recognise.KERAS_H5: keras_h5.read,
    recognise.KERAS_ARCHIVE: keras_archive.read,
    recognise.PYTORCH: pytorch.read,
    recognise.SAFETENSORS: safetensors.read,
    recognise.SAVED_MODEL: saved_model.read,
    recognise.ONNX: onnx_file.read,
    recognise.PACKAGE: package_file.read,
}


def load_checkpoint(path: Path, *, scale: int | None = None) -> Checkpoint:
    """Load weights of any known format, exactly, or say why not.

    Args:
        path: a file, or the folder of a SavedModel. Its content decides the format.
        scale: 1, 2 or 4, for networks that upsample without convolutions in a format that does
            not record by how much (Keras weights, state dicts); such a file is taken as ×2 when
            not given. Checked against the file where it does record it.

    Returns:
        Every tensor of the file in its place, as float32.

    Raises:
        CheckpointError: unreadable, damaged, or no checkpoint; nothing in it is ever executed.
        CheckpointMismatchError: tensors of another architecture, missing, left over, or not finite.
        MissingExtraError: the format needs a library that is not installed.
    """
    with naming(path):
        known = {} if scale is None else {"scale": scale}
        checkpoint = _READERS[recognise.recognise(path)](path, known)
    _log.info("%s: %s", path, checkpoint.config)
    return checkpoint


def doubts(checkpoint: Checkpoint) -> str:
    """What the user should confirm with `--scale`, in a sentence; empty where all is known."""
    config = checkpoint.config
    if "pixel_unshuffle" in checkpoint.assumed:
        channels = config.in_nc * config.pixel_unshuffle**2
        return (
            f"its first layer takes {channels} channels: read as {config.in_nc} behind a "
            f"pixel-unshuffle by {config.pixel_unshuffle}, so ×{config.scale}; give --scale if "
            f"these are {channels} channels of an image"
        )
    if "scale" in checkpoint.assumed:
        return f"does not record by how much it enlarges: taken as ×{config.scale}; see --scale"
    return ""
