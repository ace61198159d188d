"""A SavedModel in TensorFlow, and what may be run of one."""

from __future__ import annotations

import logging
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from w2s_export.counting import counted
from w2s_export.errors import PackageError
from w2s_export.io.temporary import temporary_folder
from w2s_export.runtime.protocol import load_error, one_line

SIGNATURE = "serving_default"
GRAPH_FILE = "saved_model.pb"

_WRITTEN = """
    Abs AddV2 AvgPool BatchMatMulV2 BiasAdd BroadcastTo Cast Ceil ConcatV2 Const Conv2D
    Conv2DBackpropInput Cos Cumsum DepthToSpace DepthwiseConv2dNative Elu Equal Erf Exp ExpandDims
    Fill Floor FloorDiv FloorMod GatherNd GatherV2 Greater GreaterEqual Identity LeakyRelu Less
    LessEqual Log LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool Maximum Mean Min
    Minimum MirrorPad Mul Neg OnesLike Pack Pad PadV2 Placeholder Pow Prod Range RealDiv Relu
    Reshape ResizeBilinear ResizeNearestNeighbor Round SelectV2 Shape Sigmoid Sign Sin Softmax
    Softplus Softsign SpaceToDepth Split SplitV Sqrt Square Squeeze StridedSlice Sub Sum Tanh
    TensorScatterUpdate Tile Transpose TruncateDiv TruncateMod
"""
OPERATIONS = frozenset(_WRITTEN.split())
"""What this tool writes, and all that it runs. Every one is in TensorFlow 1.15, with the attributes
that `strip_default_attrs` leaves; none reads or writes a file."""

MOST_MEMBERS = 1000
MOST_BYTES = 4 << 30

_SMALL = 64 << 20
_SMALL_TOTAL, _MOST_TOTAL_RATIO = 256 << 20, 20  # of all members together
_MOST_RATIO = 200  # unpacked bytes per packed byte; float weights hardly shrink


class SavedModelRuntime:
    """A SavedModel of this tool in TensorFlow, from its zip or its folder.

    In a session, as TensorFlow's Java client loads it for DeepImageJ: TensorFlow 2's own loader
    copies the graph again for its signature and takes four times as long (3.7 against 0.9 s for 23
    blocks). That one is bioimageio.core's, which verification runs too.

    Args:
        path: the zip, unzipped into a temporary folder while it loads, or the folder.

    Raises:
        PackageError: not a SavedModel, one with operations that this tool does not write, or one
            TensorFlow refuses.
    """

    def __init__(self, path: Path) -> None:
        import tensorflow as tf

        self.name = f"TensorFlow {tf.__version__}"
        v1 = tf.compat.v1
        with saved_model_folder(path) as folder:
            _refuse_others(folder, path)
            try:
                self._session = v1.Session(graph=tf.Graph())
                tags = [v1.saved_model.tag_constants.SERVING]
                with _old_on_purpose():
                    model = v1.saved_model.load(self._session, tags, str(folder))
                signature = model.signature_def[SIGNATURE]
                (self._input,) = (tensor.name for tensor in signature.inputs.values())
                (self._output,) = (tensor.name for tensor in signature.outputs.values())
            except Exception as error:  # whatever TensorFlow raises: the file is at fault
                raise load_error(path, self.name, error) from None

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Restore: (N, C, H, W) → (N, C, scale·H, scale·W)."""
        output: NDArray[np.float32] = self._session.run(self._output, {self._input: batch})
        return output


@contextmanager
def saved_model_folder(path: Path) -> Iterator[Path]:
    """A folder that holds the SavedModel, for as long as the block lasts.

    Raises:
        PackageError: a zip that is none, is damaged, escapes the folder or explodes.
    """
    if path.is_dir():
        yield path
        return
    with temporary_folder() as temporary:
        _unzip(path, temporary)
        yield temporary


def _unzip(path: Path, folder: Path) -> None:
    """Unzip, refusing members that escape the folder and archives that explode.

    Raises:
        PackageError: not a zip, damaged, or unsafe.
    """
    try:
        with ZipFile(path) as archive:
            members = archive.infolist()
            claimed = sum(member.file_size for member in members)
            most = min(MOST_BYTES, max(_SMALL_TOTAL, _MOST_TOTAL_RATIO * path.stat().st_size))
            if len(members) > MOST_MEMBERS or claimed > most:
                raise PackageError(
                    f"{path}: claims {counted(len(members), 'file')} and {claimed} bytes; a "
                    f"SavedModel has at most {MOST_MEMBERS} and {most}"
                )
            for member in members:
                place = PurePosixPath(member.filename.replace("\\", "/"))
                if place.is_absolute() or ".." in place.parts or ":" in member.filename:
                    raise PackageError(f"{path}: member '{member.filename}' leaves the folder")
                if member.file_size > max(_SMALL, _MOST_RATIO * member.compress_size):
                    raise PackageError(f"{path}: member '{member.filename}' claims more than real")
                target = folder / place
                if member.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("wb") as stream:
                    shutil.copyfileobj(source, stream)  # zipfile stops at the claimed size
    except (OSError, BadZipFile, EOFError, RuntimeError, zlib.error) as error:
        raise PackageError(f"{path}: is not a readable zip: {one_line(error)}") from None


def _refuse_others(folder: Path, path: Path) -> None:
    """Refuse a graph with any operation that is not in `OPERATIONS`.

    A graph can read and write files when it is loaded or run; none of these operations can.

    Raises:
        PackageError: no graph, an unreadable one, or one with another operation.
    """
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    file = folder / GRAPH_FILE
    if not file.is_file():
        raise PackageError(
            f"{path}: has no {GRAPH_FILE} at its root; zip the files, not the folder"
        )
    try:
        proto = SavedModel.FromString(file.read_bytes())
    except Exception:  # protobuf's DecodeError, by whichever implementation is installed
        raise PackageError(f"{path}: its {GRAPH_FILE} is damaged; write it again") from None
    for graph in (meta.graph_def for meta in proto.meta_graphs):
        operations = {node.op for node in graph.node}
        for function in graph.library.function:
            operations |= {node.op for node in function.node_def}
        if others := sorted(operations - OPERATIONS):
            message = f"{path}: its graph holds operations that w2s-export does not write"
            raise PackageError(f"{message} ({', '.join(others)[:200]}); it is not run")


@contextmanager
def _old_on_purpose() -> Iterator[None]:
    """Keep TensorFlow from advising its version 2, whose files the clients do not read."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
