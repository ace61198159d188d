"""A network of anybody's, opened by its own framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

Options = Mapping[str, Any]
"""What the user chose: `dynamic`, `signature`."""


@dataclass(frozen=True, slots=True)
class Original:
    """What a framework makes of a file. It lives in the worker that opened it."""

    model: onnx.ModelProto
    """The network as the framework's exporter writes it, with all weights in it."""
    runtime: str
    """The framework and its version: the witness."""
    run: Callable[[NDArray[np.float32]], NDArray[Any]]
    """Runs the network in its framework; axes as in `model`."""
    architecture: str
    """What it is, for people."""
    step: int = 1
    """Sizes must be multiples of it, as far as the framework says."""
    chosen: str = ""
    """What was taken of a file that holds more than the network, and what was left aside."""
    unpadded: Callable[[], onnx.ModelProto] | None = None
    """Writes it again as it is on images that need no padding, where `model` has numbers in it that
    it computed of an image's size."""
