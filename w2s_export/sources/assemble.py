"""From the tensors of a file to a checkpoint: by their names, or by their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import GeneratorConfig
from w2s_export.errors import CheckpointMismatchError
from w2s_export.sources.architecture import assumed, from_names, from_order
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.keys import known_network, place
from w2s_export.sources.stored_tensor import Stored, check_claims, fill


def by_name(tensors: Sequence[Stored], source_format: str, known: Mapping[str, Any]) -> Checkpoint:
    """Make a checkpoint of tensors whose keys tell their place.

    `known` are fields of the configuration that the file or the user states.

    Raises:
        CheckpointError: element types or sizes that cannot be a generator's.
        CheckpointMismatchError: not an RRDBNet's tensors.
    """
    check_claims(tensors)
    placed = place(tensors)
    shapes = {name: tensor.our_shape for name, tensor in placed.pairs}
    known = {**placed.known, **known}
    config = from_names(shapes, known)
    weights = fill(config, placed.pairs, placed.left_over)
    return _checkpoint(config, weights, source_format, tensors, known)


def by_order(tensors: Sequence[Stored], source_format: str, known: Mapping[str, Any]) -> Checkpoint:
    """Make a checkpoint of tensors in the order data flows: kernel, bias, kernel, bias, ….

    Arguments and errors as `by_name`.
    """
    check_claims(tensors)
    try:
        config, pairs = from_order(tensors, known)
        weights = fill(config, pairs)
    except CheckpointMismatchError as error:
        if (other := known_network(tensors)) is None:
            raise
        raise CheckpointMismatchError(f"holds {other}; {error}") from None
    return _checkpoint(config, weights, source_format, tensors, known)


def _checkpoint(
    config: GeneratorConfig,
    weights: Mapping[str, NDArray[np.float32]],
    source_format: str,
    tensors: Sequence[Stored],
    known: Mapping[str, Any],
) -> Checkpoint:
    return Checkpoint(
        config=config,
        weights=weights,
        source_format=source_format,
        dtypes=tuple(sorted({tensor.dtype for tensor in tensors})),
        assumed=assumed(config, known),
    )
