"""How many bytes an image may take, and how memory that is no longer used is given back."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

from w2s_export.errors import ImageError

MAX_BYTES = 8 << 30
"""Decoded bytes an image may claim: 4 Gpx of 16 bit, already forty times what DeepImageJ can tile.
A few compressed kilobytes can claim any size, so the claim is checked before anything is read."""


def most_bytes() -> int:
    """Bytes an image may take here: half the machine's memory, and `MAX_BYTES` at most."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        return MAX_BYTES
    return min(MAX_BYTES, memory // 2)


def require_within(limit: int | None, claim: int, what: str) -> None:
    """Refuse an image that claims more.

    Raises:
        ImageError: says what was claimed.
    """
    if limit is not None and claim > limit:
        raise ImageError(
            f"claims {what}, {claim / 2**30:.3g} GiB; at most {limit / 2**30:.3g} GiB fit here, "
            "crop or split it"
        )


def release_freed_memory() -> None:
    """Return freed memory to the system, where the C library is glibc.

    It keeps what was freed below something that is still in use. TensorFlow leaves 550 of 1722 MB
    so after it has run a network of 23 blocks.
    """
    with suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
