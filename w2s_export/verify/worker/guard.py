"""What must hold of a weights file before any program loads it. Runs in the worker alone.

Files are read by the library that runs them, so that both see the same: a reader of our own is
misled by fields that stand twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from w2s_export.errors import CheckpointError, PackageError, WithheldError
from w2s_export.graph.guard import parse_bounded
from w2s_export.runtime.saved_model import GRAPH_FILE, saved_model_folder
from w2s_export.runtime.saved_model_graph import COMPUTING

_ONNX_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_LARGEST_ONNX = (1 << 31) - 1
_DEEPEST = 20
_SAVING = frozenset(
    ("MergeV2Checkpoints", "SaveV2", "ShardedFilename", "StaticRegexFullMatch", "StringJoin")
)
"""What every SavedModel of Keras holds besides, to be saved again; nothing calls it."""


def checked_onnx(path: Path) -> Any:
    """The model of an ONNX file that keeps everything in itself and uses standard operators alone.

    Raises:
        PackageError: no ONNX file, or one that does not.
    """
    import onnx

    if path.stat().st_size > _LARGEST_ONNX:
        raise PackageError(f"has more than {_LARGEST_ONNX} bytes")
    try:
        model = parse_bounded(path.read_bytes())
    except CheckpointError as error:
        raise PackageError(str(error)) from None
    own = {(function.domain, function.name) for function in model.functions}
    custom = set()
    for message in _messages(model):
        if isinstance(message, onnx.TensorProto):
            if message.data_location != onnx.TensorProto.DEFAULT or message.external_data:
                raise PackageError("keeps weights in another file, which is not opened")
        elif isinstance(message, onnx.NodeProto):
            key = message.domain, message.op_type
            if message.domain not in _ONNX_DOMAINS and key not in own:
                custom.add(f"{message.domain}.{message.op_type}")
    if custom:
        raise PackageError(f"uses the operators {sorted(custom)}, and only standard ones are run")
    return model


def _messages(message: Any, depth: int = 0) -> Iterator[Any]:
    """A message of protocol buffers and all inside it."""
    if depth > _DEEPEST:
        raise PackageError(f"nests more than {_DEEPEST} deep")
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if isinstance(value, Iterable) else [value]:
                yield from _messages(inner, depth + 1)


def output_values(model: Any, shapes: Sequence[tuple[int, ...]]) -> int:
    """Values of all outputs for inputs of these shapes, as far as ONNX can tell beforehand."""
    import onnx

    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    weights = {tensor.name for tensor in sized.graph.initializer}
    inputs = [value for value in sized.graph.input if value.name not in weights]
    for value, shape in zip(inputs, shapes, strict=False):
        del value.type.tensor_type.shape.dim[:]
        for size in shape:
            value.type.tensor_type.shape.dim.add().dim_value = size
    for value in sized.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(sized, data_prop=True)
    except Exception:  # it is not asked whether the model is right
        return 0
    dims = [value.type.tensor_type.shape.dim for value in inferred.graph.output]
    return sum(math.prod(d.dim_value for d in dim) for dim in dims if dim)


def check_saved_model(path: Path) -> None:
    """Every operation of a zipped SavedModel is on the lists, wherever it stands.

    bioimageio.core loads it so: what is listed as an initialiser runs.

    Raises:
        PackageError: no SavedModel.
        WithheldError: another operation.
    """
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    with saved_model_folder(path) as folder:
        try:
            proto = SavedModel.FromString((folder / GRAPH_FILE).read_bytes())
        except Exception:  # protobuf's DecodeError, by whichever implementation is installed
            raise PackageError(f"its {GRAPH_FILE} is missing or damaged") from None
    operations: set[str] = set()
    own: set[str] = set()
    for graph in (meta.graph_def for meta in proto.meta_graphs):
        own |= {function.signature.name for function in graph.library.function}
        operations |= {node.op for node in graph.node}
        for function in graph.library.function:
            operations |= {node.op for node in function.node_def}
    if others := sorted(operations - COMPUTING - _SAVING - own):
        raise WithheldError(f"its graph holds {', '.join(others)[:200]}, which are not run")
