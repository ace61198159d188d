"""Paired folders: the same file name in both is one field of view at two resolutions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import Normalisation
from w2s_export.data.images import read_image
from w2s_export.data.normalise import normalise
from w2s_export.errors import FlatImageError, ImageError

SUFFIXES = (".tif", ".tiff", ".png")


@dataclass(frozen=True, slots=True)
class Pair:
    """One field: `low` (H, W, C) and `high` (s·H, s·W, C), both normalised float32."""

    name: str
    low: NDArray[np.float32]
    high: NDArray[np.float32]


def read_pairs(
    low: Path,
    high: Path,
    scale: int,
    normalisation: Normalisation | None,
    target_normalisation: Normalisation | None,
    names: Iterable[str] | None = None,
) -> list[Pair]:
    """Read and check the pairs of two folders, sorted by name.

    Args:
        low: folder of widefield images.
        high: folder of targets, `scale` times as large.
        scale: pixels of the target per pixel of the input, along each axis.
        normalisation: for the inputs, per image.
        target_normalisation: for the targets, per image.
        names: file names to take; all by default.

    Raises:
        ImageError: a folder is missing or empty, a name has no partner, sizes do not match.
        FlatImageError: a constant image.
    """
    found_low, found_high = _images(low), _images(high)
    unpaired = sorted(found_low ^ found_high)
    if unpaired:
        where = high if unpaired[0] in found_low else low
        raise ImageError(
            f"{len(unpaired)} images have no partner, first '{unpaired[0]}', missing in {where}"
        )
    wanted = sorted(found_low if names is None else set(names))
    absent = [name for name in wanted if name not in found_low]
    if absent:
        raise ImageError(f"{len(absent)} listed images are not in {low}, first '{absent[0]}'")
    pairs = []
    for name in wanted:
        x = _plane(low / name, normalisation)
        y = _plane(high / name, target_normalisation)
        if y.shape[:2] != (x.shape[0] * scale, x.shape[1] * scale):
            raise ImageError(
                f"'{name}': the target is {y.shape[0]}×{y.shape[1]}, {scale}× the input is "
                f"{scale * x.shape[0]}×{scale * x.shape[1]}; pairs must match the scale exactly"
            )
        pairs.append(Pair(name, x, y))
    return pairs


def _images(folder: Path) -> set[str]:
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder; give a folder of TIFF or PNG images")
    names = {
        path.name
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    }
    if not names:
        raise ImageError(f"{folder}: holds no image ({', '.join(SUFFIXES)})")
    return names


def _plane(path: Path, how: Normalisation | None) -> NDArray[np.float32]:
    pixels = read_image(path).pixels
    if pixels.shape[0] != 1:
        raise ImageError(f"{path}: a stack of {pixels.shape[0]} planes; pairs are single planes")
    try:
        return np.moveaxis(normalise(pixels[0], how), 0, -1)
    except FlatImageError as error:
        raise FlatImageError(f"{path}: {error}") from None
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
