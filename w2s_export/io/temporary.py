"""Temporary folders that nobody has to tidy up after a kill, and disks that are full."""

from __future__ import annotations

import errno
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from w2s_export.errors import OutputError

_PREFIX = "w2s-export-"
_LOCK = "lock"
_YOUNG = 60.0
"""Seconds in which a folder may not have locked its lock yet."""
_FULL = 1 << 16
"""Bytes; a disk with fewer free ones is full."""


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder of this process alone, gone afterwards; those of killed processes go too.

    Raises:
        OutputError: the disk of temporary files is full, or there is none.
    """
    try:
        parent = Path(tempfile.gettempdir())
        _sweep(parent)
        home = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    except OSError as error:
        raise OutputError(f"no temporary folder can be made: {error.strerror}") from None
    lock = FileLock(home / _LOCK, thread_local=False)
    try:
        with lock, naming_full_disk(parent):
            folder = home / "files"
            folder.mkdir()
            yield folder
            check_not_full(parent)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def naming_full_disk(folder: Path) -> Iterator[None]:
    """Say so where what happens inside fails because the disk is full.

    Args:
        folder: on that disk.

    Raises:
        OutputError: instead of what was raised inside.
    """
    try:
        yield
    except Exception as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(_full(folder)) from None
        check_not_full(folder)  # frameworks have errors of their own for it, without the number
        raise


def check_not_full(folder: Path) -> None:
    """Refuse to go on where a disk is full: what was written to it is not what should have been.

    Raises:
        OutputError: names the folder.
    """
    with suppress(OSError):
        if shutil.disk_usage(folder).free < _FULL:
            raise OutputError(_full(folder))


def _full(folder: Path) -> str:
    return (
        f"the disk of {folder} is full; make room, or set TMPDIR to a folder on another "
        "disk where these are temporary files"
    )


@cache
def _sweep(parent: Path) -> None:
    """Remove the folders whose process has ended without removing them, once per process."""
    for lock_file in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError, Timeout):
            if time.time() - lock_file.stat().st_mtime < _YOUNG:
                continue
            with FileLock(lock_file, timeout=0):
                pass
            shutil.rmtree(lock_file.parent, ignore_errors=True)
