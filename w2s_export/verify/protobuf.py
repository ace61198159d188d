"""Reads the headers of ONNX and SavedModel files: protocol buffers, without their libraries.

So rules can be checked in milliseconds, without TensorFlow, on files that no library would load.
Field numbers are those of onnx.proto and of TensorFlow's saved_model.proto and meta_graph.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_ONNX_DOMAINS = ("", "ai.onnx")
_MOST_FIELDS = 2_000_000
"""Of a whole file. A network of 23 blocks has ten thousand; what comes as one field each (a
number of a few bytes) would otherwise cost forty times its size in memory."""
_DEEPEST = 10
"""Graphs inside nodes of graphs."""
_EXTERNAL = 1

Dimensions = tuple[int | None, ...] | None
"""Sizes of a tensor, None where dynamic; None as a whole where even their number is open."""


class WireError(ValueError):
    """The bytes are no protocol buffer."""


@dataclass(frozen=True, slots=True)
class OnnxHeader:
    """What clients ask of an ONNX file before they run it."""

    ir_version: int
    opset: int
    """Of the standard operators; 0 where the file imports none."""
    inputs: dict[str, Dimensions]
    """In the file's order; weights that are also inputs are left out."""
    outputs: dict[str, Dimensions]
    types: dict[str, int]
    """Element type of each input and output, by onnx.TensorProto.DataType; 1 is float32."""
    domains: frozenset[str]
    """Operator sets of its nodes but for its own functions; \"\" is the standard one."""
    external_data: bool
    """Whether a weight lies in another file."""


@dataclass(frozen=True, slots=True)
class SavedModelHeader:
    """What clients ask of a SavedModel before they run it."""

    tags: frozenset[str]
    signatures: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
    """Name → names of its inputs, names of its outputs."""
    inputs: dict[str, Dimensions]
    """Of the signature `serving_default`."""
    outputs: dict[str, Dimensions]
    endpoints: frozenset[str]
    """Names of the members of the saved Python object; empty in version 1."""
    operations: frozenset[str]
    attributes: frozenset[str]


def read_onnx(data: bytes) -> OnnxHeader:
    """Header of an ONNX file.

    Raises:
        WireError: not an ONNX file, or a damaged one.
    """
    model = _Message(data, _Budget())
    graphs = model.messages(7)
    if len(graphs) != 1 or not model.numbers(1):
        raise WireError("has no ONNX graph")
    opsets = [(entry.text(1), entry.number(2)) for entry in model.messages(8)]
    weights = {name for tensor in graphs[0].messages(5) for name in tensor.texts(8)}
    inputs = {k: v for k, v in _tensors(graphs[0].messages(11)).items() if k not in weights}
    functions = [node for function in model.messages(25) for node in function.messages(7)]
    own = {function.text(10) for function in model.messages(25)}
    return OnnxHeader(
        ir_version=model.number(1),
        opset=max((version for domain, version in opsets if domain in _ONNX_DOMAINS), default=0),
        inputs=inputs,
        outputs=_tensors(graphs[0].messages(12)),
        types=_element_types([v for side in (11, 12) for v in graphs[0].messages(side)]),
        domains=frozenset(_domains(graphs[0].messages(1) + functions, 0) - own),
        external_data=_external(graphs[0], 0) or _external_in_nodes(functions, 0),
    )


def read_saved_model(data: bytes) -> SavedModelHeader:
    """Header of a `saved_model.pb`; of several graphs the first tagged `serve`, or the first.

    Raises:
        WireError: not a SavedModel, or a damaged one.
    """
    graphs = _Message(data, _Budget()).messages(2)
    if not graphs:
        raise WireError("has no graph")
    tagged = [graph for graph in graphs if "serve" in _tags(graph)]
    meta = (tagged or graphs)[0]
    operations: set[str] = set()
    attributes: set[str] = set()
    for definition in meta.messages(2):
        nodes = definition.messages(1)
        for library in definition.messages(2):
            nodes += [n for function in library.messages(1) for n in function.messages(3)]
        operations |= {node.text(2) for node in nodes}
        attributes |= {entry.text(1) for node in nodes for entry in node.messages(5)}
    signatures = {}
    shapes: list[dict[str, Dimensions]] = [{}, {}]
    for entry in meta.messages(5):
        for signature in entry.messages(2):
            sides = [_signature_tensors(signature.messages(side)) for side in (1, 2)]
            signatures[entry.text(1)] = (tuple(sorted(sides[0])), tuple(sorted(sides[1])))
            if entry.text(1) == "serving_default":
                shapes = sides
    return SavedModelHeader(
        tags=frozenset(_tags(meta)),
        signatures=signatures,
        inputs=shapes[0],
        outputs=shapes[1],
        endpoints=frozenset(
            child.text(2)
            for objects in meta.messages(7)
            for root in objects.messages(1)[:1]
            for child in root.messages(1)
        ),
        operations=frozenset(operations),
        attributes=frozenset(attributes),
    )


