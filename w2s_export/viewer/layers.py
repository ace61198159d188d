"""Restores the pixels of a layer step by step; knows napari's conventions, and needs no Qt."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.data.normalise import normalise
from w2s_export.errors import ConfigError, FlatImageError, ImageError, NotFiniteImageError
from w2s_export.io.temporary import temporary_folder
from w2s_export.io.worker import memory_limit
from w2s_export.package.network import BareWeights, PackagedNetwork, open_network
from w2s_export.restore.orientations import OrientationsRuntime
from w2s_export.restore.tiling import restore_tile, spans
from w2s_export.runtime.choose import open_engine

_TILE = 256
"""Side of a tile, input pixels: small, because a run can be cancelled between two of them."""


def network_of(path: str) -> PackagedNetwork | BareWeights:
    """The default network, a package's, or that of weights.

    Raises:
        W2SExportError: the file holds no network that this tool can use.
    """
    chosen = Path(path.strip()).expanduser() if path.strip() else None
    if chosen is not None and not chosen.exists():
        raise ConfigError(f"{chosen}: is not there")
    package = chosen is not None and chosen.suffix == ".zip"
    return open_network(chosen if package else None, None if package else chosen)


def restore_layer(
    data: Any,
    network: PackagedNetwork | BareWeights,
    *,
    rgb: bool = False,
    uncertainty: bool = False,
) -> Generator[tuple[float, str], None, list[NDArray[np.float32]]]:
    """Restore every plane by itself, as the package's clients do.

    Args:
        data: the layer's array, lazy or not: (..., H, W), or (..., H, W, colours) if `rgb`; of a
            pyramid the list of its levels.
        network: what restores.
        rgb: the last axis is colours, of which an alpha is dropped.
        uncertainty: restore eight orientations.

    Yields:
        The part that is done, 0 to 1, and a plane that could not be restored, by its index and
        reason; it stays black.

    Returns:
        Float32, height and width enlarged; colours are an axis before them. With `uncertainty` the
        mean of eight, and their standard deviation.

    Raises:
        ImageError: channels that the network does not take, or an image that is too small.
    """
    array = data if hasattr(data, "ndim") else data[0]
    colours = min(array.shape[-1], 3) if rgb else 1
    *lead, height, width = array.shape[:-1] if rgb else array.shape
    model = network.model
    each = _images_of_plane(model.channels_in, colours)
    out, images = each * model.channels_out, 2 if uncertainty else 1
    size = (model.scale * height, model.scale * width)
    results = np.zeros((images, *lead, out, *size), np.float32)
    results[1:] = np.nan
    with temporary_folder() as folder:
        ready = network.open(folder)
        _require_size(height, width, ready.minimum)
        runtime = open_engine("auto", ready.onnx, apart=memory_limit() if ready.foreign else None)
        runs = OrientationsRuntime(runtime, model.fixed) if uncertainty else runtime
        cut = {"halo": ready.halo, "tile": _TILE, "step": ready.step}
        tiles = [(y, x) for y in spans(height, **cut) for x in spans(width, **cut)]
        total, done = int(np.prod(lead)) * each * len(tiles), 0
        for place, number, part in _images(array, lead, colours if rgb else 0, each):
            try:
                values = normalise(part, model.normalisation)
            except (FlatImageError, NotFiniteImageError) as error:
                done += len(tiles)
                yield done / total, f"plane {place}: {error}"
                continue
            channels = slice(number * model.channels_out, (number + 1) * model.channels_out)
            for y, x in tiles:
                target = (*place, channels, y.target(model.scale), x.target(model.scale))
                made = restore_tile(runs, values, y, x, scale=model.scale, fixed=model.fixed)
                for result, image in zip(results, np.split(made, images), strict=True):
                    result[target] = image
                done += 1
                yield done / total, ""
    return [result if out > 1 else result[..., 0, :, :] for result in results]


def _images_of_plane(channels: int, colours: int) -> int:
    """How many images a plane is, each of the channels that the network takes."""
    if channels not in (1, colours):
        raise ImageError(
            f"has {colours} colours, the network takes {channels}; choose another layer"
        )
    return colours if channels == 1 else 1


def _require_size(height: int, width: int, minimum: int) -> None:
    if min(height, width) < minimum:
        raise ImageError(
            f"is {height}×{width} pixels; the smallest this network restores is {minimum}×{minimum}"
        )


def _images(
    array: Any, lead: Sequence[int], colours: int, each: int
) -> Iterator[tuple[tuple[int, ...], int, NDArray[Any]]]:
    """What the network takes at once, (C, H, W): its plane's index, and which of the plane it is.

    Args:
        array: of the layer.
        lead: its axes before the planes.
        colours: how many of the last axis; 0 where that is no colours.
        each: images of a plane.
    """
    for place in np.ndindex(*lead):
        plane = np.asarray(array[place])
        image = np.moveaxis(plane[..., :colours], -1, 0) if colours else plane[np.newaxis]
        for number, part in enumerate(np.split(image, each)):
            yield place, number, part


def placed(
    scale: Sequence[float], translate: Sequence[float], factor: int, *, new_axis: bool
) -> dict[str, list[float]]:
    """Napari's scale and translate of the result: finer pixels that cover the same place.

    Args:
        scale: of the layer, one per axis that is no colour.
        translate: of the layer; the centre of its first pixel.
        factor: by which the network enlarges.
        new_axis: colours have become an axis before Y and X.
    """
    sizes, corner = [float(size) for size in scale], [float(place) for place in translate]
    for axis in (-2, -1):
        corner[axis] -= sizes[axis] * (1 - 1 / factor) / 2
        sizes[axis] /= factor
    if new_axis:
        sizes.insert(-2, 1.0)
        corner.insert(-2, 0.0)
    return {"scale": sizes, "translate": corner}
