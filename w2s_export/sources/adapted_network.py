"""A network that was asked to be another one: in grey, or with images or results in counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import NoNormalisation, Normalisation
from w2s_export.counting import counted
from w2s_export.data.normalise import (
    fixed_range,
    normalise,
    parse_normalisation,
    statistics_of_channels,
)
from w2s_export.errors import ConfigError
from w2s_export.graph.adapting import (
    Numbers,
    ended_by,
    grey,
    per_channel,
    scaled_input,
    scaled_output,
    transposed,
)
from w2s_export.network import Network

if TYPE_CHECKING:
    import onnx

    from w2s_export.runtime.protocol import Runtime


Arrays = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class _Adapted:
    """The witness of an adapted network: the original's, its images and results changed alike."""

    def __init__(self, runtime: Runtime, before: Arrays, after: Arrays) -> None:
        self.name = runtime.name
        self._runtime, self._before, self._after = runtime, before, after

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Restore: (N, C, H, W) → (N, C', scale·H, scale·W)."""
        return self._after(self._runtime(self._before(batch)))


def _adapted(
    network: Network,
    graph: onnx.ModelProto,
    *,
    before: Arrays = lambda images: images,
    after: Arrays = lambda results: results,
    **changes: Any,
) -> Network:
    """A network of another graph; its witness is the original's behind and before plain NumPy."""
    from w2s_export.graph.facts import facts_of_any

    return replace(
        network,
        graph=graph,
        facts=facts_of_any(graph, scale=network.scale, step=network.step),
        reference=lambda: _Adapted(network.reference(), before, after),
        checkpoint=None,
        **changes,
    )


def _mean(results: NDArray[np.float32]) -> NDArray[np.float32]:
    mean: NDArray[np.float32] = results.mean(1, keepdims=True, dtype=np.float64).astype(np.float32)
    return mean


def in_grey(network: Network) -> Network:
    """A colour network on grey images: exact, for an image that has the same in every channel.

    Raises:
        ConfigError: it takes one channel already.
    """
    if network.channels_in == 1:
        raise ConfigError("--fold-channels: the network takes one channel already; leave it out")
    return _adapted(
        network,
        grey(network.graph),
        before=lambda images: images.repeat(network.channels_in, axis=1),
        after=_mean,
        architecture=(
            f"{network.architecture}, {counted(network.channels_in, 'channel')} folded into one"
        ),
        channels_in=1,
        channels_out=1,
    )


def of_counts(network: Network) -> Network:
    """A network whose normalisation has numbers for each channel, with that as part of it.

    DeepImageJ 3.1 has one number for all channels; what a network does itself every client does.

    Raises:
        ConfigError: numbers for other channels than it has.
    """
    how = network.normalisation
    numbers = statistics_of_channels(how)
    if how is None or numbers is None:
        return network
    if len(numbers[0]) != network.channels_in:
        raise ConfigError(
            f"the normalisation has numbers for {counted(len(numbers[0]), 'channel')}, the "
            f"network takes {network.channels_in}; give one for each channel"
        )
    return _adapted(
        network,
        scaled_input(network.graph, *numbers, how.clip),
        before=lambda images: normalise(images, how),
        architecture=f"{network.architecture}, behind a normalisation of each channel",
        normalisation=NoNormalisation(),
    )


def in_counts(network: Network, gain: Numbers, offset: Numbers) -> Network:
    """A network whose results are `gain · y + offset`, whatever client runs it."""
    for numbers in (gain, offset):
        if isinstance(numbers, tuple) and len(numbers) != network.channels_out:
            raise ConfigError(
                f"results are scaled by numbers for {counted(len(numbers), 'channel')}, the "
                f"network makes {network.channels_out}; give one number, or one for each channel"
            )
    return _adapted(
        network,
        scaled_output(network.graph, gain, offset),
        after=lambda results: results * per_channel(gain) + per_channel(offset),
        postprocessing=(*network.postprocessing, f"`y · {_shown(gain)} + {_shown(offset)}`"),
    )


def _shown(numbers: Numbers) -> str:
    """As a person writes it: one number, or those of each channel."""
    if isinstance(numbers, tuple):
        return f"({', '.join(f'{number:g}' for number in numbers)})"
    return f"{numbers:g}"


def cut_to(network: Network, low: float, high: float) -> Network:
    """A network whose results are cut to a range."""
    return _adapted(
        network,
        ended_by(network.graph, "Clip", low, high),
        after=lambda results: results.clip(np.float32(low), np.float32(high)),
        postprocessing=(*network.postprocessing, f"cut to {low:g}…{high:g}"),
    )


def squashed(network: Network) -> Network:
    """A network whose results are `1 / (1 + exp(−y))`."""

    def sigmoid(results: NDArray[np.float32]) -> NDArray[np.float32]:
        made: NDArray[np.float32] = (1 / (1 + np.exp(-results.astype(np.float64)))).astype("f4")
        return made

    return _adapted(
        network,
        ended_by(network.graph, "Sigmoid"),
        after=sigmoid,
        postprocessing=(*network.postprocessing, "sigmoid"),
    )


def turned(network: Network) -> Network:
    """A network that was described for images (x, y), on images (y, x)."""

    def other(images: NDArray[np.float32]) -> NDArray[np.float32]:
        swapped: NDArray[np.float32] = images.transpose(0, 1, 3, 2)
        return swapped

    fixed = None if network.fixed is None else (network.fixed[1], network.fixed[0])
    return _adapted(network, transposed(network.graph), before=other, after=other, fixed=fixed)


def parse_output_normalisation(text: str, how: Normalisation) -> tuple[Numbers, Numbers]:
    """Gain and offset of the results.

    Args:
        text: `back`, `range:LOW:HIGH` or `mean-std:MEAN:STD`: what the results' 0 and 1, or mean
            and deviation, are in counts.
        how: the normalisation of the images, which `back` undoes.

    Raises:
        ConfigError: another text, or a normalisation that every image has its own numbers for.
    """
    option = "--output-normalisation"
    wanted = how if text == "back" else parse_normalisation(text, option)
    fixed = fixed_range(wanted) or statistics_of_channels(wanted)
    if fixed is None:
        raise ConfigError(
            f"{option} {text}: write back, range:LOW:HIGH or mean-std:MEAN:STD. Images that are "
            "normalised by numbers of their own (percentiles, zero-mean) cannot be scaled back: no "
            "client keeps these numbers for the result"
        )
    return fixed[1], fixed[0]
