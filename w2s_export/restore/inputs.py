"""Which files a list of files, folders and globs means, and where each result goes."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from w2s_export.errors import ConfigError
from w2s_export.io.zarr_source import is_zarr

SUFFIXES = (".tif", ".tiff", ".png")
Format = Literal["tiff", "ome-tiff", "ome-zarr"]


@dataclass(frozen=True, slots=True)
class Input:
    """One image to restore: where it is, and where its result goes below the output folder."""

    path: Path
    below: Path
    """Folder of the image, relative to the folder or the glob's beginning that was given."""

    @property
    def stem(self) -> str:
        """Name without its endings."""
        name = self.path.name
        for ending in (".ome.tiff", ".ome.tif", ".ome.zarr", ".tiff", ".tif", ".png", ".zarr"):
            if name.lower().endswith(ending) and len(name) > len(ending):
                return name[: -len(ending)]
        return name


@dataclass(frozen=True, slots=True)
class Found:
    """Images, and files inside the given folders that are none (by their names)."""

    images: tuple[Input, ...]
    ignored: tuple[Path, ...]


def find(given: Sequence[str], output: Path) -> Found:
    """Expand files, folders (with all below them) and globs (`**` too), sorted.

    A file that is named is taken whatever its ending. In folders, hidden files and everything in
    the output folder are passed over.

    Raises:
        ConfigError: nothing there, or two images whose results would have the same name.
    """
    images: dict[Path, Input] = {}
    ignored: list[Path] = []
    for text in given:
        for path, below in _expand(text):
            for file in _images(path, below, output):
                if isinstance(file, Input):
                    images.setdefault(file.path.absolute(), file)
                else:
                    ignored.append(file)
    if not images:
        raise ConfigError(f"{', '.join(given)}: holds no image; TIFF, PNG and Zarr are read")
    targets: dict[Path, Input] = {}
    for image in images.values():
        target = image.below / image.stem
        if target in targets:
            raise ConfigError(
                f"{targets[target].path} and {image.path} would both become {target}; restore them "
                "into different folders"
            )
        targets[target] = image
    return Found(tuple(images.values()), tuple(ignored))


def _expand(text: str) -> Iterator[tuple[Path, Path]]:
    path = Path(text)
    if path.exists() or not glob.has_magic(text):
        if not path.exists():
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
        if match.is_file() or is_zarr(match):
            yield match, within


def _before_magic(parts: tuple[str, ...]) -> Iterator[str]:
    for part in parts:
        if glob.has_magic(part):
            return
        yield part


def _images(path: Path, below: Path, output: Path) -> Iterator[Input | Path]:
    if path.is_file() or is_zarr(path):
        yield Input(path, below)
        return
    for folder, folders, files in os.walk(path):
        here = Path(folder)
        folders.sort()
        zarrs = [name for name in folders if is_zarr(here / name) and not name.startswith(".")]
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in zarrs
            and (here / name).absolute() != output.absolute()
        ]
        for name in sorted([*files, *zarrs]):
            if name.startswith("."):
                continue
            if name in zarrs or name.lower().endswith(SUFFIXES):
                yield Input(here / name, below / here.relative_to(path))
            else:
                yield here / name
