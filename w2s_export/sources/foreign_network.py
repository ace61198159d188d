"""From anybody's file to a network: which framework opens it, and when another error counts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from math import lcm
from pathlib import Path
from typing import TYPE_CHECKING

from w2s_export.errors import (
    CheckpointError,
    CheckpointMismatchError,
    NoWholeNetworkError,
    RRDBNetMismatchError,
)
from w2s_export.network import Network
from w2s_export.sources import recognise

if TYPE_CHECKING:
    from w2s_export.sources.foreign import Witness

_log = logging.getLogger(__name__)

_OPENERS: Mapping[str, str] = {
    recognise.ONNX: "onnx_network",
    recognise.KERAS_H5: "keras_network",
    recognise.KERAS_ARCHIVE: "keras_network",
    recognise.SAVED_MODEL: "saved_model_network",
    recognise.PYTORCH: "torch_network",
    recognise.SAFETENSORS: "torch_network",
}


def may_be_foreign(path: Path, source_format: str, error: CheckpointError) -> bool:
    """Whether a file that no RRDBNet reader takes may hold another network.

    Not one that is an RRDBNet but for some tensors, nor an ONNX file of this tool that somebody
    changed: these are reported as what they are. And of PyTorch only what was read: what cannot be
    read as tensors is nothing for spandrel either.
    """
    if source_format not in _OPENERS or isinstance(error, RRDBNetMismatchError):
        return False
    # A TensorFlow checkpoint, and a SavedModel's variables alone, have no graph.
    if path.suffix == ".index" or (path.is_dir() and not (path / "saved_model.pb").is_file()):
        return False
    if source_format == recognise.ONNX:
        return not isinstance(error, CheckpointMismatchError)
    tensors = _OPENERS[source_format] == "torch_network"
    return not tensors or isinstance(error, CheckpointMismatchError)


def foreign_network(
    path: Path,
    source_format: str,
    *,
    dynamic: bool = False,
    signature: str | None = None,
    instead_of: CheckpointError | None = None,
) -> Network:
    """Load a network of another family; raise `instead_of` where the file holds no whole network.

    Tensors that neither reader knows are refused with both reasons: the second says what to save.

    Raises:
        CheckpointError: no image-to-image network that can be exported; says why.
        MissingExtraError: its framework is not installed.
    """
    from w2s_export.sources.foreign import Witness

    options = {"dynamic": dynamic, "signature": signature}
    try:
        return _as_network(Witness(_OPENERS[source_format], path, options), source_format)
    except NoWholeNetworkError as error:
        if isinstance(instead_of, CheckpointMismatchError):
            raise type(instead_of)(f"{instead_of}; {error}") from None
        raise instead_of or error from None


def _as_network(witness: Witness, source_format: str) -> Network:
    """What the house knows of an opened network."""
    from w2s_export.graph.facts import facts_of_any

    told, graph = witness.opened, witness.graph()
    fixed = None if told["fixed"] is None else (told["fixed"][0], told["fixed"][1])
    facts = facts_of_any(graph, scale=told["scale"], step=told["step"])
    step = lcm(told["step"], facts.step)
    if fixed is not None:
        _log.warning(
            "takes images of %d×%d pixels and no others: larger ones are cut into such tiles; "
            "--dynamic lets it take other sizes, where its graph allows that",
            *fixed,
        )
    return Network(
        graph=graph,
        architecture=told["architecture"],
        channels_in=told["channels_in"],
        channels_out=told["channels_out"],
        scale=told["scale"],
        facts=facts,
        reference=lambda: witness,
        step=step,
        minimum=-(-told["minimum"] // step) * step,
        fixed=fixed,
        source_format=source_format,
        chosen=told["chosen"],
    )
