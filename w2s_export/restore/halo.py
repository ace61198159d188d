"""How much context a tile needs: measured, not guessed.

A tile with halo h sees zeros (the network's own padding) beyond h pixels of context. Cutting an
image once therefore measures every halo at once: the difference between the restored part and the
restored whole, at distance d or more from the cut, is the seam that halo d leaves. The theoretical
receptive field is only the upper bound: trained networks look much less far than they could.
"""

from __future__ import annotations

import logging
from math import gcd
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import ImageError
from w2s_export.network import HaloMeasurement, seams_in_words
from w2s_export.restore.tiling import restore_tiled

if TYPE_CHECKING:
    from w2s_export.network import Network
    from w2s_export.runtime.protocol import Runtime

logger = logging.getLogger(__name__)

SEAM_TOLERANCE = 1e-4
"""Largest seam allowed on the sample, as a part of the output's range (max − min). An 8-bit display
step is 4e-3, so other images may well be a few times worse than the sample and still show nothing;
float32 arithmetic alone leaves 1e-6, no halo at all leaves 7e-2 to 6e-1. Measured halos: default
model (3 blocks) 13 of a possible 48, a trained network of 6 blocks 68 of 94."""

_FIRST_SIZE = 64
_LAST_SIZE = 512


class MoreImageNeededError(ImageError):
    """The network looks further than the part of the image that was given."""

    def __init__(self, pixels: int) -> None:
        super().__init__(f"needs a sample of {pixels}×{pixels} pixels")
        self.pixels = pixels


