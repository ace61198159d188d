"""Puts a file's name before the errors raised while it is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from w2s_export.errors import CheckpointError, W2SExportError


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Prefix messages with `path`; an unreadable file or too little memory is the user's too.

    Raises:
        W2SExportError: the same kind as inside, or CheckpointError.
    """
    try:
        yield
    except W2SExportError as error:
        raise type(error)(f"{path}: {error}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise CheckpointError(f"{path}: needs more memory than there is") from None
