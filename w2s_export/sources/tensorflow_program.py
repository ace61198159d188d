"""The worker that reads TensorFlow checkpoints: `main([PREFIX, FOLDER, MOST_BYTES])`.

TensorFlow's reader trusts the index it reads: shapes that are negative or overflow end the process.
Only variables are read; the graph is neither loaded nor run. The object graph beside them says
where each lies. Keras lists the variables of a model under `trainable_variables/N` (or
`variables/N`, the shorter path wins and it varies by version), in the order data flows; a
checkpoint without that list has attribute paths such as `RRDB_trunk/0/rdb1/conv1/kernel`. Seen with
TensorFlow 2.1, 2.4, 2.7, 2.15 and 2.16.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from w2s_export.sources.generator_names import generator_among
from w2s_export.sources.tensor_exchange import Found, RefusedError, check_count, run

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_LISTS = ("trainable_variables", "variables")
_STEP = re.compile(
    r"conv_first|RRDB_trunk|\d+|rdb[123]|conv[1-5]|trunk_conv|HRconv|conv_last|_?kernel|bias"
    r"|layer_with_weights-0|model|generator|root"
)
_BOOKKEEPING = re.compile(
    r"_CHECKPOINTABLE_OBJECT_GRAPH|_all_variables/|save_counter/|(?:\w*_)?optimizer\w*/"
    r"|(?:\w+_)?(?:step|epoch|iter|iterations?|counter)/|(?:keras_api/)?(?:\w+_)?metrics?/|loss\w*/"
    r"|.*/\.OPTIMIZER_SLOT/"
)


def main(arguments: list[str]) -> None:
    """List the checkpoint's tensors, and write their values."""
    import tensorflow as tf

    def read() -> tuple[dict[str, Any], list[Found]]:
        return listed(tf.train.load_checkpoint(arguments[0]))

    damage = (tf.errors.OpError, RuntimeError, ValueError, IndexError, TypeError)
    run(arguments, read, damage, "has truncated or damaged variables")


def listed(reader: Any) -> tuple[dict[str, Any], list[Found]]:
    """All variables of the network, and what is said of them.

    Returns:
        `ordered`: whether they are in the order data flows. `taken`: the attribute of a training
        object they lie under, else empty. `aside`: the parts that are not of the network.
    """
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    check_count(len(shapes) // 8)  # an optimizer has several slots for each variable
    if shapes.get(_GRAPH, []) != []:
        raise RefusedError("has a damaged object graph; fetch or write it again")
    if _GRAPH not in shapes:
        raise RefusedError(
            "is a TensorFlow 1 checkpoint without an object graph; only those of TensorFlow 2 are "
            "read"
        )
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor(_GRAPH))
    children = {child.local_name: child.node_id for child in graph.nodes[0].children}
    taken = generator_among(children) or ""
    root = children.get(taken, 0)
    in_order = _in_order(graph, root)
    paths = in_order or dict(_walk(graph, root, (), {root}))
    weights = [key for key in shapes if not _BOOKKEEPING.match(key)]
    of_network = _keys_below(graph, root) if taken else set(weights)
    rest = sorted(key for key in weights if key not in paths and key in of_network)
    aside = {key.split("/")[0] for key in weights if key not in paths and key not in of_network}
    facts = {"ordered": bool(in_order), "taken": taken, "aside": sorted(aside)}
    named = {**paths, **{key: key for key in rest}}
    return facts, [_found(reader, name, key, shapes, dtypes) for key, name in named.items()]


def _in_order(graph: Any, root: int) -> dict[str, str]:
    """Key → name of the variables in the model's own list, in its order."""
    children = {child.local_name: child.node_id for child in graph.nodes[root].children}
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


def _keys_below(graph: Any, root: int) -> set[str]:
    """Keys of every variable that can be reached from an object."""
    keys, seen, waiting = set(), {root}, [root]
    while waiting:
        node = graph.nodes[waiting.pop()]
        keys |= {attribute.checkpoint_key for attribute in node.attributes}
        following = {child.node_id for child in node.children} - seen
        seen |= following
        waiting += following
    return keys


def _found(
    reader: Any, name: str, key: str, shapes: Mapping[str, Any], dtypes: Mapping[str, Any]
) -> Found:
    if key not in shapes:
        raise RefusedError(f"has no values for its variable '{name}' ({key})")
    dtype = dtypes[key].name
    return Found(
        name.removesuffix(_VALUE), tuple(shapes[key]), dtype, lambda: reader.get_tensor(key)
    )
