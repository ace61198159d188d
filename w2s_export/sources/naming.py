"""Puts a file's name before the errors raised while it is read."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from w2s_export.errors import CheckpointError, W2SExportError

_log = logging.getLogger(__name__)


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
    except Exception as error:  # what the formats' own readers let out of a malformed file
        _log.debug("%s", path, exc_info=True)
        reason = f"{type(error).__name__}: {error}"[:200]
        raise CheckpointError(f"{path}: is damaged ({reason}); fetch or write it again") from None
