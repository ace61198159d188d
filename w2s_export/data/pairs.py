"""Paired folders: the same file name in both is one field of view at two resolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import Normalisation
from w2s_export.data.normalise import normalise
from w2s_export.errors import FlatImageError, ImageError
from w2s_export.io.images import Image, read_image

SUFFIXES = (".tif", ".tiff", ".png", ".npy")


@dataclass(frozen=True, slots=True)
class PairFiles:
    """Where one pair lies. Pairs of one `field` show one place: they belong in one split."""

    name: str
    field: str
    low: Path
    high: Path


@dataclass(frozen=True, slots=True)
class Pair:
    """One field: `low` (H, W, C) and `high` (s·H, s·W, C), both normalised float32."""

    name: str
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    target: Path | None = None
    """File of the target as stored, which scores are taken against; `high` itself without one."""


def match_names(low: Path, high: Path) -> list[PairFiles]:
    """The images that two folders share, sorted by name; each name is a field.

    Raises:
        ImageError: a folder is missing or empty, or a name has no partner.
    """
    found_low, found_high = image_names(low), image_names(high)
    unpaired = sorted(found_low ^ found_high)
    if unpaired:
        where = high if unpaired[0] in found_low else low
        raise ImageError(
            f"{len(unpaired)} images have no partner, first '{unpaired[0]}', missing in {where}"
        )
    return [PairFiles(name, name, low / name, high / name) for name in sorted(found_low)]


def read_files(
    files: Sequence[PairFiles],
    scale: int,
    normalisation: Normalisation | None,
    target_normalisation: Normalisation | None,
) -> list[Pair]:
    """Read and check pairs; a target that several inputs share is read, and held, once.

    Args:
        files: where the pairs lie.
        scale: pixels of the target per pixel of the input, along each axis.
        normalisation: for the inputs, per image.
        target_normalisation: for the targets, per image.

    Raises:
        ImageError: unreadable, a stack, sizes that do not match, or channels that differ.
        FlatImageError: a constant image, or a target whose scores would have no range.
    """
    pairs: list[Pair] = []
    targets: dict[Path, NDArray[np.float32]] = {}
    for file in files:
        x = _plane(file.low, normalisation)
        if file.high not in targets:
            targets[file.high] = _plane(file.high, target_normalisation)
        y = targets[file.high]
        check_sizes(file.name, x.shape[:2], y.shape[:2], scale)
        first = pairs[0] if pairs else Pair(file.name, x, y)
        for image, other, role in ((x, first.low, "input"), (y, first.high, "target")):
            if image.shape[2] != other.shape[2]:
                raise ImageError(
                    f"'{file.name}': its {role} has {image.shape[2]} channels, that of "
                    f"'{first.name}' {other.shape[2]}; a training takes one number of channels"
                )
        pairs.append(Pair(file.name, x, y, file.high))
    return pairs


def check_sizes(name: str, low: tuple[int, ...], high: tuple[int, ...], scale: int) -> None:
    """Raise ImageError unless `high` (height, width) is `scale` times `low`."""
    if high != (low[0] * scale, low[1] * scale):
        raise ImageError(
            f"'{name}': the target is {high[0]}×{high[1]}, {scale}× the input is "
            f"{scale * low[0]}×{scale * low[1]}; pairs must match the scale exactly"
        )


def image_names(folder: Path) -> set[str]:
    """Names of the images in a folder; hidden files and folders are none.

    Raises:
        ImageError: no such folder, or no image in it.
    """
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


def read_plane(path: Path) -> Image:
    """One plane that is not flat; its pixels are (1, C, H, W).

    Raises:
        ImageError: unreadable, a stack, or NaN and infinite pixels.
        FlatImageError: 99.8 % of the pixels are the same, and nothing could be learned or scored.
    """
    image = read_image(path)
    pixels = image.pixels
    if pixels.shape[0] != 1:
        raise ImageError(f"{path}: a stack of {pixels.shape[0]} planes; pairs are single planes")
    if not np.isfinite(pixels).all():
        raise ImageError(f"{path}: has NaN or infinite pixels; replace them first")
    low, high = np.percentile(pixels, [0.1, 99.9])
    if low == high:
        raise FlatImageError(
            f"{path}: the image is flat, nearly every pixel is {low:g}; leave the pair out"
        )
    return image


def stored_target(pair: Pair) -> NDArray[Any]:
    """The target of a pair, (C, s·H, s·W), as its file has it."""
    if pair.target is None:
        return np.moveaxis(pair.high, -1, 0)
    stored: NDArray[Any] = read_plane(pair.target).pixels[0]
    return stored


def _plane(path: Path, how: Normalisation | None) -> NDArray[np.float32]:
    pixels = read_plane(path).pixels[0]
    try:
        return np.moveaxis(normalise(pixels, how), 0, -1)
    except FlatImageError as error:
        raise FlatImageError(f"{path}: {error}") from None
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
