"""Lets a graph that was traced for one image take several.

Tracing writes the batch of the example, 1, into the Reshape nodes of window and attention layers;
with two images such a node would mix them. Where a Reshape makes one row of what grows with the
batch, the row count becomes free and the sizes it left free are written down. And a map that is
made for one image, such as the noise level that DRUNet takes beside it, is given to every image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from w2s_export.graph.editing import Editable, attributes_of, make
from w2s_export.graph.specialise import Followed


def free_batch(graph: Editable, one: Sequence[Followed]) -> bool:
    """Rewrite what fixes a batch of 1, in place; `one` followed a single image.

    Returns:
        Whether anything changed.
    """
    nodes: list[onnx.NodeProto] = []
    changed = False
    images = {graph.input}  # tensors that hold something of the image, not of its size alone
    for node in graph.nodes:
        if node.op_type not in ("Shape", "Size") and images.intersection(node.input):
            images.update(node.output)
        if node.op_type == "Concat":
            changed |= _beside_every_image(graph, nodes, node, images, one)
        of_image = node.op_type == "Reshape" and node.input[0] in images
        if of_image and _fixes_batch(node.input[1], one):
            made = [seen.shapes[node.output[0]] for seen in one]
            asked = one[0].values[node.input[1]]
            keep, add = np.ones(len(asked), np.int64), np.zeros(len(asked), np.int64)
            keep[0], add[0] = 0, -1
            free = [place for place in range(1, len(asked)) if asked[place] == -1]
            lengths = [{shape[place] for shape in made} for place in free]
            if all(len(found) == 1 for found in lengths):
                for place, found in zip(free, lengths, strict=True):
                    keep[place], add[place] = 0, found.pop()
                node.input[1] = _edited(graph, nodes, node.input[1], keep, add)
                changed = True
        nodes.append(node)
    graph.nodes = nodes
    return changed


def _beside_every_image(
    graph: Editable,
    nodes: list[onnx.NodeProto],
    node: onnx.NodeProto,
    images: set[str],
    one: Sequence[Followed],
) -> bool:
    """Where channels of one image are joined to those of the images: add them to zeros of each."""
    partner = next((name for name in node.input if name in images), "")
    if len(one[0].shapes.get(partner, ())) != 4 or attributes_of(node)["axis"] % 4 != 1:
        return False
    alone = [name for name in dict.fromkeys(node.input) if name not in images]
    if not alone:
        return False
    channel, zeros = graph.new_name("beside"), graph.new_name("beside")
    ends = [graph.constant(np.array([value], np.int64)) for value in (0, 1, 1)]
    nodes.append(make("Slice", [partner, *ends], channel))
    nodes.append(make("Mul", [channel, graph.constant(np.array(0, np.float32))], zeros))
    renamed = {name: graph.new_name("beside") for name in alone}
    nodes += [make("Add", [zeros, name], made) for name, made in renamed.items()]
    for place, name in enumerate(node.input):
        node.input[place] = renamed.get(name, name)
    return True


def _fixes_batch(target: str, one: Sequence[Followed]) -> bool:
    values = [seen.values.get(target) for seen in one]
    return all(value is not None and value.size > 1 and value[0] == 1 for value in values)


def _edited(
    graph: Editable,
    nodes: list[onnx.NodeProto],
    target: str,
    keep: NDArray[np.int64],
    add: NDArray[np.int64],
) -> str:
    """`target · keep + add`, computed here where it is constant."""
    fixed = graph.constants.get(target)
    if fixed is not None:
        return graph.constant(fixed * keep + add)
    kept, made = graph.new_name("sizes"), graph.new_name("sizes")
    nodes.append(make("Mul", [target, graph.constant(keep)], kept))
    nodes.append(make("Add", [kept, graph.constant(add)], made))
    return made
