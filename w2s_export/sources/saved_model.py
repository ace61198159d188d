"""TensorFlow SavedModel folders of w2s-tensorflow, their zips, and bare TensorFlow checkpoints.

Only the variables are read, by a worker (`tensorflow_program`).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from w2s_export.errors import CheckpointError, CheckpointMismatchError
from w2s_export.io.temporary import temporary_folder
from w2s_export.runtime.saved_model import GRAPH_FILE
from w2s_export.sources.architecture import NOTHING_KNOWN
from w2s_export.sources.assemble import by_name, by_order
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.choose import chosen
from w2s_export.sources.isolated import isolated
from w2s_export.sources.recognise import readable_zip
from w2s_export.sources.stored_tensor import check_size

_LEAKY = re.compile(rb"leaky_?re_?lu", re.IGNORECASE)
_FEWEST_CONVOLUTIONS = 19
"""Of an RRDBNet: 15 of one block, the first, the trunk's and two last ones."""
_OTHERS = (
    b"FusedBatchNorm", b"FusedBatchNormV3", b"MaxPool", b"AvgPool", b"Conv2DBackpropInput",
    b"DepthwiseConv2dNative", b"Tanh", b"MatMul",
)  # fmt: skip
_TRAINING = re.compile(rb"discriminator|critic|net_?d\b|train_step|generator", re.IGNORECASE)
_PART = r"\.(index|data-\d+-of-\d+)"
_FROZEN = (
    "is a SavedModel without variables (frozen, as in a package): its weights are constants of the "
    "graph; give the package's zip, its ONNX file, or the weights it was made from"
)


def read(path: Path, known: Mapping[str, Any] = NOTHING_KNOWN) -> Checkpoint:
    """Read a SavedModel folder, its zip, or the `.index` file of a TensorFlow checkpoint.

    Raises:
        CheckpointError: truncated, damaged, or without variables.
        CheckpointMismatchError: its variables are not an RRDBNet's.
    """
    with _prefix(path) as prefix:
        graph = _graph(path)  # tells without TensorFlow, which takes seconds to import
        if other := _of_another_network(graph):
            raise CheckpointMismatchError(f"{other}, so is no RRDBNet")
        parts = re.compile(re.escape(prefix.name) + _PART)
        files = [file for file in prefix.parent.iterdir() if parts.fullmatch(file.name)]
        with isolated("tensorflow_program", prefix, sorted(files)) as (facts, found):
            assemble = by_order if facts["ordered"] else by_name
            checkpoint = assemble([tensor for tensor, _ in found], "saved-model", known)
    return replace(checkpoint, chosen=chosen(facts["taken"], facts["aside"]))


def _of_another_network(graph: bytes) -> str:
    """What a graph has that an RRDBNet has not; empty where it may be one."""
    convolutions = graph.count(_operation(b"Conv2D"))
    if b"Conv2D" in graph and not _LEAKY.search(graph):
        return "has convolutions and no leaky ReLU"
    if 0 < convolutions < _FEWEST_CONVOLUTIONS:
        return f"has {convolutions} convolutions"
    if _TRAINING.search(graph):  # a discriminator's operations may stand beside the generator's
        return ""
    found = [name for name in _OTHERS if _operation(name) in graph]
    return f"has operations {', '.join(name.decode() for name in found)}" if found else ""


def _operation(name: bytes) -> bytes:
    """How a `NodeDef` holds the operation that it runs: its second field, a text."""
    return b"\x12" + bytes([len(name)]) + name


@contextmanager
def _prefix(path: Path) -> Iterator[Path]:
    """What TensorFlow calls a checkpoint: the common beginning of `.index` and `.data-…`."""
    if path.is_dir():
        prefix = path / "variables" / "variables"
        if not prefix.with_name("variables.index").exists():
            raise CheckpointError(_FROZEN)
        yield prefix
    elif path.suffix == ".index":
        yield path.with_suffix("")
    else:
        with temporary_folder() as folder:
            _unpack(path, folder)
            yield folder / "variables"


def _graph(path: Path) -> bytes:
    """The graph beside the variables; empty where there is none."""
    if path.is_dir():
        file = path / GRAPH_FILE
        if not file.is_file():
            return b""
        check_size(file.stat().st_size, "its graph")
        return file.read_bytes()
    if path.suffix == ".index":
        return b""
    with readable_zip(path) as archive:
        names = [name for name in archive.namelist() if PurePosixPath(name).name == GRAPH_FILE]
        return archive.read(names[0]) if len(names) == 1 else b""


def _unpack(path: Path, folder: Path) -> None:
    """Unpack the variables alone, under their plain names: nothing can land elsewhere."""
    with readable_zip(path) as archive:
        indices = [name for name in archive.namelist() if name.endswith("variables.index")]
        if not indices:
            raise CheckpointError(_FROZEN)
        if len(indices) > 1:
            raise CheckpointError(
                f"holds {len(indices)} SavedModels, {indices[0]} and {indices[1]}; give one"
            )
        parent = indices[0].removesuffix("variables.index")
        for name in archive.namelist():
            base = name.removeprefix(parent)
            if not (name.startswith(parent) and re.fullmatch("variables" + _PART, base)):
                continue
            with archive.open(name) as source, (folder / base).open("wb") as target:
                shutil.copyfileobj(source, target)
