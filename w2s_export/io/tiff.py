"""Opens a TIFF file and lists its images, after checking what its headers claim."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from w2s_export.io import imagej, tiff_sets, vendor_tiff
from w2s_export.io.memory import most_bytes, require_within
from w2s_export.io.source import (
    ArraySource,
    Series,
    Source,
    arranged,
    arrangement,
    decoding_errors,
    native,
    opaque,
    require_restorable,
)
from w2s_export.io.tiff_checks import check_claims, check_series, count_pages
from w2s_export.io.tiff_source import Contiguous, TiffSource
from w2s_export.io.units import from_tiff

if TYPE_CHECKING:
    import tifffile

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ALPHA = (1, 2)  # values of the ExtraSamples tag: associated and unassociated alpha
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_OLD_SUBFILETYPE, _WHITE_IS_ZERO, _PALETTE = 255, 0, 3
_SLIDES = ("svs", "ndpi", "scn", "bif", "philips")
_BESIDE_A_SLIDE = ("Thumbnail", "Label", "Macro", "Map")


@contextmanager
def opened(path: Path, limit: int | None = None) -> Iterator[list[Series]]:
    """The images of a file, thumbnails and reduced copies left out.

    Args:
        path: a TIFF file.
        limit: decoded bytes of an image; by default only of those that are read as a whole.

    Raises:
        ImageError: truncated or circular, or headers that promise more than there is.
    """
    import tifffile

    with ExitStack() as stack:
        with decoding_errors():
            pages = count_pages(path)
            # Not _multifile: of an OME set, only files beside this one are opened, here.
            tif = stack.enter_context(tifffile.TiffFile(path, _multifile=False))
            check_claims(tif, pages)
            found = (tiff_sets.of_ome(tif, path, stack, limit) if tif.is_ome else None) or [
                Series(name, partial(_source, tif, series, position, limit))
                for series in _whole_images(tif)
                for name, position in _positions(series)
            ]
        yield found


def _whole_images(tif: tifffile.TiffFile) -> list[Any]:
    """The series that are no thumbnails, masks, labels or reduced copies of others."""
    whole = [
        series
        for series in tif.series
        if not series.keyframe.subfiletype & 0b101
        and series.keyframe.tags.valueof(_OLD_SUBFILETYPE) != 2
        and not (series.kind in _SLIDES and series.name in _BESIDE_A_SLIDE)
    ]
    return whole or list(tif.series)


def _stage(series: Any) -> str:
    """The axis of the stage's positions: Micro-Manager's, or an LSM's positions or tiles."""
    found = [axis for axis in ("PM" if series.kind == "lsm" else "R") if axis in series.axes]
    return found[0] if found and not series.axes.endswith(found[0]) else ""


def _positions(series: Any) -> list[tuple[str, int | None]]:
    """The images along the axis of positions; the series itself where it has none."""
    if not (axis := _stage(series)):
        return [(series.name, None)]
    return [(series.name, number) for number in range(series.shape[series.axes.index(axis)])]


def _source(tif: tifffile.TiffFile, series: Any, position: int | None, limit: int | None) -> Source:
    """A series, or one position of it."""
    shape, axes = tuple(series.shape), series.axes
    claim = math.prod(map(int, shape)) * series.dtype.itemsize
    require_within(limit, claim, f"{'×'.join(map(str, shape))} {series.dtype} pixels")
    with decoding_errors():
        check_series(tif, series)
    stage = _stage(series)
    axis = axes.index(stage) if position is not None else 0
    lead = math.prod(shape[:-2])
    several = series.dataoffset is None and len(series) < lead  # an LSM's page has all channels
    if several or "S" in axes or not axes.endswith("YX"):
        require_within(most_bytes(), claim, f"{'×'.join(map(str, shape))} {series.dtype} pixels")
        with decoding_errors():
            pixels = series.asarray().reshape(shape)
            if position is not None:
                pixels, axes = pixels.take(position, axis), axes.replace(stage, "")
            if axes.endswith("S") and {*series.keyframe.extrasamples[-1:]} & {*_ALPHA}:
                pixels = opaque(pixels)
            turned = arranged(pixels, axes)
        return require_restorable(
            ArraySource(native(turned), **_described(tif, series.keyframe, turned.shape[:3]))
        )
    index = np.arange(lead).reshape(shape[:-2])
    if position is not None:
        index, axes = index.take(position, axis), axes.replace(stage, "")
    order, lengths = arrangement((*index.shape, 1, 1), axes)
    index = index.transpose(order).reshape(lengths)
    with decoding_errors():
        planes = (
            Contiguous(series.keyframe, series.dataoffset)
            if series.dataoffset is not None
            else [series[number] for number in range(lead)]
        )
        described = _described(tif, series.keyframe, lengths)
        return require_restorable(TiffSource(planes, index, series.dtype, shape[-2:], **described))


def _described(tif: tifffile.TiffFile, page: Any, planes: tuple[int, ...]) -> dict[str, Any]:
    """Calibration and appearance, of ImageJ's description or of plain tags."""
    tags = page.tags
    sides = (_side(tags.valueof(_Y_RESOLUTION)), _side(tags.valueof(_X_RESOLUTION)))
    stated = (tif.imagej_metadata or {}) if tif.is_imagej else {}
    colormap = page.colormap if page.photometric == _PALETTE or stated else None
    if page.photometric == _WHITE_IS_ZERO and colormap is None:
        colormap = np.tile(np.arange(255, -1, -1) << 8, (3, 1))
    times, slices, channels = planes
    shown = imagej.appearance(stated, (times, slices, channels), colormap)
    if not stated:
        size = from_tiff(int(tags.valueof(_RESOLUTION_UNIT, 2)), sides)
        text = "" if tif.is_shaped or tif.is_ome else page.description.strip()
        vendor = {key: v for key, v in vendor_tiff.described(tif, planes).items() if v}
        shown = replace(shown, text=text, channels=vendor.pop("channels", shown.channels))
        return {"pixel_size_um": size, "appearance": shown, **vendor}
    z_step, interval = imagej.steps(stated)
    size = imagej.pixel_size(stated, sides)
    if "unit" not in stated:
        size = from_tiff(int(tags.valueof(_RESOLUTION_UNIT, 2)), sides)
    return {
        "pixel_size_um": size,
        "z_step_um": z_step,
        "interval_s": interval,
        "appearance": shown,
    }


def _side(pixels_per_unit: Any) -> Fraction:
    """Units per pixel, exactly; 0 where the tag is missing or senseless."""
    if not isinstance(pixels_per_unit, tuple) or len(pixels_per_unit) != 2:
        return Fraction(0)
    numerator, denominator = (int(part) for part in pixels_per_unit)
    return Fraction(denominator, numerator) if numerator else Fraction(0)
