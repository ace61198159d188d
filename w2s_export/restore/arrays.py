"""Restores arrays in memory: a notebook's images, without files."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.counting import counted
from w2s_export.data.normalise import normalise
from w2s_export.errors import ConfigError, ImageError
from w2s_export.io.memory import free_bytes
from w2s_export.io.source import Layout
from w2s_export.io.temporary import temporary_folder
from w2s_export.restore.engines import open_engines
from w2s_export.restore.memory import SMALLEST_TILE, largest_tile
from w2s_export.restore.network import OpenableNetwork, ReadyNetwork
from w2s_export.restore.orientations import ORIENTATIONS, OrientationsRuntime
from w2s_export.restore.tiling import restore_tiled
from w2s_export.runtime.protocol import Runtime

_TILE = 512
"""Side of a tile, input pixels, at most: the halo's share is small, and memory stays below a
gigabyte with the default model."""
_MOST_FREE = 0.8
"""Part of the free memory that a tile may take, as in a worker."""
_BY_RANK = {2: "HW", 3: "CHW", 4: "NCHW"}


def restore_array(
    images: NDArray[Any],
    network: OpenableNetwork,
    axes: str | None = None,
    *,
    uncertainty: bool = False,
) -> NDArray[np.float32]:
    """Restore an array of counts; each image of it is normalised by itself.

    The engine is chosen as for files: in a job that is long enough, by trying those at hand.

    Args:
        images: of any numeric type.
        network: what restores them.
        axes: a letter for each axis, of N, C, H and W, in the array's order; by default `HW`,
            `CHW` or `NCHW`.
        uncertainty: restore eight orientations.

    Returns:
        Float32, of the same axes, height and width `scale` times as large. With `uncertainty` an
        axis comes before them: the mean of eight, and their standard deviation.

    Raises:
        ImageError: no array of numbers, or one with masked pixels or none at all; axes that do not
            fit it; or channels that the network does not take.
    """
    array, model = _numbers(images), network.model
    named = axes or _BY_RANK.get(array.ndim, "")
    if sorted(named) not in (sorted(known) for known in ("HW", "CHW", "NHW", "NCHW")) or (
        len(named) != array.ndim
    ):
        raise ImageError(
            f"an array of shape {array.shape} with axes {axes!r}; say axes='HW', 'CHW', 'NHW', "
            "'NCHW' or another order of these letters"
        )
    # Missing axes come first, of length 1; then every array is (N, C, H, W).
    full = "".join(letter for letter in "NC" if letter not in named) + named
    batch = array[(np.newaxis,) * (4 - array.ndim)].transpose([full.index(one) for one in "NCHW"])
    if batch.shape[1] != model.channels_in:
        raise ImageError(
            f"has {counted(batch.shape[1], 'channel')}, the network takes {model.channels_in}; "
            "say which axis holds them with axes='…C…', or give images one by one"
        )
    restored = _restored(batch, network, uncertainty=uncertainty)
    made = []
    for part in np.split(restored, 2, axis=1) if uncertainty else [restored]:
        back = part.transpose(["NCHW".index(one) for one in full])
        kept = [length for one, length in zip(full, back.shape, strict=True) if one in named]
        made.append(back.reshape(kept))
    return np.stack(made) if uncertainty else made[0]


def _numbers(images: Any) -> NDArray[Any]:
    """The array, of real numbers, every pixel of it valid."""
    if isinstance(images, np.ma.MaskedArray) and (masked := np.ma.getmaskarray(images).sum()):
        raise ImageError(
            f"an array with {masked} masked pixels; give array.filled(VALUE), or a part of it "
            "without them"
        )
    array = np.asarray(images)
    if not np.can_cast(array.dtype, np.float32, "same_kind"):
        raise ImageError(
            f"an array of type {array.dtype}; give real numbers, with array.astype('float32') or "
            "abs(array)"
        )
    if not array.size:
        raise ImageError(f"an array of shape {array.shape}, without pixels; give at least one")
    return array


def _restored(
    batch: NDArray[Any], network: OpenableNetwork, *, uncertainty: bool
) -> NDArray[np.float32]:
    """(N, C, H, W) → (N, C', s·H, s·W); with `uncertainty` means, then standard deviations."""
    with temporary_folder() as folder:
        free = free_bytes()
        memory = free // 2
        ready = network.open(folder).for_other_engines(memory)
        tile = _tile(ready, batch, int(_MOST_FREE * free))
        pixels = len(batch) * batch[0, 0].size * (ORIENTATIONS if uncertainty else 1)
        runtime: Runtime = open_engines(ready, "auto", None, 32, memory, pixels).runtime
        if uncertainty:
            runtime = OrientationsRuntime(runtime, ready.fixed)
        return np.stack(
            [
                restore_tiled(
                    runtime,
                    normalise(image, network.model.normalisation),
                    scale=ready.scale,
                    halo=ready.halo,
                    tile=tile,
                    step=ready.step,
                    fixed=ready.fixed,
                )
                for image in batch
            ]
        )


def _tile(network: ReadyNetwork, batch: NDArray[Any], budget: int) -> int:
    """Side of a tile, input pixels: less where memory is short, `budget` bytes."""
    height, width = batch.shape[2:]
    layout = Layout((1, 1, 1), 1, height, width, batch.dtype, (1, width))
    try:  # nothing is decoded: an item has 0 bytes
        return min(_TILE, largest_tile(network, budget, layout, 0, SMALLEST_TILE))
    except ConfigError:  # estimates are cautious: the smallest may fit
        return SMALLEST_TILE
