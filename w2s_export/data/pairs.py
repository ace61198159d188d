"""Paired folders: the same file name in both is one field of view at two resolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import Normalisation
from w2s_export.counting import counted
from w2s_export.data.normalise import normalise
from w2s_export.errors import FlatImageError, ImageError
from w2s_export.io.files import without_ending
from w2s_export.io.images import Image, open_source, read_image

SUFFIXES = (".tif", ".tiff", ".png", ".npy")


@dataclass(frozen=True, slots=True)
class PairFiles:
    """Where one pair lies. Pairs of one `field` show one place: they belong in one split."""

    name: str
    field: str
    low: Path
    high: Path
    plane: int | None = None
    """Of both files, where they are stacks; all planes of a file are one field."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One field: `low` (H, W, C) and `high` (s·H, s·W, C), both normalised float32."""

    name: str
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    files: PairFiles | None = None
    """Where it was read: scores are taken against the target as stored. Without, against `high`."""


def match_names(low: Path, high: Path) -> list[PairFiles]:
    """The images that two folders share, sorted by name; each file is a field.

    Names are compared with their suffixes, and without them where that leaves one partner each.
    Stacks are taken plane by plane.

    Raises:
        ImageError: a folder is missing or empty, a name has no partner, or two stacks have other
            numbers of planes.
    """
    found_low, found_high = image_names(low), image_names(high)
    partner = {name: name for name in found_low & found_high}
    rest = {_stem(name): name for name in found_high - found_low}
    for name in sorted(found_low - found_high):
        if _stem(name) in rest:
            partner[name] = rest.pop(_stem(name))
    unpaired = sorted((found_low - partner.keys()) | (found_high - set(partner.values())))
    if unpaired:
        where = high if unpaired[0] in found_low else low
        raise ImageError(
            f"no partner for {counted(len(unpaired), 'image')}, first '{unpaired[0]}', missing in "
            f"{where}"
        )
    return [
        one
        for name, other in sorted(partner.items())
        for one in _planes(PairFiles(name, name, low / name, high / other))
    ]


def _stem(name: str) -> str:
    """Without the suffix, and without OME's first part of it."""
    return without_ending(name, [f"{ome}{suffix}" for ome in (".ome", "") for suffix in SUFFIXES])


def _planes(pair: PairFiles) -> list[PairFiles]:
    """A pair for each plane of two stacks; the pair itself where both have one."""
    counts = []
    for path in (pair.low, pair.high):
        try:
            with open_source(path) as source:
                times, slices, _ = source.layout.planes
        except ImageError:
            return [pair]  # reading it will say what is wrong
        counts.append(times * slices)
    if counts[0] != counts[1]:
        raise ImageError(
            f"'{pair.name}': the input has {counted(counts[0], 'plane')}, the target {counts[1]}; "
            "plane by plane they must show the same"
        )
    if counts[0] == 1:
        return [pair]
    return [replace(pair, name=f"{pair.name}[{n}]", plane=n) for n in range(counts[0])]


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
    targets: dict[tuple[Path, int | None], NDArray[np.float32]] = {}
    for file in files:
        x = _plane(file.low, file.plane, normalisation)
        place = file.high, file.plane
        if place not in targets:
            targets[place] = _plane(*place, target_normalisation)
        y = targets[place]
        check_sizes(file.name, x.shape[:2], y.shape[:2], scale)
        first = pairs[0] if pairs else Pair(file.name, x, y)
        for image, other, role in ((x, first.low, "input"), (y, first.high, "target")):
            if image.shape[2] != other.shape[2]:
                raise ImageError(
                    f"'{file.name}': its {role} has {counted(image.shape[2], 'channel')}, that of "
                    f"'{first.name}' {other.shape[2]}; a training takes one number of channels"
                )
        pairs.append(Pair(file.name, x, y, file))
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


def read_plane(path: Path, plane: int | None = None) -> Image:
    """One plane that is not flat; its pixels are (1, C, H, W).

    Args:
        path: the file.
        plane: which of a stack, counted from 0 by time, then slice.

    Raises:
        ImageError: unreadable, a stack and no plane given, or NaN and infinite pixels.
        FlatImageError: 99.8 % of the pixels are the same, and nothing could be learned or scored.
    """
    image = read_image(path) if plane is None else _read_one(path, plane)
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


def _read_one(path: Path, plane: int) -> Image:
    with open_source(path) as source:
        layout = source.layout
        t, z = divmod(plane, layout.planes[1])
        whole = slice(0, layout.height), slice(0, layout.width)
        channels = [source.read(t, z, c, *whole) for c in range(layout.planes[2])]
    return Image(np.concatenate(channels)[np.newaxis], layout.pixel_size_um, path.stem)


def pixel_size_um(files: PairFiles) -> float | None:
    """Pixel size of an input, micrometres, where its file gives one for both axes."""
    with open_source(files.low) as source:
        size = source.layout.pixel_size_um
    return size[0] if size is not None and np.isclose(*size, rtol=1e-3) else None


def stored_target(pair: Pair) -> NDArray[Any]:
    """The target of a pair, (C, s·H, s·W), as its file has it."""
    if pair.files is None:
        return np.moveaxis(pair.high, -1, 0)
    stored: NDArray[Any] = read_plane(pair.files.high, pair.files.plane).pixels[0]
    return stored


def _plane(path: Path, plane: int | None, how: Normalisation | None) -> NDArray[np.float32]:
    pixels = read_plane(path, plane).pixels[0]
    try:
        return np.moveaxis(normalise(pixels, how), 0, -1)
    except FlatImageError as error:
        raise FlatImageError(f"{path}: {error}") from None
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
