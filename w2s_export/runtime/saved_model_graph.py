"""Runs a SavedModel without loading it as its author wished.

TensorFlow's loader runs what the file lists as initialisers, and a graph can read and write files.
Here the graph is cut down to what the signature's outputs (and the restoring of variables) need,
every operation left must be on the list below, and the weights come from the file's own variables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from w2s_export.counting import counted
from w2s_export.errors import PackageError, WithheldError
from w2s_export.runtime.saved_model import GRAPH_FILE, SIGNATURE, saved_model_folder

_COMPUTING = """
    Abs Add AddN AddV2 All Any ArgMax ArgMin Assert Atan Atan2 AvgPool AvgPool3D BatchMatMul
    BatchMatMulV2 BatchToSpace BatchToSpaceND BiasAdd BiasAddV1 BroadcastArgs BroadcastTo Cast Ceil
    ClipByValue Concat ConcatV2 Const Conv2D Conv2DBackpropInput Conv3D Conv3DBackpropInputV2 Cos
    CropAndResize Cumsum DepthToSpace DepthwiseConv2dNative Div DivNoNan Einsum Elu EnsureShape
    Equal Erf Erfc Exp ExpandDims Expm1 Fill Floor FloorDiv FloorMod FusedBatchNorm FusedBatchNormV2
    FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual Identity IdentityN
    InvertPermutation IsFinite IsNan LeakyRelu Less LessEqual LinSpace Log Log1p LogSoftmax
    LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool MaxPool3D MaxPoolV2 Maximum Mean Min Minimum
    MirrorPad Mod Mul MulNoNan Neg NoOp NonMaxSuppressionV3 NotEqual OneHot OnesLike Pack Pad PadV2
    Placeholder PlaceholderWithDefault Pow PreventGradient Prod Range Rank RealDiv Reciprocal Relu
    Relu6 Reshape ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor ReverseV2 Round
    Rsqrt ScatterNd Select SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Size Slice Snapshot Softmax
    Softplus Softsign SpaceToBatch SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square
    SquaredDifference Squeeze StopGradient StridedSlice Sub Sum Tan Tanh TensorScatterUpdate Tile
    TopKV2 Transpose TruncateDiv TruncateMod Unpack Where ZerosLike
    Case Enter Exit If LoopCond Merge NextIteration PartitionedCall RefEnter RefExit RefMerge
    RefSwitch StatefulPartitionedCall StatelessIf StatelessWhile Switch While
    Assign AssignVariableOp DisableCopyOnRead ReadVariableOp RefIdentity ResourceGather RestoreV2
    VarHandleOp VarIsInitializedOp Variable VariableV2
"""
_VARIABLES = ("VarHandleOp", "Variable", "VariableV2")
COMPUTING = frozenset(_COMPUTING.split())
"""Operations that compute from their inputs, steer, or fill variables. RestoreV2 reads TensorFlow
checkpoints, and nothing but tensors can come of that."""


def load_saved_model(
    path: Path, input_ids: Iterable[str], output_ids: Iterable[str]
) -> tuple[str, Callable[[list[NDArray[Any]]], list[NDArray[Any]]]]:
    """Prepare a zipped SavedModel to run.

    Args:
        path: the zip.
        input_ids: names of the inputs, in the order arrays will be given.
        output_ids: names of the outputs, in the order they are wanted.

    Returns:
        Name of the runtime, and a function of arrays, one an input, to arrays, one an output.

    Raises:
        PackageError: no SavedModel, without the signature, or with an operation not on the list.
    """
    with saved_model_folder(path) as folder:
        opened = open_graph(folder, SIGNATURE, list(input_ids), list(output_ids))
    return opened.name, opened.run


@dataclass(frozen=True, slots=True)
class OpenedGraph:
    """A SavedModel's signature, cut down and ready to run."""

    name: str
    """The runtime."""
    sources: list[str]
    """Tensors that go in."""
    targets: list[str]
    """Tensors that come out."""
    run: Callable[[list[NDArray[Any]]], list[NDArray[Any]]]
    """Arrays, one per input, to arrays, one per output."""
    frozen: Callable[[], Any]
    """The graph with its variables as constants (`GraphDef`)."""
    variables: int
    """How many variables the outputs need."""


