"""Walks through a graph, operation by operation, with what is known of every tensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper, shape_inference

from w2s_export.counting import counted
from w2s_export.graph import sampling
from w2s_export.graph import tracing as rules
from w2s_export.graph.editing import attributes_of
from w2s_export.graph.folding import MOST_ELEMENTS, constant_of, folded
from w2s_export.graph.reach import Reach
from w2s_export.graph.tensors import Tensor, constant, plain, seen_of
from w2s_export.graph.tracing import GraphError, Node, Rule

HEIGHT, WIDTH = 13440 * 1009, 13440 * 1013
"""Size of the image that is followed: multiples of 128, 3, 5 and 7, and of a prime each."""
_OF_ELEMENTS = """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift Cast Ceil Cos Cosh Div Elu Equal Erf Exp
    Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less
    LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu
    Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Tan Tanh ThresholdedRelu Where Xor
"""
_OF_AXES = """
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare ArgMax ArgMin
"""
ELEMENTWISE = frozenset(_OF_ELEMENTS.split())
"""Operations on elements that lie at one place."""
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, rules.elementwise),
    **dict.fromkeys(("BatchNormalization", "Celu", "Clip", "Dropout"), rules.first_input),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), sampling.pooling),
    **dict.fromkeys(("Resize", "Upsample"), sampling.resize),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), rules.global_pooling),
    **dict.fromkeys(("Softmax", "LogSoftmax"), rules.over_axes(-1, to_end=False)),
    **dict.fromkeys(("LpNormalization", "Hardmax"), rules.over_axes(-1, to_end=False)),
    **dict.fromkeys(("MatMul", "Gemm"), rules.matrix_product),
    **dict.fromkeys(("Expand", "ConstantOfShape"), rules.expand),
    **dict.fromkeys(("ScatterElements", "ScatterND"), rules.scattered),
    **dict.fromkeys(_OF_AXES.split(), rules.reduction),
    "Concat": rules.concat,
    "Conv": sampling.convolution,
    "ConvTranspose": sampling.transposed_convolution,
    "DepthToSpace": sampling.depth_to_space,
    "Einsum": rules.einsum,
    "Flatten": rules.flatten,
    "Gather": rules.gather,
    "GatherElements": rules.gathered_elements,
    "GridSample": rules.grid_sample,
    "InstanceNormalization": rules.over_axes(2, to_end=True),
    "LayerNormalization": rules.over_axes(-1, to_end=True),
    "Pad": rules.pad,
    "Range": rules.arange,
    "Reshape": rules.reshape,
    "Slice": rules.slices,
    "SpaceToDepth": sampling.space_to_depth,
    "Split": rules.split,
    "Squeeze": rules.squeeze,
    "Tile": rules.tile,
    "Transpose": rules.transpose,
    "Unsqueeze": rules.unsqueeze,
}


@dataclass(frozen=True, slots=True)
class Step:
    """One operation on the image."""

    node: Node
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Traced:
    """A graph that was walked through."""

    steps: list[Step]
    """Operations that depend on the image's pixels, in the order of the graph."""
    output: Tensor
    output_name: str


def walk(model: onnx.ModelProto, height: int = HEIGHT, width: int = WIDTH) -> Traced:
    """Follow an image from a graph's input to its output.

    Args:
        model: with one input (N, C, H, W) and one output.
        height: of the image. Where its rows and columns went is known for the very large one
            alone, shapes for any.
        width: of the image.

    Raises:
        GraphError: not one image in and one out, or an operation that cannot be followed.
    """
    walker = _Walker(model, height, width)
    walker.run(model.graph.node)
    (output,) = (item.name for item in model.graph.output)
    if output not in walker.tensors:
        raise GraphError(f"the graph computes no '{output}'")
    return Traced(walker.steps, walker.tensors[output], output)


