"""Loads a checkpoint of any known format."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_export.config import Normalisation, PercentileNormalisation
from w2s_export.errors import CheckpointError, CheckpointMismatchError
from w2s_export.sources import recognise
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.naming import naming

if TYPE_CHECKING:
    from w2s_export.network import Network

_log = logging.getLogger(__name__)

_READERS: Mapping[str, str] = {
    recognise.OWN: "npz_checkpoint",
    recognise.KERAS_H5: "keras_h5",
    recognise.KERAS_ARCHIVE: "keras_archive",
    recognise.PYTORCH: "pytorch",
    recognise.SAFETENSORS: "safetensors",
    recognise.SAVED_MODEL: "saved_model",
    recognise.ONNX: "onnx_file",
    recognise.PACKAGE: "package_file",
}
"""Modules beside this one, each with `read(path, known)`; imported when a file needs one."""

_WHOLE_NETWORKS = (
    recognise.KERAS_H5,
    recognise.KERAS_ARCHIVE,
    recognise.SAVED_MODEL,
    recognise.ONNX,
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the user says of a network of another family."""

    dynamic: bool = False
    """Let go of a height and width that the file fixes."""
    signature: str | None = None
    """Of a SavedModel with several."""
    normalisation: Normalisation | None = None
    """Instead of what a package of others describes."""


def load_network(
    path: Path,
    *,
    scale: int | None = None,
    dynamic: bool = False,
    signature: str | None = None,
    normalisation: Normalisation | None = None,
) -> Network:
    """Load the network of a file of any known format: an RRDBNet, or else anybody's.

    Args:
        path: a file, or the folder of a SavedModel. Its content decides the format.
        scale: as for `load_checkpoint`.
        dynamic: let go of a height and width that a file of another network fixes.
        signature: of a SavedModel with several.
        normalisation: what is known of it, for a package of others that describes none, or one
            that no client has.

    Raises:
        CheckpointError: unreadable, damaged, or no network; nothing in it is ever executed.
        CheckpointMismatchError: tensors of another architecture, missing, left over, or not finite.
        MissingExtraError: the format needs a library that is not installed.
    """
    found = load_either(path, scale, Reading(dynamic, signature, normalisation))
    if not isinstance(found, Checkpoint):
        return found
    from w2s_export.sources.rrdbnet import rrdbnet_network

    return rrdbnet_network(found)


def load_either(path: Path, scale: int | None, reading: Reading) -> Network | Checkpoint:
    """As `load_network`, but of an RRDBNet's file its checkpoint: no graph is written."""
    with naming(path):
        source_format = recognise.recognise(path)
        known = {} if scale is None else {"scale": scale}
        if source_format == recognise.PACKAGE:
            from w2s_export.sources.package_file import read_network

            return read_network(path, known, reading)
        try:
            asked = reading.dynamic or reading.signature
            if asked and source_format in _WHOLE_NETWORKS:
                raise CheckpointError("is asked for as another network than an RRDBNet")
            checkpoint = _read(source_format, path, known)
        except CheckpointError as error:
            from w2s_export.sources.foreign_network import foreign_network, may_be_foreign

            if not may_be_foreign(path, source_format, error):
                raise
            network = foreign_network(
                path,
                source_format,
                dynamic=reading.dynamic,
                signature=reading.signature,
                instead_of=error,
            )
            if scale not in (None, network.scale):
                raise CheckpointMismatchError(
                    f"scale should be {scale}, but the network enlarges ×{network.scale}"
                ) from None
            _log.info("%s: %s", path, network.architecture)
            return network
    _log.info("%s: %s", path, checkpoint.config)
    return checkpoint


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
        checkpoint = _read(recognise.recognise(path), path, known)
    _log.info("%s: %s", path, checkpoint.config)
    return checkpoint


def _read(source_format: str, path: Path, known: Mapping[str, Any]) -> Checkpoint:
    reader = import_module(f"{__package__}.{_READERS[source_format]}")
    checkpoint: Checkpoint = reader.read(path, known)
    return checkpoint


def doubts(network: Network | Checkpoint) -> str:
    """What the user should confirm: what was left aside, and a guessed `--scale`; else empty."""
    checkpoint = network if isinstance(network, Checkpoint) else network.checkpoint
    guess = _scale_doubt(checkpoint) if checkpoint is not None else ""
    return "; ".join(filter(None, (network.chosen, guess)))


def normalisation_of(path: Path | None, how: Normalisation | None) -> Normalisation:
    """The normalisation that is known, else the usual percentiles, with a warning that names it."""
    if how is not None:
        return how
    usual = PercentileNormalisation()
    _log.warning(
        "%s: does not record how its images were normalised: taken as percentiles %g and %g; say "
        "--normalisation percentile:LOW:HIGH or range:LOW:HIGH if that is wrong",
        path or "the weights",
        usual.low,
        usual.high,
    )
    return usual


def _scale_doubt(checkpoint: Checkpoint) -> str:
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
