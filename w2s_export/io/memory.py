"""How much memory is free, how much an image may take, and how to give back what is not used."""

from __future__ import annotations

import ctypes
import os
import re
from contextlib import suppress
from pathlib import Path

from w2s_export.errors import ImageError
from w2s_export.io.control_groups import groups

MAX_BYTES = 8 << 30
"""Decoded bytes an image may claim: 4 Gpx of 16 bit, already forty times what DeepImageJ can tile.
A few compressed kilobytes can claim any size, so the claim is checked before anything is read."""

_LIMITS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""A control group's limit, its use, and what of the use is files that were read and are kept as
long as nothing else needs the memory; in versions 2 and 1."""
MEMORY = Path("/proc/meminfo")


def most_bytes() -> int:
    """Bytes an image may take here: half the machine's memory, and `MAX_BYTES` at most."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        return MAX_BYTES
    return min(MAX_BYTES, memory // 2)


def free_bytes() -> int:
    """Memory that a new process could take: the machine's, or what its control groups leave.

    Containers and batch systems set the second far below the first.
    """
    left = (_left(group, *names) for group in groups("memory") for names in _LIMITS)
    return max(0, min([_available(), *(number for number in left if number is not None)]))


def _left(group: Path, limit: str, used: str, reclaimable: str) -> int | None:
    try:
        most, taken, said = ((group / name).read_text() for name in (limit, used, "memory.stat"))
        kept = re.search(rf"^{reclaimable} (\d+)$", said, re.MULTILINE)
        return int(most) - int(taken) + (int(kept[1]) if kept else 0)
    except (OSError, ValueError):  # no such group, or "max"
        return None


def _available() -> int:
    """Memory that the machine can spare."""
    try:  # what psutil reads on Linux, without the 40 ms of its import
        found = re.search(r"^MemAvailable:\s+(\d+) kB", MEMORY.read_text(), re.MULTILINE)
    except OSError:
        found = None
    if found:
        return int(found[1]) << 10
    import psutil

    return int(psutil.virtual_memory().available)


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
