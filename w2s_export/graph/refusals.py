"""What makes a foreign ONNX file no image-to-image network: refused by name, before any work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from w2s_export.counting import counted
from w2s_export.errors import CheckpointError
from w2s_export.foreign_text import shown

FLOATS = {1, 10, 11, 16}  # float32, float16, float64, bfloat16
_REFUSED = {
    "If": "branches on what it computes (operator If)",
    "Loop": "repeats steps as often as the data say (operator Loop)",
    "Scan": "repeats steps over a sequence (operator Scan)",
    "LSTM": "keeps a state from one step to the next (operator LSTM)",
    "GRU": "keeps a state from one step to the next (operator GRU)",
    "RNN": "keeps a state from one step to the next (operator RNN)",
    "NonMaxSuppression": "detects objects (operator NonMaxSuppression)",
    "NonZero": "has results whose size depends on the data (operator NonZero)",
    "Unique": "has results whose size depends on the data (operator Unique)",
    "Compress": "has results whose size depends on the data (operator Compress)",
}
_RANDOM = ("Random", "Multinomial", "Bernoulli")
_SEQUENCES = ("Sequence", "Optional", "String", "SplitToSequence", "ConcatFromSequence")
_QUANTISED = ("QLinear", "QuantizeLinear", "DequantizeLinear", "ConvInteger", "MatMulInteger")


def check_operators(model: onnx.ModelProto) -> None:
    """Refuse operators that no other program has, and networks that are more than a function.

    Raises:
        CheckpointError: names the operator and says what it means.
    """
    foreign = sorted(
        {f"{node.domain}.{node.op_type}" for node in model.graph.node}
        - {f"{domain}.{node.op_type}" for node in model.graph.node for domain in ("", "ai.onnx")}
    )
    if foreign:
        raise CheckpointError(
            f"uses operators outside the ONNX standard ({shown(', '.join(foreign))}), which other "
            "programs do not have; export the network with standard operators"
        )
    for node in model.graph.node:
        kind = node.op_type
        if kind in _REFUSED:
            raise CheckpointError(f"{_REFUSED[kind]}; only plain image networks are exported")
        if kind.startswith(_RANDOM):
            raise CheckpointError(f"draws random numbers (operator {kind}); no result repeats")
        if kind.startswith(_SEQUENCES):
            raise CheckpointError(f"works on lists or texts (operator {kind}), not on an image")
        if kind.startswith(_QUANTISED) or kind.startswith("DynamicQuantize"):
            raise CheckpointError(
                f"is quantised (operator {kind}), which not every format can hold; export it in "
                "float32"
            )


def check_ends(model: onnx.ModelProto) -> tuple[onnx.ValueInfoProto, onnx.ValueInfoProto]:
    """The one image that goes in and the one that comes out.

    Raises:
        CheckpointError: several of either, or something else than a batch of 2-D images.
    """
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [tensor for tensor in model.graph.input if tensor.name not in stored]
    outputs = list(model.graph.output)
    for tensors, side in ((inputs, "input"), (outputs, "output")):
        if len(tensors) != 1:
            names = ", ".join(tensor.name for tensor in tensors) or "none"
            raise CheckpointError(
                f"has {counted(len(tensors), side)} ({shown(names)}); only a network of one image "
                "in and one image out becomes a package that Fiji runs"
            )
    if not inputs[0].type.HasField("tensor_type"):
        raise CheckpointError("takes something else than a tensor")
    kind = inputs[0].type.tensor_type.elem_type
    if kind not in FLOATS:
        raise CheckpointError(
            f"takes {onnx.TensorProto.DataType.Name(kind)} numbers; export it with a float32 input"
        )
    dims = declared_sizes(inputs[0])
    if dims is not None and len(dims) != 4:
        known = {
            3: "one image without the axis of a batch; export it with that axis",
            5: "volumes: 3-D networks are not exported",
        }
        what = known.get(len(dims), "no batch of images")
        raise CheckpointError(f"takes a tensor of {counted(len(dims), 'axis', 'axes')} ({what})")
    return inputs[0], outputs[0]


def check_no_nan(weights: Mapping[str, NDArray[Any]]) -> None:
    """Refuse weights that are no numbers; infinity stays, masks of attention have it.

    Raises:
        CheckpointError: names the first.
    """
    bad = [name for name, w in weights.items() if w.dtype.kind == "f" and np.isnan(w).any()]
    if bad:
        raise CheckpointError(
            f"NaN in {counted(len(bad), 'tensor')}, first '{shown(bad[0])}'; the training diverged "
            "or the file is damaged: take an earlier checkpoint"
        )


def declared_sizes(tensor: onnx.ValueInfoProto) -> list[int | None] | None:
    """Sizes of the axes, None for a dynamic one; None where even their number is not stated."""
    kind = tensor.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
            for d in kind.shape.dim]  # fmt: skip
