"""Eight orientations of each tile: their mean, and their spread, which shows where it guesses.

A network that was trained on patches in every orientation should answer each of them alike. Where
the answers differ, noise or habit decided, not the light (self-ensemble, arXiv:1511.02228).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from w2s_export.io.appearance import Channel
from w2s_export.restore.network import ReadyNetwork
from w2s_export.restore.output import OutputLayout
from w2s_export.restore.record import Record
from w2s_export.restore.scaling import Scaling
from w2s_export.runtime.protocol import Runtime

ORIENTATIONS = 8
"""Four quarter turns, each as it is and mirrored; each is one pass through the network."""
_SHOWN = 0.1
"""Spread shown brightest, relative to the range in which the result is shown."""
_BYTES = 32
"""Per output value of a tile: mean, deviations, an answer, its difference, what is computed with
them, and both results."""


def with_memory_for_sums(network: ReadyNetwork) -> ReadyNetwork:
    """The network, with the memory that the sums over eight answers take."""
    model = network.model
    room = _BYTES * model.scale**2 * model.channels_out
    return replace(network, model=replace(model, bytes_per_pixel=model.bytes_per_pixel + room))


class OrientationsRuntime:
    """A runtime that answers with the mean of eight orientations, and with their spread."""

    def __init__(self, runtime: Runtime, fixed: tuple[int, int] | None = None) -> None:
        """Wrap a runtime.

        Args:
            runtime: restores one orientation.
            fixed: height and width, where it reads nothing else. Unless they are equal, quarter
                turns do not fit it, and there are four orientations.
        """
        self._runtime = runtime
        self._turns = (0, 2) if fixed is not None and fixed[0] != fixed[1] else (0, 1, 2, 3)

    @property
    def name(self) -> str:
        """Of what computes."""
        return self._runtime.name

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Restore: (N, C, H, W) → (N, 2·C', s·H, s·W), the means, then the standard deviations.

        One answer is in memory at a time, beside the sums (Welford 1962).
        """
        mean, deviations = np.zeros((), np.float32), np.zeros((), np.float32)
        everyone = [(turns, mirrored) for mirrored in (False, True) for turns in self._turns]
        for number, (turns, mirrored) in enumerate(everyone, 1):
            turned = np.rot90(batch, turns, axes=(2, 3))
            answer = self._runtime(np.ascontiguousarray(turned[..., ::-1] if mirrored else turned))
            back = np.rot90(answer[..., ::-1] if mirrored else answer, -turns, axes=(2, 3))
            off = back - mean
            mean = mean + off / np.float32(number)
            deviations = deviations + off * (back - mean)
        return np.concatenate([mean, np.sqrt(deviations / np.float32(len(everyone)))], axis=1)


def record_of_spread(record: Record) -> Record:
    """What the spread's image says about its making."""
    return replace(record, orientations="spread")


def all_layouts(layout: OutputLayout, *, spread: bool) -> tuple[OutputLayout, ...]:
    """Of the result, and of the spread if it is asked for."""
    return (layout, _of_spread(layout)) if spread else (layout,)


def _of_spread(layout: OutputLayout) -> OutputLayout:
    """Calibrated as the result is, 32-bit, shown from 0."""
    step = layout.scaling.step
    channels = tuple(
        Channel(channel.name, channel.lut, _from_zero(channel.window, step))
        for channel in layout.appearance.channels
    )
    return replace(
        layout,
        scaling=Scaling("float32"),
        record=record_of_spread(layout.record),
        appearance=replace(layout.appearance, channels=channels),
    )


def _from_zero(window: tuple[float, float] | None, step: float) -> tuple[float, float] | None:
    return window and (0.0, _SHOWN * step * (window[1] - window[0]))
