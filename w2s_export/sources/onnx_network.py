"""ONNX files of anybody: read whole and bounded, run by ONNX Runtime as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import onnx
from onnx import TensorProto, helper

from w2s_export.errors import CheckpointError, PackageError
from w2s_export.foreign_text import shown
from w2s_export.graph.guard import check_closed, parse_bounded
from w2s_export.graph.lower import inlined, to_float32
from w2s_export.graph.refusals import check_operators
from w2s_export.runtime.onnx_runtime import OnnxSession
from w2s_export.sources.original import Options, Original
from w2s_export.sources.stored_tensor import check_size


def open_original(path: Path, options: Options) -> Original:
    """Open an `.onnx` file.

    Raises:
        CheckpointError: damaged, too large, with weights outside its folder, or refused by ONNX
            Runtime.
    """
    check_size(path.stat().st_size, "its bytes")
    model = parse_bounded(path.read_bytes())
    _bring_in(model, path.parent)
    model = _without_unused_domains(inlined(model))
    check_operators(model)
    check_closed(model)
    if half := _in_half_precision(model):
        to_float32(model)  # its own rounding, 5e-4, is no witness for what float32 computes
    producer = f" by {shown(model.producer_name)}" if model.producer_name else ""
    opened = _of_any_size(model) if options.get("dynamic") else model
    try:
        session = OnnxSession(opened.SerializeToString())
    except PackageError as error:
        raise CheckpointError(str(error)) from None
    count = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    kind = f"ONNX network{producer}, {count:,} numbers{' of half precision' if half else ''}"
    return Original(model, session.name, lambda batch: session.run([batch])[0], kind)


def _of_any_size(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same nodes without the sizes that the file states, which ONNX Runtime would insist on."""
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    del freed.graph.value_info[:]
    stored = {tensor.name for tensor in model.graph.initializer}
    for tensor in (*freed.graph.input, *freed.graph.output):
        if tensor.name not in stored:
            for axis, size in enumerate(tensor.type.tensor_type.shape.dim):
                size.dim_param = f"{tensor.name}_{axis}"
    return freed


def _in_half_precision(model: onnx.ModelProto) -> bool:
    half = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
    return any(tensor.data_type in half for tensor in model.graph.initializer)


def _without_unused_domains(model: onnx.ModelProto) -> onnx.ModelProto:
    """Leave out operator sets that no node uses: tf2onnx always names one of them."""
    used = {node.domain for node in model.graph.node} | {"", "ai.onnx"}
    kept = [item for item in model.opset_import if item.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def _bring_in(model: onnx.ModelProto, folder: Path) -> None:
    """Read what the tensors keep in files beside it.

    Raises:
        CheckpointError: a place outside the folder, more than a tensor holds, or missing bytes.
    """
    total = 0
    for tensor in _tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        size = int(np.prod(tensor.dims)) * _width(tensor)
        total += size
        check_size(total, "its external tensors")
        tensor.raw_data = _external(tensor, folder, size)
        del tensor.external_data[:]
        tensor.data_location = TensorProto.DEFAULT


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    if model.graph.sparse_initializer:
        raise CheckpointError("holds sparse tensors, which are not read")
    yield from model.graph.initializer
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        for node in nodes:
            for item in node.attribute:
                if item.HasField("t"):
                    yield item.t


def _width(tensor: onnx.TensorProto) -> int:
    return int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _external(tensor: onnx.TensorProto, folder: Path, size: int) -> bytes:
    keys = [entry.key for entry in tensor.external_data]
    stated = {entry.key: entry.value for entry in tensor.external_data}
    place = PurePosixPath(stated.get("location", "").replace("\\", "/"))
    if len(keys) != len(stated) or not place.name or place.is_absolute() or ".." in place.parts:
        raise CheckpointError(
            f"keeps '{shown(tensor.name)}' in '{shown(str(place))}', which is no file beside it"
        )
    file = (folder / place).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        raise CheckpointError(
            f"keeps weights in '{shown(str(place))}', which does not lie beside it; put it there"
        )
    try:
        offset, length = int(stated.get("offset", 0)), int(stated.get("length", size))
    except ValueError:
        raise CheckpointError(f"states no number where '{shown(tensor.name)}' lies") from None
    if length != size or size < 0 or not 0 <= offset <= file.stat().st_size:
        raise CheckpointError(
            f"states {length} bytes at {offset} for '{shown(tensor.name)}', which has {size}"
        )
    with file.open("rb") as stream:
        stream.seek(offset)
        data = stream.read(size)
    if len(data) != size:
        raise CheckpointError(f"'{shown(str(place))}' is truncated; fetch it again")
    return data
