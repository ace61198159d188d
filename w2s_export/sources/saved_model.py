"""TensorFlow SavedModel folders of w2s-tensorflow, their zips, and bare TensorFlow checkpoints.

Only the variables are read, through TensorFlow's checkpoint reader: the graph is neither loaded
nor run. The object graph beside them says where each lies. Keras lists the variables of a model
under `trainable_variables/N` (or `variables/N`, the shorter path wins and it varies by version), in
the order data flows; a checkpoint without that list has attribute paths such as
`RRDB_trunk/0/rdb1/conv1/kernel`. Seen with TensorFlow 2.1, 2.4, 2.7, 2.15 and 2.16.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from w2s_export.errors import CheckpointError
from w2s_export.sources.architecture import NOTHING_KNOWN
from w2s_export.sources.assemble import by_name, by_order
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.recognise import ZIP_DAMAGE
from w2s_export.sources.stored import Stored

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_LISTS = ("trainable_variables", "variables")
_STEP = re.compile(
    r"conv_first|RRDB_trunk|\d+|rdb[123]|conv[1-5]|trunk_conv|HRconv|conv_last|_?kernel|bias"
    r"|layer_with_weights-0|model|generator|root"
)
_BOOKKEEPING = re.compile(
    r"_CHECKPOINTABLE_OBJECT_GRAPH|_all_variables/|save_counter/|optimizer/"
    r"|(?:global_)?step/|epoch/|iterations?/"
)
_PART = re.compile(r"variables\.(index|data-\d+-of-\d+)")
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
        import tensorflow as tf

        try:
            reader = tf.train.load_checkpoint(str(prefix))
            ordered, tensors = _tensors(reader)
            assemble = by_order if ordered else by_name
            return assemble(tensors, "saved-model", known)
        except (tf.errors.OpError, RuntimeError, ValueError, IndexError, TypeError) as error:
            reason = str(error).replace(str(prefix), prefix.name).splitlines()[0]
            raise CheckpointError(
                f"has truncated or damaged variables ({reason:.200}); fetch or write it again"
            ) from None


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
        with TemporaryDirectory(prefix="w2s-export-") as folder:
            _unpack(path, Path(folder))
            yield Path(folder) / "variables"


def _unpack(path: Path, folder: Path) -> None:
    """Unpack the variables alone, under their plain names: nothing can land elsewhere."""
    try:
        with zipfile.ZipFile(path) as archive:
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
                if name.startswith(parent) and _PART.fullmatch(base):
                    with archive.open(name) as source, (folder / base).open("wb") as target:
                        shutil.copyfileobj(source, target)
    except ZIP_DAMAGE as error:
        raise CheckpointError(f"is a damaged zip ({error}); fetch or write it again") from None


def _tensors(reader: Any) -> tuple[bool, list[Stored]]:
    """All variables, and whether they are in the order data flows."""
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    shapes = reader.get_variable_to_shape_map()
    if _GRAPH not in shapes:
        raise CheckpointError(
            "is a TensorFlow 1 checkpoint without an object graph; only those of TensorFlow 2 are "
            "read"
        )
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor(_GRAPH))
    listed = _listed(graph)
    paths = listed or dict(_walk(graph, 0, (), {0}))
    dtypes = reader.get_variable_to_dtype_map()
    found = [_stored(reader, name, key, shapes, dtypes) for key, name in paths.items()]
    rest = [key for key in shapes if key not in paths and not _BOOKKEEPING.match(key)]
    return bool(listed), found + [_stored(reader, key, key, shapes, dtypes) for key in sorted(rest)]


def _listed(graph: Any) -> dict[str, str]:
    """Key → name of the variables in the model's own list, in its order."""
    children = {child.local_name: child.node_id for child in graph.nodes[0].children}
    for name in _LISTS:
        if name in children:
            entries = graph.nodes[children[name]].children
            ordered = sorted(entries, key=lambda child: int(child.local_name))
            nodes = [graph.nodes[child.node_id] for child in ordered]
            found = {node.attributes[0].checkpoint_key: node for node in nodes if node.attributes}
            if found:
                return {key: f"{node.attributes[0].full_name}" for key, node in found.items()}
    return {}


def _walk(
    graph: Any, node_id: int, path: tuple[str, ...], visited: set[int]
) -> Iterator[tuple[str, str]]:
    """(key, attribute path) of the variables that lie where the generator's attributes lead."""
    node = graph.nodes[node_id]
    for attribute in node.attributes:
        if attribute.name == "VARIABLE_VALUE" and path:
            yield attribute.checkpoint_key, "/".join(path).replace("_kernel", "kernel")
    for child in node.children:
        if child.node_id not in visited and _STEP.fullmatch(child.local_name):
            visited.add(child.node_id)
            yield from _walk(graph, child.node_id, (*path, child.local_name), visited)


def _stored(
    reader: Any, name: str, key: str, shapes: Mapping[str, Any], dtypes: Mapping[str, Any]
) -> Stored:
    if key not in shapes:
        raise CheckpointError(f"has no values for its variable '{name}' ({key})")
    return Stored(
        key=name.removesuffix(_VALUE),
        shape=tuple(shapes[key]),
        dtype=dtypes[key].name,
        read=lambda: reader.get_tensor(key),
    )
