"""The tiles of an image, and the planes they are cut from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from w2s_export.errors import ConfigError, ImageError
from w2s_export.io.source import Source
from w2s_export.restore.fields import Field, InputRange, NormalisedField, Place, Unusable
from w2s_export.restore.memory import even_tiles, largest_tile
from w2s_export.restore.network import Model, ReadyNetwork
from w2s_export.restore.tiling import Span, spans


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile of one plane."""

    place: Place
    counts: InputRange
    rows: Span
    columns: Span

    @property
    def pixels(self) -> int:
        """Input pixels it restores."""
        return (self.rows.stop - self.rows.start) * (self.columns.stop - self.columns.start)


def tiles_of(
    source: Source,
    network: ReadyNetwork,
    tile: tuple[int, int],
    images: Sequence[Place],
    found: Sequence[InputRange],
) -> Iterator[Tile]:
    """The tiles of every image, row by row."""
    cut = {"halo": network.halo, "step": network.step}
    for place, counts in zip(images, found, strict=True):
        for rows in spans(source.layout.height, tile=tile[0], **cut):
            for columns in spans(source.layout.width, tile=tile[1], **cut):
                yield Tile(place, counts, rows, columns)


def tile_of(source: Source, network: ReadyNetwork, budget: int, unit: int) -> tuple[int, int]:
    """Height and width of equal tiles that restore within the budget.

    Raises:
        ImageError: the image is smaller than the network's minimum, or cannot be read in parts.
        ConfigError: the budget is too small for any tile.
    """
    layout = source.layout
    if min(layout.height, layout.width) < network.minimum:
        raise ImageError(
            f"is {layout.height}×{layout.width} pixels; the smallest this network restores is "
            f"{network.minimum}×{network.minimum}"
        )
    itemsize = layout.dtype.itemsize * network.model.channels_in
    try:
        largest = largest_tile(network, budget, layout, itemsize, unit)
    except ConfigError:
        largest_tile(network, budget, replace(layout, block=(1, 1)), itemsize, unit)
        rows, columns = layout.block  # without them it would do: it is this image
        raise ImageError(
            f"is compressed in parts of {rows}×{columns} pixels, which do not fit into --memory "
            f"{budget / 1e6:.0f}MB; save it uncompressed or in smaller tiles, or allow more"
        ) from None
    return even_tiles(layout.height, largest, unit), even_tiles(layout.width, largest, unit)


def fields_of(
    source: Source, images: Sequence[Place], found: Sequence[InputRange], model: Model
) -> list[NormalisedField]:
    """The images that can be restored, as the network wants them."""
    return [
        NormalisedField(Field(source, place), model.normalisation, counts)
        for place, counts in zip(images, found, strict=True)
        if not isinstance(counts, Unusable)
    ]