def measure_halo(
    runtime: Runtime,
    image: NDArray[np.float32],
    network: Network,
    *,
    tolerance: float = SEAM_TOLERANCE,
    part: bool = False,
) -> HaloMeasurement:
    """Find the smallest halo whose seams stay within the tolerance.

    Starts with the busiest square of the image, 64 pixels wide, and doubles the square until a
    halo of at most half of it is enough: three runs a size, seconds for most networks. An image
    smaller than the square is mirrored, as the clients mirror. A network that looks further than
    256 pixels gets its theoretical radius, which is always enough. Then the whole image is restored
    in four tiles, and the halo grows until these too show no more than the tolerance.

    A network that has no radius, because every pixel sees the whole image (channel attention), may
    show seams with any halo. It gets the halo from which on more helps little, and `visible` says
    what remains.

    Args:
        runtime: runs the network.
        image: (C, H, W), normalised.
        network: its scale, step and how far it can look.
        tolerance: largest seam, part of the output's range.
        part: the image is part of a larger one: rather than mirror it, ask for more.

    Raises:
        ImageError: not (C, H, W) with at least one pixel.
        MoreImageNeededError: the part is smaller than the minimum, as far as it shows.
    """
    if image.ndim != 3 or 0 in image.shape:
        raise ImageError(f"an image to measure is (channels, height, width), got {image.shape}")
    if network.fixed is not None:
        return _of_fixed_size(runtime, image, network, network.fixed, tolerance)
    step, radius, least = network.step, _radius(network), network.minimum
    side = min(image.shape[1:])
    curve = _curve(runtime, image, network, tolerance, side if part else None)
    enough = np.flatnonzero(curve <= tolerance)
    bounded = network.facts.receptive_radius is not None
    widest = radius if bounded else _best(curve)
    halo = min(int(enough[0]), radius) if len(enough) else widest
    halo = -(-halo // step) * step
    visible: float | None = None
    if not part or _minimum(halo, step, least) <= side:
        halo, visible = _confirmed(runtime, image, network, halo, tolerance)
    if part and _minimum(halo, step, least) > side:
        raise MoreImageNeededError(_minimum(halo, step, least))
    if visible is not None or not (len(enough) or bounded):
        visible = max(visible or 0.0, float(curve[min(halo, len(curve) - 1)]))
        logger.warning("%s", seams_in_words(halo, visible))
    return HaloMeasurement(
        halo=halo,
        minimum=_minimum(halo, step, least),
        tolerance=tolerance if visible is None else 2 * visible,
        seams=tuple((tried, float(seam)) for tried, seam in enumerate(curve)),
        visible=visible,
    )


def _curve(
    runtime: Runtime,
    image: NDArray[np.float32],
    network: Network,
    tolerance: float,
    side: int | None,
) -> NDArray[np.float64]:
    """Seams by halo, on a square large enough to show which halo is enough, if any is.

    Raises:
        MoreImageNeededError: the square does not fit into the part's `side`.
    """
    # Tiles begin at multiples of the step, so the cut, a quarter of the square, is one too.
    quarter = 4 * network.step
    first = size = -(-_FIRST_SIZE // quarter) * quarter
    while True:
        if side is not None and size > max(side, first):
            raise MoreImageNeededError(size)
        curve = _seams(runtime, _busiest_square(image, size), network.scale)
        logger.debug("seams on %d pixels: %s", size, curve)
        stays = network.facts.receptive_radius is None and _stays(curve)
        found = (curve <= tolerance).any() or len(curve) > _radius(network)
        if found or stays or size >= _LAST_SIZE:
            return curve
        size *= 2


def _stays(curve: NDArray[np.float64]) -> bool:
    """Whether twice the context did not halve the seams, from 32 to 64 pixels or further out."""
    middle = len(curve) // 2
    return middle >= _FIRST_SIZE and bool(curve[middle] > curve[middle // 2] / 2)


def _best(curve: NDArray[np.float64]) -> int:
    """The halo from which on more context helps little."""
    return int(np.argmax(curve <= 1.5 * curve[len(curve) // 2]))


def _of_fixed_size(
    runtime: Runtime,
    image: NDArray[np.float32],
    network: Network,
    read: tuple[int, int],
    tolerance: float,
) -> HaloMeasurement:
    """The halo of a network that reads images of one size alone.

    Two such images that overlap, a quarter apart, differ where one of their edges is near; tiles of
    the first one must show no more than the tolerance, too. A network that knows where in its image
    a pixel lies shows seams with any halo: then a quarter is taken, and the tolerance is what these
    show.
    """
    step = network.step
    shift = max(step, min(read) // 4 // step * step)
    needed = [length + shift for length in read]
    missing = [max(0, n - have) for n, have in zip(needed, image.shape[1:], strict=True)]
    padded = np.pad(image, [(0, 0), *((0, short) for short in missing)], mode="symmetric")
    height, width = read
    first = runtime(padded[np.newaxis, :, :height, :width])[0]
    second = runtime(padded[np.newaxis, :, shift : needed[0], shift : needed[1]])[0]
    scale, rows, columns = network.scale, height - shift, width - shift
    gap = np.abs(
        first[:, scale * shift :, scale * shift :] - second[:, : scale * rows, : scale * columns]
    )
    blocks = gap.reshape(-1, rows, scale, columns, scale).max((0, 2, 4))
    extent = float(first.max() - first.min()) or 1.0
    most = min(rows, columns) // 2
    seams = [
        float(blocks[edge : rows - edge, edge : columns - edge].max()) / extent
        for edge in range(most)
    ]

    def shown(edge: int) -> float:
        return _largest_seam(
            *fixed_tiles(runtime, padded[:, :height, :width], scale=scale, halo=edge, fixed=read)
        )

    edges = [edge for edge in range(0, most, step) if seams[edge] <= tolerance]
    enough = next((edge for edge in edges if shown(edge) <= tolerance), None)
    halo = min(min(read) // 4 // step * step, most - 1) if enough is None else enough
    visible = max(*seams[halo:], shown(halo)) if enough is None else None
    if visible is not None:
        logger.warning("%s", seams_in_words(halo, visible))
    return HaloMeasurement(
        halo=halo,
        minimum=max(read),
        tolerance=tolerance if visible is None else 2 * visible,
        seams=tuple(enumerate(seams)),
        visible=visible,
    )


def _radius(network: Network) -> int:
    """How far an output pixel can see, input pixels; at most what is ever measured."""
    radius = network.facts.receptive_radius
    return _LAST_SIZE // 2 if radius is None else radius


def _minimum(halo: int, step: int, least: int) -> int:
    return -(-max(2 * halo + 1, least) // step) * step


def four_tiles(
    runtime: Runtime,
    image: NDArray[np.float32],
    *,
    scale: int,
    halo: int,
    step: int,
    off_grid: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The image (C, H, W) restored in one tile and in four, each (C', scale·H, scale·W).

    Tiles that are halves may begin on a grid of windows that nobody knows of; `off_grid` ones do
    not: so many steps that 2, 3, 5 and 7 do not divide their number, or 2 at least.
    """
    side = max(image.shape[1:])
    half = -(-side // 2)
    if off_grid:
        steps = range(-(-half // step), -(-side // step))
        odd = (n for primes in (210, 2) for n in steps if gcd(n, primes) == 1)
        half = step * next(odd, -(-half // step))
    whole, tiled = (
        restore_tiled(runtime, image, scale=scale, halo=halo, tile=tile, step=step)
        for tile in (side, half)
    )
    return whole, tiled


def fixed_tiles(
    runtime: Runtime,
    image: NDArray[np.float32],
    *,
    scale: int,
    halo: int,
    fixed: tuple[int, int],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of an image of the only size there is, what lies a halo inside: at once, and by tiles."""
    whole = runtime(image[np.newaxis])[0]
    tiled = restore_tiled(runtime, image, scale=scale, halo=halo, tile=max(fixed), fixed=fixed)
    edge = scale * halo
    height, width = whole.shape[1:]
    inner = slice(None), slice(edge, height - edge), slice(edge, width - edge)
    return whole[inner], tiled[inner]


def _largest_seam(whole: NDArray[np.float32], tiled: NDArray[np.float32]) -> float:
    """As a part of the range."""
    extent = float(whole.max() - whole.min())
    largest = float(np.abs(tiled - whole).max())
    return largest / extent if extent > 0 else largest


def _confirmed(
    runtime: Runtime,
    image: NDArray[np.float32],
    network: Network,
    halo: int,
    tolerance: float,
) -> tuple[int, float | None]:
    """The smallest halo, from the given one up, whose four tiles show no more than the tolerance.

    Doubling, then halving: a run over a large image takes long. The theoretical radius is enough.
    Without one, 32 pixels more that do not halve the seam end the search.

    Returns:
        The halo, and the seam that remains where none is enough.
    """
    step, radius = network.step, _radius(network)
    bounded = network.facts.receptive_radius is not None
    # With more than a quarter around it each of four tiles holds the whole image: no seam shows.
    most = radius if bounded else max(halo, min(radius, min(image.shape[1:]) // 4))
    limit = -(-most // step) * step

    def seam(halo: int) -> float:
        whole, tiled = four_tiles(
            runtime, image, scale=network.scale, halo=halo, step=step, off_grid=not bounded
        )
        return _largest_seam(whole, tiled)

    start, fails, enough, stride = halo, halo - step, halo, step
    first = shown = 0.0 if bounded and halo >= radius else seam(halo)
    while shown > tolerance:
        if not bounded and (enough >= limit or (enough - start >= 32 and shown > first / 2)):
            return start, first
        fails, enough, stride = enough, min(enough + stride, limit), 2 * stride
        shown = 0.0 if bounded and enough >= radius else seam(enough)
    while enough - fails > step:
        middle = fails + (enough - fails) // (2 * step) * step
        if seam(middle) > tolerance:
            fails = middle
        else:
            enough = middle
    return enough, None


def _seams(runtime: Runtime, image: NDArray[np.float32], scale: int) -> NDArray[np.float64]:
    """Largest relative seam for every halo from 0 to half the image's size.

    A quarter is cut off the top and left, then off the bottom and right; what remains beyond half
    the image is too small a sample of pixels to trust.
    """
    size = image.shape[1]
    cut = size // 4
    whole = runtime(image[np.newaxis])[0]
    lower_right = runtime(image[np.newaxis, :, cut:, cut:])[0]
    upper_left = runtime(image[np.newaxis, :, : size - cut, : size - cut])[0]
    kept = lower_right.shape[1]
    differences = (
        np.abs(lower_right - whole[:, -kept:, -kept:]),
        np.abs(upper_left - whole[:, :kept, :kept])[:, ::-1, ::-1],
    )
    by_distance = np.zeros(size - cut)
    for difference in differences:
        blocks = difference.reshape(-1, size - cut, scale, size - cut, scale).max((0, 2, 4))
        for distance in range(size - cut):
            beyond = max(blocks[distance, distance:].max(), blocks[distance:, distance].max())
            by_distance[distance] = max(by_distance[distance], beyond)
    seams = np.maximum.accumulate(by_distance[::-1])[::-1][: size // 2 + 1]
    extent = float(whole.max() - whole.min())
    return seams / extent if extent > 0 else np.where(seams > 0, np.inf, 0.0)


def _busiest_square(image: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """The square of `size` pixels with the largest variance, the image mirrored if too small."""
    missing = [max(0, size - length) for length in image.shape[1:]]
    padding = [(0, 0), *((short // 2, short - short // 2) for short in missing)]
    padded = np.pad(image, padding, mode="symmetric")
    squares = [
        padded[:, y : y + size, x : x + size]
        for y in _starts(padded.shape[1], size)
        for x in _starts(padded.shape[2], size)
    ]
    return max(squares, key=lambda square: float(square.var()))


def _starts(length: int, size: int) -> list[int]:
    """Positions half a square apart, the last one included."""
    return [*range(0, length - size, size // 2), length - size]
