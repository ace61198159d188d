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
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import CheckpointError
from w2s_export.sources.architecture import NOTHING_KNOWN
from w2s_export.sources.assemble import by_name, by_order
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.stored import Stored, upper_half

_NUMBERED = re.compile(r".*layers/conv2d(?:_(\d+))?/(?:kernel|bias)")
_BLOCK = re.compile(r"(?:RRDB_trunk|layers)/[a-z]+(?:_(\d+))?/(?=rdb[123]/conv)")
_AROUND = ("conv_first", "trunk_conv", "HRconv", "conv_last")
_NOT_THE_NETWORK = ("optimizer", "compile_metrics", "metrics")


def read(source: Path | BinaryIO, known: Mapping[str, Any] = NOTHING_KNOWN) -> Checkpoint:
    """Read a weights file of either layout.

    Raises:
        CheckpointError: truncated, damaged, or no weights of Keras.
        CheckpointMismatchError: its tensors are not an RRDBNet's.
    """
    import h5py

    try:
        with h5py.File(source, "r") as file:
            # A whole model saved by Keras 2 keeps its weights apart from its optimizer.
            root = file.get("model_weights", file)
            if "layer_names" in root.attrs or "layer_names0" in root.attrs:
                return by_order(list(_keras_2(root, file.filename)), "keras-h5", known)
            tensors = list(_keras_3(root, file.filename))
            if tensors and all(_NUMBERED.fullmatch(tensor.key) for tensor in tensors):
                return by_order(sorted(tensors, key=_number), "keras-weights-h5", known)
            return by_name(tensors, "keras-weights-h5", known)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"is a truncated or damaged HDF5 file ({error}); fetch or write it again"
        ) from None


def _keras_2(root: Any, home: str) -> Iterator[Stored]:
    """Layer by layer, weight by weight, in the order the attributes list them."""
    for layer in _listed(root, "layer_names"):
        for weight in _listed(root[layer], "weight_names"):
            yield _stored(f"{layer}: {weight}", root[layer][weight], home)


def _listed(group: Any, name: str) -> Iterator[str]:
    """Names in an attribute; Keras splits a long one into `name0`, `name1`, …."""
    chunks = [name] if name in group.attrs else []
    while f"{name}{len(chunks)}" in group.attrs:
        chunks.append(f"{name}{len(chunks)}")
    for chunk in chunks:
        for value in group.attrs[chunk]:
            yield value.decode() if isinstance(value, bytes) else str(value)


def _keras_3(root: Any, home: str) -> Iterator[Stored]:
    """Every dataset, under its layer's name where the file notes it, else its attribute path."""
    import h5py

    datasets: list[tuple[str, Any]] = []

    def visit(path: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and path.split("/")[0] not in _NOT_THE_NETWORK:
            datasets.append((path, item))

    root.visititems(visit)
    layers = [path.rpartition("/vars/")[0] for path, _ in datasets]
    names = _w2s_names(layers)
    for layer, (path, dataset) in zip(layers, datasets, strict=True):
        name = names.get(layer) or dataset.parent.attrs.get("name", layer)
        part = {"0": "kernel", "1": "bias"}.get(path.rpartition("/")[2], path)
        yield _stored(f"{name}/{part}" if layer else path, dataset, home)


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


def _stored(key: str, dataset: Any, home: str) -> Stored:
    if dataset.is_virtual or dataset.external or dataset.file.filename != home:
        raise CheckpointError(f"'{key}' points into another file; give one that holds all")
    bfloat16 = dataset.attrs.get("dtype") == "bfloat16"
    dtype = "bfloat16" if bfloat16 else str(dataset.dtype)

    def read() -> NDArray[Any]:
        values = np.asarray(dataset[()])
        return upper_half(values.view(np.uint16)) if bfloat16 else values

    return Stored(key, tuple(dataset.shape or ()), dtype, read)