def _tags(meta: _Message) -> list[str]:
    return [tag for info in meta.messages(1) for tag in info.texts(4)]


def _signature_tensors(entries: list[_Message]) -> dict[str, Dimensions]:
    """Map of TensorInfo → name and dimensions."""
    return {
        entry.text(1): next(
            (_shape(shape) for info in entry.messages(2) for shape in info.messages(3)), None
        )
        for entry in entries
    }


def _shape(shape: _Message) -> Dimensions:
    """TensorShapeProto → dimensions; TensorFlow writes -1 for a dynamic one."""
    if shape.number(3):
        return None
    sizes = [size.number(1) for size in shape.messages(2)]
    return tuple(size if size < 1 << 63 else None for size in sizes)


def _tensors(values: list[_Message]) -> dict[str, Dimensions]:
    """ValueInfoProto → name and dimensions."""
    tensors: dict[str, Dimensions] = {}
    for value in values:
        shapes = [shape for tensor in _tensor_types(value) for shape in tensor.messages(2)]
        sizes = [tuple(next(iter(d.numbers(1)), None) for d in s.messages(1)) for s in shapes]
        tensors[value.text(1)] = sizes[0] if sizes else None
    return tensors


def _element_types(values: list[_Message]) -> dict[str, int]:
    return {
        value.text(1): next((tensor.number(1) for tensor in _tensor_types(value)), 0)
        for value in values
    }


def _tensor_types(value: _Message) -> list[_Message]:
    return [tensor for kind in value.messages(2) for tensor in kind.messages(1)]


def _external(graph: _Message, depth: int) -> bool:
    """Whether a graph keeps a weight in another file."""
    if depth > _DEEPEST:
        raise WireError(f"nests more than {_DEEPEST} graphs")
    tensors = graph.messages(5) + _of_sparse(graph.messages(15))
    return _kept_outside(tensors) or _external_in_nodes(graph.messages(1), depth)


def _kept_outside(tensors: list[_Message]) -> bool:
    # An enumeration has 32 bits: protocol buffers leave out what is above.
    return any(tensor.number(14) & 0xFFFFFFFF == _EXTERNAL for tensor in tensors)


def _of_sparse(tensors: list[_Message]) -> list[_Message]:
    """Values and indices of sparse tensors."""
    return [inner for tensor in tensors for inner in tensor.messages(1) + tensor.messages(2)]


def _external_in_nodes(nodes: list[_Message], depth: int) -> bool:
    for attribute in (attribute for node in nodes for attribute in node.messages(5)):
        tensors = attribute.messages(5) + attribute.messages(10)
        if _kept_outside(tensors + _of_sparse(attribute.messages(22) + attribute.messages(23))):
            return True
        graphs = attribute.messages(6) + attribute.messages(11)
        if any(_external(graph, depth + 1) for graph in graphs):
            return True
    return False


def _domains(nodes: list[_Message], depth: int) -> set[str]:
    """Operator sets of the nodes, and of the graphs inside them."""
    if depth > _DEEPEST:
        raise WireError(f"nests more than {_DEEPEST} graphs")
    found = {node.text(7) for node in nodes}
    for attribute in (attribute for node in nodes for attribute in node.messages(5)):
        for graph in attribute.messages(6) + attribute.messages(11):
            found |= _domains(graph.messages(1), depth + 1)
    return found


@dataclass(slots=True)
class _Budget:
    """Fields that may still be read."""

    left: int = _MOST_FIELDS

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise WireError(f"has more than {_MOST_FIELDS} fields")


class _Message:
    """One message: its fields by number, values unparsed."""

    def __init__(self, data: bytes | memoryview, budget: _Budget) -> None:
        self._budget = budget
        self._fields: dict[int, list[int | memoryview]] = {}
        for number, value in _fields(memoryview(data)):
            budget.spend()
            self._fields.setdefault(number, []).append(value)

    def numbers(self, field: int) -> list[int]:
        return [value for value in self._fields.get(field, []) if isinstance(value, int)]

    def number(self, field: int) -> int:
        """Of several the last, as every reader of protocol buffers takes it."""
        return (self.numbers(field) or [0])[-1]

    def messages(self, field: int) -> list[_Message]:
        return [_Message(value, self._budget) for value in self._values(field)]

    def texts(self, field: int) -> list[str]:
        return [bytes(value).decode("utf-8", "replace") for value in self._values(field)]

    def text(self, field: int) -> str:
        return (self.texts(field) or [""])[-1]

    def _values(self, field: int) -> list[memoryview]:
        return [value for value in self._fields.get(field, []) if not isinstance(value, int)]


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if kind == _BYTES:
            size, position = _varint(data, position)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise WireError(f"has a field of unknown kind {kind}")
        if number == 0 or position + size > len(data):
            raise WireError("is truncated or no protocol buffer")
        yield number, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise WireError("is truncated")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position
    raise WireError("has a number of more than ten bytes")
