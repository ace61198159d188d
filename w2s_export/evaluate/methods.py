"""What is compared: bicubic enlargement, and networks tile by tile, so that large fields fit."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import Normalisation
from w2s_export.data.normalise import normalise
from w2s_export.errors import ConfigError
from w2s_export.metrics.scores import bicubic
from w2s_export.restore.halo import measure_halo
from w2s_export.restore.tiling import restore_tiled
from w2s_export.sources.load import Reading, doubts, load_network, normalisation_of
from w2s_export.training.evaluate import MARGIN

logger = logging.getLogger(__name__)

BICUBIC = "bicubic"

_MEASURED = 256  # pixels of an image's side on which the halo is measured


class Method(Protocol):
    """Something that enlarges an image."""

    name: str
    """Its column in tables and figures."""

    def __call__(self, image: NDArray[Any]) -> NDArray[np.floating]:
        """(C, H, W), counts → (C', s·H, s·W), whose gain and offset do not matter."""
        ...


class Bicubic:
    """Bicubic enlargement, channel by channel: what a network must beat."""

    name = BICUBIC

    def __init__(self, scale: int) -> None:
        self._scale = scale

    def __call__(self, image: NDArray[Any]) -> NDArray[np.floating]:
        """(C, H, W) → (C, s·H, s·W)."""
        return np.stack([bicubic(channel, self._scale) for channel in image])


class Network:
    """A checkpoint of any known format, restoring tile by tile with mirrored borders.

    Args:
        path: the checkpoint.
        name: its column.
        normalisation: where the checkpoint records none.
        tile: height and width that a tile restores, input pixels.
        reading: of a checkpoint of another family.

    Raises:
        CheckpointError: see `load_network`.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        normalisation: Normalisation | None,
        tile: int,
        reading: Reading = Reading(),  # noqa: B008 - frozen
    ) -> None:
        network = load_network(path, dynamic=reading.dynamic, signature=reading.signature)
        if doubt := doubts(network):
            logger.warning("%s: %s", path, doubt)
        how = normalisation_of(path, network.normalisation or normalisation)
        self.name, self.network, self._how, self._tile = name, network, how, tile
        self._runtime = network.reference()
        self._halo: int | None = None

    def __call__(self, image: NDArray[Any]) -> NDArray[np.floating]:
        """(C, H, W) → (C', s·H, s·W). The first image also measures the halo."""
        x = normalise(image, self._how)
        if self._halo is None:
            part = x[:, :_MEASURED, :_MEASURED]
            measured = measure_halo(self._runtime, part, self.network).halo
            # At least the margin that training scores with: the same fields, the same scores.
            self._halo = measured if self.network.fixed else max(measured, MARGIN)
        return restore_tiled(
            self._runtime,
            x,
            scale=self.network.scale,
            halo=self._halo,
            tile=self._tile,
            step=self.network.step,
            fixed=self.network.fixed,
        )


def column_names(paths: Sequence[Path]) -> list[str]:
    """The shortest endings of the paths, without suffix, that tell them apart.

    Raises:
        ConfigError: a checkpoint is given twice.
    """
    plain = [path.absolute().with_suffix("").parts[1:] for path in paths]
    if len(set(plain)) < len(plain):
        raise ConfigError("a checkpoint is given twice; give each one once")
    names = []
    for parts in plain:
        length = 1
        while sum(other[-length:] == parts[-length:] for other in plain) > 1:
            length += 1
        names.append("/".join(parts[-length:]))
    return names