class _Walker:
    """Tensors by name, as far as the walk has come."""

    def __init__(self, model: onnx.ModelProto, height: int, width: int) -> None:
        self._model, self._size = model, (height, width)
        self.stored = {item.name: item for item in model.graph.initializer}
        self.values: dict[str, NDArray[Any]] = {}
        self.tensors: dict[str, Tensor] = {
            name: constant(item.dims) for name, item in self.stored.items()
        }
        self.steps: list[Step] = []
        self._inferred_shapes: dict[str, list[int]] | None = None
        inputs = [item for item in model.graph.input if item.name not in self.stored]
        if len(inputs) != 1 or len(model.graph.output) != 1:
            raise GraphError(
                f"the graph has {counted(len(inputs), 'input')} and "
                f"{counted(len(model.graph.output), 'output')}; a restoration network has one of "
                "each"
            )
        axes = inputs[0].type.tensor_type.shape.dim
        if len(axes) != 4 or axes[1].dim_value < 1:
            raise GraphError(
                f"input '{inputs[0].name}' has {counted(len(axes), 'axis', 'axes')}; (N, C, H, W) "
                "with a fixed number of channels is needed"
            )
        self.tensors[inputs[0].name] = Tensor(
            ((), plain(axes[1].dim_value), ((height, 0),), ((width, 1),)),
            (Reach(1, 1, ((0, 0),)), Reach(1, 1, ((0, 0),))),
        )

    def value(self, name: str) -> NDArray[Any] | None:
        """A small constant."""
        stored = None if name in self.values else self.stored.get(name)
        if stored is not None and prod(stored.dims) <= MOST_ELEMENTS:
            self.values[name] = numpy_helper.to_array(stored)
        return self.values.get(name)

    def run(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """Follow these operations."""
        for proto in nodes:
            attributes = attributes_of(proto)
            if proto.op_type in ("Constant", "Shape", "Size", "If"):
                self._special(proto, attributes)
                continue
            inputs = tuple(self._tensor(name, proto) if name else None for name in proto.input)
            seen = seen_of([tensor for tensor in inputs if tensor is not None])
            known = (
                None if seen else folded(proto, [self.value(n) if n else None for n in proto.input])
            )
            if known is not None:
                for name, value in zip(proto.output, known, strict=True):
                    self._keep(name, value)
                continue
            node = Node(
                proto.op_type,
                proto.name or proto.output[0],
                attributes,
                inputs,
                tuple(
                    self.value(name) if name and not _depends(tensor) else None
                    for name, tensor in zip(proto.input, inputs, strict=True)
                ),
                len(proto.output),
            )
            rule = RULES.get(proto.op_type) if proto.domain in ("", "ai.onnx") else None
            try:
                found = rule(node) if rule else self._inferred(proto, node)
            except (ArithmeticError, IndexError, KeyError, TypeError, ValueError) as error:
                raise GraphError(
                    f"operation '{node.name}' ({node.kind}) is not as ONNX defines it: {error}"
                ) from None
            outputs = tuple(found) if isinstance(found, list) else (found,)
            self.tensors.update(zip(proto.output, outputs, strict=False))
            if seen:
                self.steps.append(Step(node, tuple(proto.input), tuple(proto.output), outputs))

    def _tensor(self, name: str, proto: onnx.NodeProto) -> Tensor:
        if name not in self.tensors:
            raise GraphError(f"operation '{proto.name}' ({proto.op_type}) reads '{name}', unknown")
        return self.tensors[name]

    def _keep(self, name: str, value: NDArray[Any]) -> None:
        self.values[name] = value
        self.tensors[name] = constant(value.shape)

    def _special(self, proto: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        """Operations that the tensors' elements do not go into."""
        if proto.op_type == "Constant":
            self._keep(proto.output[0], constant_of(attributes))
            return
        tensor = self._tensor(proto.input[0], proto)
        if proto.op_type == "Shape":
            end = attributes.get("end")
            shape = tensor.shape[attributes.get("start", 0) : end]
            self._keep(proto.output[0], np.array(shape, np.int64))
        elif proto.op_type == "Size":
            self._keep(proto.output[0], np.array(tensor.elements, np.int64))
        else:
            condition = self.value(proto.input[0])
            if condition is None:
                raise GraphError(f"operation '{proto.name}' (If) decides by the image's pixels")
            branch = attributes["then_branch" if condition.all() else "else_branch"]
            for item in branch.initializer:
                self.stored[item.name] = item
                self.tensors[item.name] = constant(item.dims)
            self.run(branch.node)
            for outer, inner in zip(proto.output, branch.output, strict=True):
                self.tensors[outer] = self.tensors[inner.name]
                if (value := self.value(inner.name)) is not None:
                    self.values[outer] = value

    def _inferred(self, proto: onnx.NodeProto, node: Node) -> list[Tensor]:
        """Shapes as ONNX infers them, for an operation without a rule; it may see everything."""
        shapes = self._shapes()
        found = []
        for name in proto.output:
            if name not in shapes:
                raise GraphError(f"operation '{node.name}' ({node.kind}) is not followed")
            found.append(constant(shapes[name]).seeing_all(seen_of(node.given())))
        return found

    def _shapes(self) -> dict[str, list[int]]:
        """Shapes that ONNX infers at the size of image that is followed, by name."""
        if self._inferred_shapes is None:
            bare = ModelProto()
            bare.CopyFrom(self._model)
            batch, _, *size = bare.graph.input[0].type.tensor_type.shape.dim
            for axis, length in zip((batch, *size), (1, *self._size), strict=True):
                axis.dim_value = length
            del bare.graph.value_info[:]
            for axis in bare.graph.output[0].type.tensor_type.shape.dim:
                axis.Clear()
            inferred = shape_inference.infer_shapes(bare, data_prop=True).graph.value_info
            self._inferred_shapes = {
                item.name: [axis.dim_value for axis in item.type.tensor_type.shape.dim]
                for item in inferred
                if all(a.HasField("dim_value") for a in item.type.tensor_type.shape.dim)
            }
        return self._inferred_shapes


def _depends(tensor: Tensor | None) -> bool:
    """Whether a tensor depends on the image's pixels."""
    return tensor is not None and tensor.reach != (None, None)
