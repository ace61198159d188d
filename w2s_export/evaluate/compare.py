"""Restores and scores every pair with every method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import Normalisation
from w2s_export.counting import counted
from w2s_export.data.pairs import PairFiles, check_sizes, match_names, read_plane
from w2s_export.data.split import assign
from w2s_export.errors import ConfigError, ImageError
from w2s_export.evaluate.methods import Bicubic, Method, Network, column_names
from w2s_export.metrics.registry import Features
from w2s_export.metrics.scores import Scores, score
from w2s_export.options import EvaluateOptions
from w2s_export.sources.load import Reading
from w2s_export.training.config import read_training_config

_SMALLEST = 11  # side of SSIM's window


@dataclass(frozen=True, slots=True)
class ImageScores:
    """One image by one method; scores are means over its channels."""

    image: str
    method: str
    scores: Scores
    pixel_um: float | None
    """Of the target, where it or the input says."""


@dataclass(frozen=True, slots=True)
class PairImages:
    """Input (C, H, W) and target (C', s·H, s·W) as stored, and the target's pixel size."""

    low: NDArray[Any]
    high: NDArray[Any]
    pixel_um: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores of every image by every method, and the methods, bicubic first."""

    methods: tuple[Method, ...]
    files: tuple[PairFiles, ...]
    rows: tuple[ImageScores, ...]

    def of(self, method: str) -> list[ImageScores]:
        """Scores of one method, in the order of the images."""
        return [row for row in self.rows if row.method == method]


def evaluate(
    checkpoints: Sequence[Path],
    files: Sequence[PairFiles],
    *,
    normalisation: Normalisation | None = None,
    tile: int = EvaluateOptions.tile,
    features: Features | None = None,
    reading: Reading | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Compare checkpoints and bicubic enlargement on pairs.

    Every pair and every checkpoint is looked at before the first is restored.

    Args:
        checkpoints: of any known format, none or more.
        files: pairs to restore; only one is in memory at a time.
        normalisation: for checkpoints that record none.
        tile: height and width that a tile restores, input pixels.
        features: adds the metrics that need a feature network.
        reading: of checkpoints of other families.
        progress: hears (restorations done, restorations in all).

    Raises:
        W2SExportError: a pair or a checkpoint cannot be used; the message names it.
    """
    if not files:
        raise ConfigError("there is no pair to evaluate")
    first = read_pair(files[0])
    scale = max(1, first.high.shape[1] // first.low.shape[1])
    for pair in files:
        _check(pair, files[0], first, scale)
    networks = [
        Network(path, name, normalisation, tile, reading or Reading())
        for path, name in zip(checkpoints, column_names(checkpoints), strict=True)
    ]
    for path, network in zip(checkpoints, networks, strict=True):
        _check_network(path, network, scale, len(first.low), len(first.high))
    enlarged = [Bicubic(scale)] if len(first.low) == len(first.high) else []
    methods: tuple[Method, ...] = (*enlarged, *networks)
    rows: list[ImageScores] = []
    for pair in files:
        images = read_pair(pair)
        for method in methods:
            scores = score(method(images.low), images.high, features=features)
            rows.append(ImageScores(pair.name, method.name, scores, images.pixel_um))
            if progress is not None:
                progress(len(rows), len(files) * len(methods))
    return Evaluation(methods, tuple(files), tuple(rows))


def chosen_pairs(
    folder: Path, low: str, high: str, config: Path | None = None, split: str = "test"
) -> list[PairFiles]:
    """The pairs of two folders, or those that a training configuration sets apart.

    Args:
        folder: holds the folders of inputs and targets.
        low: folder of inputs, files of the same names as the targets.
        high: folder of targets.
        config: a training configuration, in place of `low` and `high`.
        split: which of its fields.

    Raises:
        ConfigError: the configuration leaves no field for the split.
        ImageError: files without a partner.
    """
    if config is None:
        return match_names(folder / low, folder / high)
    files = assign(read_training_config(config).data, folder)[split]
    if not files:
        raise ConfigError(f"{config}: its data leave no field for {split}; choose another --split")
    return files


def read_pair(pair: PairFiles) -> PairImages:
    """Read one pair, checked as `read_plane` does."""
    low, high = read_plane(pair.low, pair.plane), read_plane(pair.high, pair.plane)
    scale = high.pixels.shape[2] / low.pixels.shape[2]
    pixel = None
    for image, factor in ((high, 1.0), (low, scale)):
        size = image.pixel_size_um
        if pixel is None and size is not None and np.isclose(size[0], size[1], rtol=1e-3):
            pixel = size[0] / factor
    return PairImages(low.pixels[0], high.pixels[0], pixel)


def _check(pair: PairFiles, first: PairFiles, example: PairImages, scale: int) -> None:
    """Raise ImageError unless the pair has the first's scale and channels, and can be scored."""
    images = read_pair(pair)
    check_sizes(pair.name, images.low.shape[1:], images.high.shape[1:], scale)
    height, width = images.high.shape[1:]
    if min(height, width) < _SMALLEST:
        raise ImageError(
            f"'{pair.name}': the target is {height}×{width}; SSIM needs {_SMALLEST} pixels a side"
        )
    channels, others = ((len(one.low), len(one.high)) for one in (images, example))
    if channels != others:
        raise ImageError(
            f"'{pair.name}': has {counted(channels[0], 'channel')} and its target {channels[1]}; "
            f"'{first.name}' has {others[0]} and {others[1]}, evaluate them apart"
        )


def _check_network(path: Path, network: Network, scale: int, low: int, high: int) -> None:
    known = network.network
    if known.scale != scale:
        raise ConfigError(f"{path}: enlarges {known.scale}×, the targets are {scale}× their inputs")
    if (known.channels_in, known.channels_out) != (low, high):
        raise ConfigError(
            f"{path}: takes {counted(known.channels_in, 'channel')} and gives "
            f"{known.channels_out}, the pairs have {low} and {high}"
        )
