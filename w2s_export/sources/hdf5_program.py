"""The worker that reads Keras weights in HDF5: `main([PATH, FOLDER, MOST_BYTES])`.

libhdf5 trusts what it reads: damaged files send it into endless loops or make it take gigabytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.sources.tensor_exchange import Found, RefusedError, check_count, run

_NOT_THE_NETWORK = ("optimizer", "compile_metrics", "metrics")


def main(arguments: list[str]) -> None:
    """List the file's tensors, and write their values."""
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # libhdf5 loads no filters from anywhere
    import h5py

    def read() -> tuple[dict[str, Any], list[Found]]:
        file = h5py.File(arguments[0], "r")  # open to the end: values are read later
        # A whole model saved by Keras 2 keeps its weights apart from its optimizer.
        root = _member(file, "model_weights") if "model_weights" in file else file
        old = "layer_names" in root.attrs or "layer_names0" in root.attrs
        return {"old": old}, list(_keras_2(root) if old else _keras_3(root))

    damage = (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError)
    run(arguments, read, damage, "is a truncated or damaged HDF5 file")


def _keras_2(root: Any) -> Iterator[Found]:
    """Layer by layer, weight by weight, in the order the attributes list them."""
    listed: list[tuple[str, Any, str]] = []
    for count, layer in enumerate(_listed(root, "layer_names")):
        check_count(count + len(listed))
        group = _member(root, layer)
        listed += [(layer, group, weight) for weight in _listed(group, "weight_names")]
    check_count(len(listed))
    for layer, group, weight in listed:
        yield _found(f"{layer}: {weight}", _member(group, weight))


def _listed(group: Any, name: str) -> Iterator[str]:
    """Names in an attribute; Keras splits a long one into `name0`, `name1`, …."""
    chunks = [name] if name in group.attrs else []
    while f"{name}{len(chunks)}" in group.attrs:
        chunks.append(f"{name}{len(chunks)}")
    for chunk in chunks:
        for value in group.attrs[chunk]:
            yield value.decode() if isinstance(value, bytes) else str(value)


def _keras_3(root: Any) -> Iterator[Found]:
    """Every dataset under its path; its note is the layer's name where the file says it."""
    for path, dataset in _datasets(root, "", set()):
        if path.split("/")[0] not in _NOT_THE_NETWORK:
            yield _found(path, dataset, str(dataset.parent.attrs.get("name", "")))


def _datasets(group: Any, above: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    import h5py

    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.SoftLink):
            continue
        member, path = _member(group, name), f"{above}{name}"
        address = h5py.h5o.get_info(member.id).addr
        if address in seen:
            continue
        seen.add(address)
        check_count(len(seen))
        if isinstance(member, h5py.Dataset):
            yield path, member
        elif isinstance(member, h5py.Group):
            yield from _datasets(member, f"{path}/", seen)


def _member(group: Any, path: str) -> Any:
    """A member by its path, none of whose parts leads into another file."""
    import h5py

    for part in filter(None, path.split("/")):
        if not isinstance(group, h5py.Group):
            raise KeyError(path)
        # Keras writes no links, and one within the file may lead out of it in two steps.
        if isinstance(group.get(part, getlink=True), h5py.ExternalLink | h5py.SoftLink):
            raise RefusedError(f"'{path}' points into another file; give one that holds all")
        group = group[part]
    return group


def _found(key: str, dataset: Any, note: str = "") -> Found:
    if dataset.is_virtual or dataset.external:
        raise RefusedError(f"'{key}' points into another file; give one that holds all")
    bfloat16 = dataset.attrs.get("dtype") == "bfloat16"

    def read() -> NDArray[Any]:
        values = np.asarray(dataset[()])
        return (
            (values.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
            if bfloat16
            else values
        )

    dtype = "bfloat16" if bfloat16 else str(dataset.dtype)
    return Found(key, tuple(dataset.shape or ()), dtype, read, note)
