"""Keras weights in HDF5.

Two layouts. Keras 2 (`save_weights("x.h5")`, as w2s-tensorflow wrote): the attribute
`layer_names`, and in each layer's group the attribute `weight_names`; the dense blocks share
names, so order and shape decide. Keras 3 (`x.weights.h5`): datasets `…/vars/0` (kernel) and
`…/vars/1` (bias); newer versions note the layer's name beside them, older ones only number the
convolutions in the order of the model's layers. Keras 2.13 to 2.15 write this layout too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from w2s_export.sources.architecture import NOTHING_KNOWN
from w2s_export.sources.assemble import by_name, by_order
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.isolated import isolated
from w2s_export.sources.stored_tensor import Stored

_NUMBERED = re.compile(r".*layers/conv2d(?:_(\d+))?/(?:kernel|bias)")
_BLOCK = re.compile(r"(?:RRDB_trunk|layers)/[a-z]+(?:_(\d+))?/(?=rdb[123]/conv)")
_AROUND = ("conv_first", "trunk_conv", "HRconv", "conv_last")


def read(path: Path, known: Mapping[str, Any] = NOTHING_KNOWN) -> Checkpoint:
    """Read a weights file of either layout.

    Raises:
        CheckpointError: truncated, damaged, or no weights of Keras.
        CheckpointMismatchError: its tensors are not an RRDBNet's.
    """
    with isolated("hdf5_program", path, [path]) as (facts, found):
        if facts["old"]:
            return by_order([tensor for tensor, _ in found], "keras-h5", known)
        tensors = list(_named(found))
        if tensors and all(_NUMBERED.fullmatch(tensor.key) for tensor in tensors):
            return by_order(sorted(tensors, key=_number), "keras-weights-h5", known)
        return by_name(tensors, "keras-weights-h5", known)


def _named(found: Sequence[tuple[Stored, str]]) -> Iterator[Stored]:
    """Every tensor under its layer's name where the file notes it, else its attribute path."""
    layers = [tensor.key.rpartition("/vars/")[0] for tensor, _ in found]
    names = _w2s_names(layers)
    for layer, (tensor, noted) in zip(layers, found, strict=True):
        name = names.get(layer) or noted or layer
        part = {"0": "kernel", "1": "bias"}.get(tensor.key.rpartition("/")[2], tensor.key)
        yield replace(tensor, key=f"{name}/{part}" if layer else tensor.key)


def _w2s_names(layers: Sequence[str]) -> dict[str, str]:
    """Attribute path of the layers of w2s-tensorflow's class, which Keras numbers by their kind.

    A list's blocks are `rrdb`, `rrdb_1`, …. Of the four layers around the blocks, some appear under
    their attribute's name (which, depends on the version) and the rest as `layers/conv2d`,
    `layers/conv2d_1`, … in the order of creation.
    """
    if not any(_BLOCK.search(layer) for layer in layers):
        return {}
    names = {
        layer: _BLOCK.sub(lambda match: f"RRDB_trunk/{match[1] or 0}/", layer) for layer in layers
    }
    numbered = sorted({layer for layer in layers if re.search(r"layers/conv2d(_\d)?$", layer)})
    attributes = {layer.rpartition("/")[2] for layer in layers}
    for layer, name in zip(numbered, [n for n in _AROUND if n not in attributes], strict=False):
        names[layer] = f"{layer.rpartition('layers/')[0]}{name}"
    return names


def _number(tensor: Stored) -> tuple[int, bool]:
    match = _NUMBERED.fullmatch(tensor.key)
    return int(match[1] or 0) if match else 0, tensor.key.endswith("/bias")