def read_graph(folder: Path) -> Any:
    """The graph under the tag `serve`, not loaded.

    Raises:
        PackageError: missing or damaged.
    """
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    try:
        proto = SavedModel.FromString((folder / GRAPH_FILE).read_bytes())
    except Exception:  # protobuf's DecodeError, by whichever implementation is installed
        raise PackageError(f"its {GRAPH_FILE} is missing or damaged") from None
    meta = next((m for m in proto.meta_graphs if "serve" in m.meta_info_def.tags), None)
    if meta is None:
        raise PackageError("has no graph under the tag serve")
    return meta


def open_graph(
    folder: Path,
    signature_name: str = SIGNATURE,
    input_ids: list[str] | None = None,
    output_ids: list[str] | None = None,
    *,
    any_size: bool = False,
    single: bool = False,
) -> OpenedGraph:
    """Prepare a SavedModel's folder to run.

    Args:
        folder: of the SavedModel; needed no longer afterwards.
        signature_name: which signature.
        input_ids: names of the inputs, in the order arrays will be given; None: the signature's.
        output_ids: names of the outputs, in the order they are wanted; None: the signature's.
        any_size: take arrays of other sizes than the graph states for its inputs.
        single: compute in float32 what the graph computes in half precision.

    Raises:
        PackageError: no SavedModel, without the signature, or with an operation not on the list.
    """
    import tensorflow as tf

    meta = read_graph(folder)
    if signature_name not in meta.signature_def:
        raise PackageError(f"has no signature {signature_name} under the tag serve")
    signature = meta.signature_def[signature_name]
    ins = sorted(signature.inputs) if input_ids is None else input_ids
    outs = sorted(signature.outputs) if output_ids is None else output_ids
    sources = _chosen(signature.inputs, ins, "inputs")
    targets = _chosen(signature.outputs, outs, "outputs")
    variables = folder / "variables" / "variables"
    restored = variables.with_name("variables.index").is_file()
    restore = meta.saver_def.restore_op_name if restored else ""
    results = [name.split(":")[0] for name in targets]
    kept = _pruned(meta.graph_def, [*results, *filter(None, [restore])])
    needed = _variables_of(meta.graph_def, results) if restored else 0
    if any_size:
        _let_go_of_sizes(kept)
    if single:
        _in_single_precision(kept)
    graph = _imported(kept)
    session = tf.compat.v1.Session(graph=graph)
    if restore:
        session.run(restore, {meta.saver_def.filename_tensor_name: str(variables)})
        _fill_originals(session, kept, _copies(meta.graph_def))

    def run(arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        if len(arrays) != len(sources):
            raise PackageError(f"has {counted(len(sources), 'input')}, described: {len(arrays)}")
        feeds = {
            name: array.astype(graph.get_tensor_by_name(name).dtype.as_numpy_dtype)
            for name, array in zip(sources, arrays, strict=True)
        }
        outputs: list[NDArray[Any]] = session.run(targets, feeds)
        return outputs

    freeze = partial(_frozen, session, kept, targets)
    return OpenedGraph(f"TensorFlow {tf.__version__}", sources, targets, run, freeze, needed)


def _variables_of(graph: Any, results: list[str]) -> int:
    """How many variables results need. It copies the graph: ask only where variables are stored."""
    return sum(node.op in _VARIABLES for node in _pruned(graph, results).node)


def _imported(definition: Any) -> Any:
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        tf.compat.v1.import_graph_def(definition, name="")
    return graph


def _let_go_of_sizes(graph: Any) -> None:
    """Free batch, height and width of what goes in, in place, and drop what follows from them."""
    for node in graph.node:
        if node.op == "Placeholder":
            stated = node.attr["shape"].shape
            sizes = [axis.size for axis in stated.dim]
            if len(sizes) == 4 and min(sizes[1:]) > 0:  # converters ask for the channels
                channels = min(1, 3, key=lambda axis: sizes[axis])
                for axis in {0, 1, 2, 3} - {channels}:
                    stated.dim[axis].size = -1
            else:
                stated.Clear()
                stated.unknown_rank = True
    for function in graph.library.function:
        for argument in function.arg_attr.values():
            argument.attr.pop("_output_shapes", None)
    for node in all_nodes(graph):
        node.attr.pop("_output_shapes", None)


def all_nodes(graph: Any) -> list[Any]:
    """Of a graph, and of the functions that it holds."""
    return [*graph.node, *(node for one in graph.library.function for node in one.node_def)]


def _in_single_precision(graph: Any) -> None:
    """Turn half precision into single, in place, where no variable is stored in half."""
    import tensorflow as tf

    half = (tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum)
    whole = tf.float32.as_datatype_enum
    nodes = all_nodes(graph)
    if any(node.attr["dtype"].type in half for node in nodes if node.op in _VARIABLES):
        return
    for node in nodes:
        for value in node.attr.values():
            if value.type in half:
                value.type = whole
            elif set(half) & set(value.list.type):
                value.list.type[:] = [whole if kind in half else kind for kind in value.list.type]
            elif value.tensor.dtype in half:
                values = tf.make_ndarray(value.tensor).astype("float32")
                value.tensor.CopyFrom(tf.make_tensor_proto(values))
    for function in graph.library.function:
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            if argument.type in half:
                argument.type = whole


def _copies(graph: Any) -> dict[str, str]:
    """Names of variables, and of those that begin as their copies.

    `tf.saved_model.save` of a Keras 3 model stores copies; the signatures read the originals.
    """
    nodes = {node.name: node for node in graph.node}
    found = {}
    for node in graph.node:
        if node.op != "AssignVariableOp" or len(node.input) < 2:
            continue
        read = nodes.get(node.input[1])
        if read is not None and read.op == "ReadVariableOp" and read.input:
            found[read.input[0]] = node.input[0]
    return found


def _fill_originals(session: Any, kept: Any, copies: Mapping[str, str]) -> None:
    """Give variables that no file holds what was restored into their copies."""
    import tensorflow as tf

    types = {node.name: node.attr["dtype"].type for node in kept.node if node.op == "VarHandleOp"}
    with session.graph.as_default():
        for original, copy in copies.items():
            if original not in types or copy not in types:
                continue
            handle, source = (
                session.graph.get_tensor_by_name(f"{name}:0") for name in (original, copy)
            )
            if session.run(tf.raw_ops.VarIsInitializedOp(resource=handle)):
                continue
            value = tf.raw_ops.ReadVariableOp(resource=source, dtype=types[copy])
            session.run(tf.raw_ops.AssignVariableOp(resource=handle, value=value))


def _frozen(session: Any, kept: Any, targets: Iterable[str]) -> Any:
    """The graph with its variables as constants.

    TensorFlow looks for their values in operations of one name, which pruning may have taken away.
    """
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    graph = session.graph
    there = {operation.name for operation in graph.get_operations()}
    with graph.as_default():
        for node in kept.node:
            name = f"{node.name}/Read/ReadVariableOp"
            if node.op == "VarHandleOp" and name not in there:
                handle = graph.get_tensor_by_name(f"{node.name}:0")
                kind = node.attr["dtype"].type
                tf.raw_ops.ReadVariableOp(resource=handle, dtype=kind, name=name)
    return convert_to_constants.convert_variables_to_constants_from_session_graph(
        session, kept, [name.split(":")[0] for name in targets]
    )


def _chosen(tensors: Mapping[str, Any], ids: list[str], side: str) -> list[str]:
    """Tensors of the signature in the description's order; a sole one needs no name."""
    if len(tensors) == len(ids) == 1:
        return [tensor.name for tensor in tensors.values()]
    if sorted(tensors) != sorted(ids):
        raise PackageError(f"has the {side} {sorted(tensors)}, the description {sorted(ids)}")
    return [tensors[name].name for name in ids]


def _pruned(graph: Any, wanted: list[str]) -> Any:
    """The graph, less what the wanted nodes do not need.

    Raises:
        PackageError: an operation that is left is not on the list.
    """
    import tensorflow as tf

    try:
        kept = tf.compat.v1.graph_util.extract_sub_graph(graph, wanted)
    except (AssertionError, KeyError, ValueError) as error:
        raise PackageError(f"its graph is not whole: {error}") from None
    library = {function.signature.name: function for function in graph.library.function}
    waiting, functions = list(kept.node), {}
    operations = set()
    while waiting:
        node = waiting.pop()
        called = [node.op] if node.op in library else []
        if not called:
            operations.add(node.op)
        for value in node.attr.values():
            called += [value.func.name, *(function.name for function in value.list.func)]
        for name in called:
            if name in library and name not in functions:
                functions[name] = library[name]
                waiting += library[name].node_def
    if unknown := sorted(operations - COMPUTING):
        raise WithheldError(f"its graph holds {', '.join(unknown)[:200]}, which are not run")
    kept.library.Clear()
    kept.library.function.extend(functions.values())
    return kept
