"""Restoration tile by tile, with the borders mirrored as DeepImageJ and bioimageio.core do.

A tile is read with `halo` more pixels on every side, restored, and cropped. Beyond the image the
pixels are mirrored (numpy's `symmetric`, repeatedly where the halo exceeds the image), also when
one tile covers everything: so "the whole image" is inference on the mirrored image, cropped, and
tiles differ from it only at the seams between them. Nothing is normalised here: percentiles belong
to the whole image, never to a tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import ImageError

if TYPE_CHECKING:
    from w2s_export.runtime.protocol import Runtime


@dataclass(frozen=True, slots=True)
class Span:
    """Where one tile lies along one axis, input pixels.

    The tile restores `start` to `stop`; it reads `halo` pixels more on both sides and `extra`
    after them, so that what it reads is a multiple of the step.
    """

    start: int
    stop: int
    halo: int
    extra: int

    def source(self, size: int) -> NDArray[np.intp]:
        """Index of every pixel read, in an image of `size` pixels mirrored without end."""
        index = np.arange(self.start - self.halo, self.stop + self.halo + self.extra) % (2 * size)
        return np.minimum(index, 2 * size - 1 - index)

    def core(self, scale: int) -> slice:
        """The part of the tile's result that is kept, output pixels."""
        return slice(scale * self.halo, scale * (self.halo + self.stop - self.start))

    def target(self, scale: int) -> slice:
        """Where the kept part belongs in the whole result, output pixels."""
        return slice(scale * self.start, scale * self.stop)


def spans(size: int, *, halo: int, tile: int, step: int = 1) -> Iterator[Span]:
    """Cut one axis of `size` pixels into tiles, the last one smaller where it does not fit.

    Args:
        size: pixels of the image along the axis.
        halo: context on either side of a tile, input pixels; rounded up to a multiple of `step`.
        tile: pixels a tile restores, rounded up to a multiple of `step`.
        step: what the network needs its input sizes to be multiples of (pixel-unshuffle).
    """
    halo, tile = _round_up(halo, step), _round_up(tile, step)
    for start in range(0, size, tile):
        stop = min(start + tile, size)
        yield Span(start, stop, halo, _round_up(stop - start, step) - (stop - start))


def restore_tiled(
    runtime: Runtime,
    image: NDArray[np.float32],
    *,
    scale: int,
    halo: int,
    tile: int,
    step: int = 1,
    fixed: tuple[int, int] | None = None,
) -> NDArray[np.float32]:
    """Restore an image of any size, one tile in memory at a time beyond the output.

    Args:
        runtime: runs the network on (1, C, h, w) float32.
        image: (C, H, W), normalised. Anything that numpy-slices into that, one tile at a time.
        scale: output pixels per input pixel.
        halo: context around each tile, input pixels.
        tile: height and width that a tile restores, input pixels; the image's own or more for one
            tile.
        step: what the network needs its input sizes to be multiples of (`pixel_unshuffle`).
        fixed: as for `restore_tile`.

    Returns:
        (C', scale·H, scale·W) float32.

    Raises:
        ImageError: not (C, H, W) with at least one pixel, or the network does not scale by `scale`.
    """
    if len(image.shape) != 3 or 0 in image.shape:
        raise ImageError(f"an image to restore is (channels, height, width), got {image.shape}")
    if halo < 0 or tile < 1 or step < 1:
        raise ValueError(f"halo {halo}, tile {tile}, step {step}: must be >= 0, >= 1, >= 1")
    _, height, width = image.shape
    result: NDArray[np.float32] | None = None
    for rows in spans(height, halo=halo, tile=tile, step=step):
        for columns in spans(width, halo=halo, tile=tile, step=step):
            restored = restore_tile(runtime, image, rows, columns, scale=scale, fixed=fixed)
            if result is None:
                shape = (restored.shape[0], scale * height, scale * width)
                result = np.empty(shape, np.float32)
            result[:, rows.target(scale), columns.target(scale)] = restored
    assert result is not None  # noqa: S101 - an image has a pixel, so there was a tile
    return result


def restore_tile(
    runtime: Runtime,
    image: Any,
    rows: Span,
    columns: Span,
    *,
    scale: int,
    fixed: tuple[int, int] | None = None,
) -> NDArray[np.float32]:
    """Restore one tile: (C', scale·h, scale·w) without its halo. Arguments as `restore_tiled`.

    `fixed` is the height and width of what the network reads, where it reads nothing else: the tile
    is then made of parts that are read in that size.
    """
    if fixed is not None:
        return np.concatenate(
            [
                np.concatenate(
                    [
                        restore_tile(runtime, image, part, across, scale=scale)
                        for across in _fixed_spans(columns, fixed[1])
                    ],
                    axis=2,
                )
                for part in _fixed_spans(rows, fixed[0])
            ],
            axis=1,
        )
    restored = _restore(runtime, _read(image, rows, columns), scale)
    return restored[:, rows.core(scale), columns.core(scale)]


def _fixed_spans(span: Span, read: int) -> Iterator[Span]:
    """A span cut into parts of which each reads `read` pixels."""
    kept = read - 2 * span.halo
    if kept < 1:
        raise ImageError(f"a halo of {span.halo} pixels leaves nothing of tiles of {read}")
    for start in range(span.start, span.stop, kept):
        stop = min(start + kept, span.stop)
        yield Span(start, stop, span.halo, kept - (stop - start))


def _restore(runtime: Runtime, tile: NDArray[np.float32], scale: int) -> NDArray[np.float32]:
    restored = runtime(tile[np.newaxis])
    expected = tuple(scale * size for size in tile.shape[1:])
    if restored.ndim != 4 or restored.shape[0] != 1 or restored.shape[2:] != expected:
        raise ImageError(
            f"the network turned {(1, *tile.shape)} into {restored.shape}; "
            f"scaling by {scale} needs {expected[0]} by {expected[1]} pixels"
        )
    return np.asarray(restored[0], np.float32)


def _read(image: Any, rows: Span, columns: Span) -> NDArray[np.float32]:
    """The tile's pixels: one contiguous slice of the image, then mirrored by index."""
    y, x = rows.source(image.shape[1]), columns.source(image.shape[2])
    block = np.asarray(image[:, y.min() : y.max() + 1, x.min() : x.max() + 1], np.float32)
    return block[:, y - y.min()][:, :, x - x.min()]


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step
