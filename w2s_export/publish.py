"""Puts the files of one export into a folder so that a reader never sees those of two.

They are written to a hidden folder beside their places. To publish, the files of an earlier export
are moved out of sight first, and then the new ones in, the report last: whatever a kill leaves to
be seen is of one run, and with a report it is whole. The next export into the folder finishes what
a killed one had begun to publish, and removes what it had not.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from w2s_export.errors import OutputError
from w2s_export.io.temporary import check_not_full, naming_full_disk

_PREFIX = ".w2s-export-"
_LOCK = ".w2s-export.lock"
_READY, _OLD = "ready", "old"


@contextmanager
def staging(output: Path, files: Sequence[str], *, overwrite: bool) -> Iterator[Path]:
    """A hidden folder inside `output`, gone afterwards; `output` too if it was not there before.

    Args:
        output: where the files will go.
        files: names of all that will be published, the one that says it is whole last.
        overwrite: whether they may replace others.

    Raises:
        OutputError: not a folder, not writable, full, in use by another export, or holding this
            export's files already.
    """
    with ExitStack() as after:
        try:
            _make(output, after)
            after.enter_context(_locked(output))
            _tidy(output)
            _check(output, files, overwrite)
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=output))
        except OSError as error:
            raise OutputError(
                f"{output}: cannot be written: {error.strerror}; choose another --output"
            ) from None
        after.callback(shutil.rmtree, folder, ignore_errors=True)
        with naming_full_disk(output):
            yield folder


def publish(folder: Path, output: Path, files: Sequence[str]) -> None:
    """Move what is finished into place, as the files of one run.

    Args:
        folder: from `staging`, holding `files`.
        output: as for `staging`.
        files: as for `staging`.

    Raises:
        OutputError: a file of an earlier export cannot be replaced (on Windows: it is open). All
            of them are then where they were. Or the disk is full.
    """
    check_not_full(output)
    (folder / _READY).write_text("\n".join(files), "utf-8")
    try:
        _move(folder, output, files)
    except OSError as error:
        (folder / _READY).unlink()
        _move_back(folder, output, files)
        raise OutputError(
            f"{error.filename2 or error.filename}: cannot be replaced: {error.strerror}; close it, "
            "then export again with --overwrite"
        ) from None


def _move(folder: Path, output: Path, files: Sequence[str]) -> None:
    """Earlier files out, new ones in; goes on where it was interrupted."""
    (folder / _OLD).mkdir(exist_ok=True)
    for name in reversed(files):
        if (folder / name).exists() and (output / name).exists():
            (output / name).replace(folder / _OLD / name)
    for name in files:
        if (folder / name).exists():
            (folder / name).replace(output / name)


def _move_back(folder: Path, output: Path, files: Sequence[str]) -> None:
    for name in reversed(files):
        if not (folder / name).exists():
            (output / name).replace(folder / name)
    for name in files:
        if (folder / _OLD / name).exists():
            (folder / _OLD / name).replace(output / name)


def _make(output: Path, after: ExitStack) -> None:
    """Make the folder; those that were not there go again if they stay empty."""
    missing = [folder for folder in (output, *output.parents) if not folder.exists()]

    def remove() -> None:
        for folder in missing:
            with suppress(OSError):  # something is in it
                folder.rmdir()

    after.callback(remove)
    output.mkdir(parents=True, exist_ok=True)


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Hold the folder's lock, whose file is gone afterwards."""
    lock = FileLock(output / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise OutputError(
            f"{output}: another export is writing into it; wait for it, or choose another --output"
        ) from None
    try:
        yield
    finally:
        with suppress(OSError):
            (output / _LOCK).unlink()
        lock.release()


def _tidy(output: Path) -> None:
    """Finish or remove what killed exports left; the lock says that none of them lives."""
    for folder in output.glob(f"{_PREFIX}*"):
        if not folder.is_dir() or folder.is_symlink():
            continue
        with suppress(OSError):
            files = (folder / _READY).read_text("utf-8").splitlines()
            _move(folder, output, [name for name in files if Path(name).name == name])
        shutil.rmtree(folder, ignore_errors=True)


def _check(output: Path, files: Sequence[str], overwrite: bool) -> None:
    present = [output / name for name in files if (output / name).exists()]
    if odd := [path for path in present if not path.is_file()]:
        raise OutputError(f"{odd[0]} is not a file; move it away or choose another --output")
    if present and not overwrite:
        raise OutputError(
            f"{present[0]} exists already; use --overwrite to replace it or choose another --output"
        )
