"""Files of `torch.save`, read without torch and without unpickling.

A pickle is a program for a small machine that can call anything. This one runs the same program
with a machine that can call nothing: it knows the dozen names that tensors and plain containers are
made of, and refuses every other. It is what `torch.load(weights_only=True)` does (the list of names
follows torch's `_weights_only_unpickler.py`), with bounds on time and memory, in less time than
torch takes to be imported.
"""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import CheckpointError
from w2s_export.foreign_text import shown
from w2s_export.sources.stored_tensor import elements, upper_half

_LONGEST_PROGRAM = 32 << 20
_MOST_STEPS = 4_000_000
"""Of the program; a tensor takes about 60."""

_STORAGES = {
    "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Double": "float64",
    "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8",
    "Bool": "bool", "ComplexFloat": "complex64", "ComplexDouble": "complex128",
}  # fmt: skip
_DENSE = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3")
_WRAPPED = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
_OTHER_TENSORS = (
    "torch._utils._rebuild_sparse_tensor", "torch._utils._rebuild_sparse_csr_tensor",
    "torch._utils._rebuild_qtensor", "torch._utils._rebuild_nested_tensor",
    "torch._utils._rebuild_meta_tensor_no_storage",
)  # fmt: skip
_VALUES = (
    "torch.device", "torch.Size", "torch.serialization._get_layout", "_codecs.encode",
    "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype",
)  # fmt: skip
"""Names that make no tensor; what they would make is not needed."""
_MAPPINGS = ("collections.OrderedDict", "collections.defaultdict", "collections.Counter")
_NAMES = frozenset((*_DENSE, *_WRAPPED, *_OTHER_TENSORS, *_VALUES, *_MAPPINGS))
_KINDS = re.compile(
    rf"torch\.(storage\.)?({'|'.join(_STORAGES)}|Untyped|Typed)Storage"
    r"|torch\.(u?int|b?float|complex|bool|qu?int)\w*"  # an element type
)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the file, not read yet."""

    shape: tuple[int, ...]
    dtype: str
    """NumPy's name, `bfloat16`, or `sparse or quantised`."""
    read: Callable[[], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class _Name:
    """A name that the program would call."""

    text: str


@dataclass(frozen=True, slots=True)
class _Storage:
    dtype: str
    key: str
    count: int


class _Opaque:
    """A value that is not needed."""


Values = Callable[[_Storage], NDArray[Any]]
"""Reads a storage: its numbers in a row, bfloat16 as uint16."""


@contextmanager
def open_archive(path: Path) -> Iterator[Any]:
    """What `torch.save` was given: mappings, lists, numbers and `Tensor`s, which read inside.

    Raises:
        CheckpointError: truncated, damaged, too large, or holding other objects than tensors.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield _zipped(archive)
        else:
            with path.open("rb") as stream:
                yield _legacy(stream)
    except (
        AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError, EOFError,
        zipfile.BadZipFile, NotImplementedError, RuntimeError,
    ) as error:  # fmt: skip
        raise CheckpointError(
            f"is truncated or damaged ({type(error).__name__}: {shown(error)}); fetch or write it "
            "again"
        ) from None


def _zipped(archive: zipfile.ZipFile) -> Any:
    name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
    home = name.removesuffix("data.pkl")
    big = f"{home}byteorder" in archive.namelist() and archive.read(f"{home}byteorder") == b"big"

    def values(storage: _Storage) -> NDArray[Any]:
        raw = np.frombuffer(archive.read(f"{home}data/{storage.key}"), _raw(storage.dtype, big))
        if raw.size < storage.count:
            raise CheckpointError(f"is truncated: its storage {shown(storage.key)} is too short")
        return raw

    if archive.getinfo(name).file_size > _LONGEST_PROGRAM:
        raise CheckpointError("describes more than a network's tensors")
    return _run(io.BytesIO(archive.read(name)), values)


def _legacy(stream: BinaryIO) -> Any:
    """The format before torch 1.6: five pickles, then each storage's length and numbers."""
    places: dict[str, int] = {}
    used: dict[str, _Storage] = {}

    def values(storage: _Storage) -> NDArray[Any]:
        stream.seek(places[storage.key])
        raw = np.fromfile(stream, _raw(storage.dtype), storage.count)
        if raw.size < storage.count:
            raise CheckpointError(f"is truncated: its storage {shown(storage.key)} is too short")
        return raw

    for _ in range(3):  # a magic number, the version, the writing machine
        _run(stream, values)
    content = _run(stream, values, used)
    for key in _run(stream, values):
        count = int.from_bytes(stream.read(8), "little")
        places[key] = stream.tell()
        width = _raw(used[key].dtype).itemsize if key in used else 0
        if not width or count < used[key].count:
            raise CheckpointError(f"is damaged: its storage {shown(key)} is not the one described")
        stream.seek(count * width, 1)
    return content


def _raw(dtype: str, big: bool = False) -> np.dtype[Any]:
    name = np.dtype(dtype.replace("bfloat", "uint")).str[1:]
    raw: np.dtype[Any] = np.dtype(f"{'>' if big else '<'}{name}")
    return raw


def _run(stream: BinaryIO, values: Values, used: dict[str, _Storage] | None = None) -> Any:
    """Run one pickle to its end with a machine that calls nothing."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    argument: Any
    for steps, (code, argument, _) in enumerate(pickletools.genops(stream)):
        if steps > _MOST_STEPS:
            raise CheckpointError("describes more than a network's tensors")
        name = code.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            return stack.pop()
        if name == "MARK":
            marks.append(len(stack))
        elif name in ("POP", "POP_MARK"):
            del stack[marks.pop() if name == "POP_MARK" else -1 :]
        elif name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            memo[len(memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _ARGUMENTS:
            stack.append(argument)
        elif name in _COLLECTING:
            start = marks.pop()
            items = stack[start:]
            del stack[start:]
            _COLLECTING[name](stack, items)
        elif name in ("APPEND", "SETITEM"):
            items = [stack.pop() for _ in range(2 if name == "SETITEM" else 1)][::-1]
            _COLLECTING[f"{name}S"](stack, items)
        elif name.startswith("TUPLE"):  # TUPLE1 to TUPLE3
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            parts = argument.split(" ", 1) if name == "GLOBAL" else [stack.pop(-2), stack.pop()]
            stack.append(_known(".".join(map(str, parts))))
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop(), used))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, callee = stack.pop(), stack.pop()
            stack.append(_made(callee.text, arguments, values))
        elif name == "BUILD":  # attributes, such as the versions that a state dict notes
            stack.pop()
        else:
            raise CheckpointError(f"is no file of torch.save: it holds the step {name}")
    raise EOFError("no end")


_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
}
_ARGUMENTS = frozenset(
    {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT"}
    | {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BINSTRING", "SHORT_BINSTRING"}
    | {"STRING", "BINBYTES", "SHORT_BINBYTES"}
)


def _set_items(stack: list[Any], items: list[Any]) -> None:
    mapping = stack[-1]
    if isinstance(mapping, _Opaque):
        return
    for key, value in zip(items[::2], items[1::2], strict=True):
        simple = isinstance(key, str | int | float | None)
        # Hashing a tuple of tuples of … of the same tuple would not end.
        mapping[key if simple else f"key {len(mapping)}"] = value


def _append(stack: list[Any], items: list[Any]) -> None:
    if not isinstance(stack[-1], _Opaque):
        stack[-1].extend(items)


def _dict(stack: list[Any], items: list[Any]) -> None:
    stack.append({})
    _set_items(stack, items)


_COLLECTING: Mapping[str, Callable[[list[Any], list[Any]], None]] = {
    "TUPLE": lambda stack, items: stack.append(tuple(items)),
    "LIST": lambda stack, items: stack.append(items),
    "DICT": _dict,
    "APPENDS": _append,
    "ADDITEMS": _append,
    "SETITEMS": _set_items,
}


def _known(name: str) -> _Name:
    if name in _NAMES or _KINDS.fullmatch(name):
        return _Name(name)
    raise CheckpointError(
        "holds Python objects besides tensors (a pickled module, or training options), which are "
        f"never unpickled ({shown(name)}); save the weights alone: "
        "torch.save(network.state_dict(), FILE)"
    )


def _storage(identity: Any, used: dict[str, _Storage] | None) -> _Storage:
    word, kind, key, _, count, *_ = identity
    name = kind.text.rpartition(".")[2].removesuffix("Storage")
    if word != "storage" or not isinstance(key, str) or not isinstance(count, int) or count < 0:
        raise ValueError("a storage")
    storage = _Storage(_STORAGES.get(name, "uint8"), key, count)
    if used is not None:
        used[key] = storage
    return storage


def _made(name: str, arguments: tuple[Any, ...], values: Values) -> Any:
    """What a call would make."""
    if name in _MAPPINGS:
        return {}
    if name in _WRAPPED:
        return arguments[0]
    if name in _DENSE:
        storage, offset, shape, strides = arguments[:4]
        other = arguments[6].text.removeprefix("torch.") if name == _DENSE[1] else None
        return _tensor(storage, offset, tuple(shape), tuple(strides), other, values)
    if name in _OTHER_TENSORS:
        return Tensor((), "sparse or quantised", lambda: np.zeros(()))
    return _Opaque()


def _tensor(
    storage: _Storage,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    other: str | None,
    values: Values,
) -> Tensor:
    count = elements("a tensor", shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if min(offset, *strides, 0) < 0 or (count and last >= storage.count):
        raise ValueError("a tensor beyond its storage")

    def read() -> NDArray[Any]:
        flat = values(storage)
        steps = [step * flat.itemsize for step in strides]
        held = np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)
        whole = held.astype(held.dtype.newbyteorder("="))
        return upper_half(whole) if storage.dtype == "bfloat16" else whole

    return Tensor(shape, other or storage.dtype, read)


def flattened(content: Any, key: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor under a dotted key, as deep as training codes nest them.

    Raises:
        CheckpointError: more to walk through than a network has.
    """
    waiting: list[tuple[str, Any, int]] = [(key, content, 0)]
    for _ in range(_MOST_STEPS // 4):
        if not waiting:
            return
        where, item, depth = waiting.pop()
        if isinstance(item, Tensor):
            yield where, item
        elif isinstance(item, Mapping | list | tuple) and depth < 8:
            pairs = item.items() if isinstance(item, Mapping) else enumerate(item)
            inner = [
                (f"{where}.{name}" if where else str(name), value, depth + 1)
                for name, value in pairs
            ]
            waiting += reversed(inner)
    raise CheckpointError("describes more than a network's tensors")


def describe(content: Any) -> str:
    """What the file holds instead of a state dict."""
    if isinstance(content, Mapping):
        return ", ".join(map(str, content))
    return type(content).__name__
