"""A network that was asked to be another one: in grey, or with images or results in counts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import NoNormalisation, Normalisation
from w2s_export.data.normalise import (
    fixed_range,
    normalise,
    of_each_channel,
    parse_normalisation,
)
from w2s_export.errors import ConfigError
from w2s_export.graph.adapting import Numbers, grey, per_channel, scaled_input, scaled_output
from w2s_export.network import Network

if TYPE_CHECKING:
    from w2s_export.runtime.protocol import Runtime


class _Adapted:
    """The witness of an adapted network: the original's, its images and results changed alike."""

    def __init__(
        self,
        runtime: Runtime,
        channels: int = 0,
        gain: Numbers = 1.0,
        offset: Numbers = 0.0,
        how: Normalisation | None = None,
    ) -> None:
        self.name = runtime.name
        self._runtime, self._channels, self._how = runtime, channels, how
        self._gain, self._offset = per_channel(gain), per_channel(offset)

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Restore: (N, C, H, W) → (N, C', scale·H, scale·W)."""
        if self._channels:
            output = self._runtime(batch.repeat(self._channels, axis=1))
            output = output.mean(1, keepdims=True, dtype=np.float64).astype(np.float32)
        else:
            output = self._runtime(normalise(batch, self._how))
        scaled: NDArray[np.float32] = output * self._gain + self._offset
        return scaled


def in_grey(network: Network) -> Network:
    """A colour network on grey images: exact, for an image that has the same in every channel.

    Raises:
        ConfigError: it takes one channel already.
    """
    from w2s_export.graph.facts import read_facts

    if network.channels_in == 1:
        raise ConfigError("--fold-channels: the network takes one channel already; leave it out")
    graph = grey(network.graph)
    return replace(
        network,
        graph=graph,
        facts=read_facts(graph),
        architecture=f"{network.architecture}, {network.channels_in} channels folded into one",
        channels_in=1,
        channels_out=1,
        reference=lambda: _Adapted(network.reference(), network.channels_in),
        checkpoint=None,
    )


def of_counts(network: Network) -> Network:
    """A network whose normalisation has numbers for each channel, with that as part of it.

    DeepImageJ 3.1 has one number for all channels; what a network does itself every client does.

    Raises:
        ConfigError: numbers for other channels than it has.
    """
    from w2s_export.graph.facts import read_facts

    how = network.normalisation
    numbers = of_each_channel(how)
    if how is None or numbers is None:
        return network
    if len(numbers[0]) != network.channels_in:
        raise ConfigError(
            f"the normalisation has numbers for {len(numbers[0])} channels, the network takes "
            f"{network.channels_in}; give one for each channel"
        )
    graph = scaled_input(network.graph, *numbers, how.clip)
    return replace(
        network,
        graph=graph,
        facts=read_facts(graph),
        architecture=f"{network.architecture}, behind a normalisation of each channel",
        normalisation=NoNormalisation(),
        reference=lambda: _Adapted(network.reference(), how=how),
        checkpoint=None,
    )


def in_counts(network: Network, gain: Numbers, offset: Numbers) -> Network:
    """A network whose results are `gain · y + offset`, whatever client runs it."""
    from w2s_export.graph.facts import read_facts

    for numbers in (gain, offset):
        if isinstance(numbers, tuple) and len(numbers) != network.channels_out:
            raise ConfigError(
                f"results are scaled by numbers for {len(numbers)} channels, the network makes "
                f"{network.channels_out}; give one number, or one for each channel"
            )
    graph = scaled_output(network.graph, gain, offset)
    return replace(
        network,
        graph=graph,
        facts=read_facts(graph),
        reference=lambda: _Adapted(network.reference(), gain=gain, offset=offset),
        checkpoint=None,
    )


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
    fixed = fixed_range(wanted) or of_each_channel(wanted)
    if fixed is None:
        raise ConfigError(
            f"{option} {text}: write back, range:LOW:HIGH or mean-std:MEAN:STD. Images that are "
            "normalised by numbers of their own (percentiles, zero-mean) cannot be scaled back: no "
            "client keeps these numbers for the result"
        )
    return fixed[1], fixed[0]
