"""Which files a list of files, folders and globs means, and where each result goes."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from w2s_export.errors import ConfigError
from w2s_export.io import microscopes
from w2s_export.io.files import without_ending
from w2s_export.io.zarr_source import is_zarr

SUFFIXES = (
    *(".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk", ".png"),
    *microscopes.SUFFIXES,
    *microscopes.UNREAD,  # named, not passed over
)


@dataclass(frozen=True, slots=True)
class Input:
    """One image to restore: where it is, and where its result goes below the output folder."""

    path: Path
    below: Path
    """Folder of the image, relative to the folder or the glob's beginning that was given."""
    series: int = 0
    """Which image of the file, counted from 0."""
    of: int = 1
    """How many images the file holds."""
    name: str = ""
    """Of the image, as the file has it."""

    @property
    def stem(self) -> str:
        """Name without its endings; of several images in a file, each with its number from 1."""
        endings = (".ome.tiff", ".ome.tif", ".ome.zarr", ".zarr", *SUFFIXES)
        name = without_ending(self.path.name, endings)
        return name if self.of == 1 else f"{name}_series{self.series + 1}"

    @property
    def label(self) -> str:
        """For people: the file, and which image of it."""
        if self.of == 1:
            return str(self.path)
        name = f" ({self.name})" if self.name else ""
        return f"{self.path}: series {self.series + 1} of {self.of}{name}"


@dataclass(frozen=True, slots=True)
class Found:
    """Images, files inside the given folders that are none (by their names), what failed."""

    images: tuple[Input, ...]
    ignored: tuple[Path, ...]
    problems: tuple[tuple[Path, str], ...] = ()
    """What was given and is not there, folders that cannot be opened; and why, for people."""


def find(given: Sequence[str], output: Path) -> Found:
    """Expand files, folders (with all below them) and globs (`**` too), sorted.

    A file that is named is taken whatever its ending. In folders, hidden files and everything in
    the output folder are passed over.

    Raises:
        ConfigError: no image at all.
    """
    images: dict[Path, Input] = {}
    ignored: list[Path] = []
    problems: list[tuple[Path, str]] = []
    for text in given:
        try:
            places = list(_expand(text))
        except ConfigError as error:
            problems.append((Path(text), str(error)))
            continue
        for file in (f for place in places for f in _images(*place, output, problems)):
            if isinstance(file, Input):
                images.setdefault(file.path.absolute(), file)
            else:
                ignored.append(file)
    if not images:
        empty = f"{', '.join(given)}: holds no image; TIFF, PNG and Zarr are read"
        raise ConfigError("; ".join(reason for _, reason in problems) or empty)
    return Found(tuple(images.values()), tuple(ignored), tuple(problems))


def _expand(text: str) -> Iterator[tuple[Path, Path]]:
    if not text:  # an empty variable of a shell; as a path it would be the current folder
        raise ConfigError("an input is empty; give files or folders, . for this one")
    path = Path(text)
    there = os.path.lexists(path)
    if there or not glob.has_magic(text):
        if not there:
            raise ConfigError(f"{text}: is not there")
        yield path, Path()
        return
    # Path.glob takes no absolute pattern.
    matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207
    if not matches:
        raise ConfigError(f"{text}: matches no file")
    fixed = Path(*_before_magic(path.parts[:-1]))
    for match in map(Path, matches):
        within = match.parent.relative_to(fixed)
        # `*` and `**` walk into Zarr folders too, where everything is part of one image.
        if any(is_zarr(fixed / folder) for folder in (within, *within.parents)):
            continue
        if os.path.isfile(match) or is_zarr(match):  # noqa: PTH113
            yield match, within


def _before_magic(parts: tuple[str, ...]) -> Iterator[str]:
    for part in parts:
        if glob.has_magic(part):
            return
        yield part


def _images(
    path: Path, below: Path, output: Path, problems: list[tuple[Path, str]]
) -> Iterator[Input | Path]:
    if not os.path.isdir(path) or is_zarr(path):  # noqa: PTH112 - never raises
        yield Input(path, below)
        return

    def unreadable(error: OSError) -> None:
        reason = f"{error.filename}: cannot be opened: {error.strerror}"
        problems.append((Path(error.filename), reason))

    for folder, folders, files in os.walk(path, onerror=unreadable):
        here = Path(folder)
        folders.sort()
        zarrs = [name for name in folders if is_zarr(here / name) and not name.startswith(".")]
        parents = [file for file in files if file.lower().endswith(".oif")]
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in zarrs
            and name.removesuffix(".files") not in parents  # the planes of an OIF
            and (here / name).absolute() != output.absolute()
        ]
        for name in sorted([*files, *zarrs]):
            if name.startswith("."):
                continue
            if name in zarrs or name.lower().endswith(SUFFIXES):
                yield Input(here / name, below / here.relative_to(path))
            else:
                yield here / name
