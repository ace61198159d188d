"""Whole files: their hash, and writing them at once or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from w2s_export.errors import DiskError, OutputError, W2SExportError

_LONGEST_NAME = 255
"""Bytes, on every common file system."""


def regular_size(path: Path, error: type[W2SExportError]) -> int:
    """Size of a regular file, in bytes: one that ends, and that can be read again.

    Raises:
        W2SExportError: of the given kind; a pipe, a device, a socket or a folder, or it cannot be
            looked at.
    """
    try:
        status = path.stat()
    except OSError as problem:
        raise error(f"cannot be read: {problem.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise error(f"is {_kind(status.st_mode)}, and only files are read; give a file")
    return status.st_size


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def name_of(path: Path) -> str:
    r"""Name of a file as text to write: UTF-8 whatever the locale states, other bytes `\xff`."""
    return os.fsencode(path.name).decode("utf-8", "backslashreplace")


def without_ending(name: str, endings: Iterable[str]) -> str:
    """A file's name without the first of these endings that it has, in letters of any case."""
    for ending in endings:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name


def hidden_beside(path: Path, ending: str) -> Path:
    """A hidden file beside another, whose name may already be as long as names can be."""
    name = f".{path.name}{ending}"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
        name = f".{digest}{ending}"
    return path.with_name(name)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_error(path: Path, error: OSError) -> OutputError:
    """What to raise where a place cannot be written."""
    of_disk = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return (DiskError if of_disk else OutputError)(f"{path}: cannot be written: {error.strerror}")


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A file beside a place that is moved there at the end of the block: never half of it.

    Raises:
        OutputError: the place cannot be written.
    """
    beside = hidden_beside(path, f".{os.getpid()}")
    try:
        yield beside
        beside.replace(path)
    except OSError as error:
        raise write_error(path, error) from None
    finally:
        with suppress(OSError):
            beside.unlink()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file at once or not at all; errors as `written_beside`."""
    with written_beside(path) as beside:
        beside.write_bytes(content)
