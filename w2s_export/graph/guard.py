"""Reads ONNX files of anybody's making: bounded before they are parsed, and closed in themselves.

Parsed, an empty node of two bytes takes two hundred, so that a file of 40 MB can take gigabytes.
The fields are therefore counted first, by the schema that `onnx` itself parses with: what is
counted is what it would build.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from w2s_export.errors import CheckpointError
from w2s_export.foreign_text import shown

if TYPE_CHECKING:
    import onnx

MOST_FIELDS = 1_000_000
"""Of all messages in a file. The default network's has 9 thousand, a SwinIR's 100 thousand."""
_DEEPEST = 40
STANDARD = frozenset({"", "ai.onnx"})
"""Domains of the operators that every runtime has; none of them touches a file."""


def parse(data: bytes) -> onnx.ModelProto:
    """Parse an ONNX file whose tensors all lie in it, and whose operators are the standard ones.

    Raises:
        CheckpointError: damaged, of more parts than a network has, or not closed in itself.
    """
    model = parse_bounded(data)
    check_closed(model)
    return model


def parse_bounded(data: bytes) -> onnx.ModelProto:
    """Parse an ONNX file, wherever its tensors lie.

    Raises:
        CheckpointError: damaged, or of more parts than a network has.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        _count(memoryview(data), onnx.ModelProto.DESCRIPTOR)
        model = onnx.load_model_from_string(data)
        # A field that this parser does not know, or takes for damaged, another one might read.
        model.DiscardUnknownFields()
        return model
    except (DecodeError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"is no ONNX file, or a truncated one ({shown(error)}); fetch or write it again"
        ) from None


def check_closed(model: onnx.ModelProto) -> None:
    """Refuse what leads out of the file: external tensors, and operators that are not ONNX's own.

    Raises:
        CheckpointError: names it.
    """
    import onnx

    for message in _messages(model):
        tensor = isinstance(message, onnx.TensorProto)
        if tensor and (message.data_location == message.EXTERNAL or message.external_data):
            raise CheckpointError(
                f"'{shown(message.name)}' lies in another file; give one that holds all"
            )
        operators = isinstance(message, onnx.NodeProto | onnx.OperatorSetIdProto)
        if operators and message.domain not in STANDARD:
            raise CheckpointError(
                f"uses operators of '{shown(message.domain)}', and only the standard ones are run"
            )


def check_alone(model: onnx.ModelProto) -> None:
    """Refuse what stands beside the one graph, and what would give its operators another meaning.

    A function of the name of an operator is run in place of that operator.

    Raises:
        CheckpointError: names it.
    """
    beside = {
        "functions": len(model.functions),
        "graphs for training": len(model.training_info),
        "sparse tensors": len(model.graph.sparse_initializer),
    }
    for what, count in beside.items():
        if count:
            raise CheckpointError(
                f"holds {count} {what} beside its graph, which no file of this tool does; give the "
                "weights it was made from"
            )


def _messages(message: Any) -> Iterator[Any]:
    """A message and all below it, whatever they lie in."""
    waiting = [message]
    while waiting:
        current = waiting.pop()
        yield current
        for field, value in current.ListFields():
            if field.message_type is not None:
                waiting += [value] if hasattr(value, "ListFields") else value


def _count(data: memoryview, descriptor: Any) -> None:
    """Walk through every field without building anything.

    Raises:
        CheckpointError: more than `MOST_FIELDS`, or nested deeper than any network.
        ValueError, IndexError: no protobuf of this schema.
    """
    left = MOST_FIELDS
    known: dict[str, dict[int, Any]] = {}
    waiting = [(0, len(data), descriptor, 0)]
    while waiting:
        place, end, schema, depth = waiting.pop()
        messages = known.get(schema.full_name)
        if messages is None:
            messages = known[schema.full_name] = {
                number: field.message_type
                for number, field in schema.fields_by_number.items()
                if field.message_type is not None
            }
        if depth > _DEEPEST:
            raise CheckpointError("nests its graphs deeper than any network")
        while place < end:
            left -= 1
            if left < 0:
                raise CheckpointError(f"has more than {MOST_FIELDS} parts; no network has so many")
            key, place = _varint(data, place)
            number, kind = key >> 3, key & 7
            if kind == 0:
                _, place = _varint(data, place)
            elif kind == 2:
                length, place = _varint(data, place)
                if length > end - place:
                    raise ValueError("a field ends beyond its message")
                if number in messages:
                    waiting.append((place, place + length, messages[number], depth + 1))
                place += length
            elif kind in (1, 5):
                place += 8 if kind == 1 else 4
            else:
                raise ValueError(f"a field of the kind {kind}")
        if place != end:
            raise ValueError("a field ends beyond its message")


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
