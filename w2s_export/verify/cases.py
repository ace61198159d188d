"""The inputs on which formats are compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Case:
    """One input."""

    name: str
    batch: NDArray[np.float32]
    """(N, C, H, W), normalised."""


def noise_cases(
    channels: int,
    minimum: int,
    step: int = 1,
    fixed: tuple[int, int] | None = None,
    smallest: int = 1,
) -> tuple[Case, ...]:
    """Noise in the sizes that go wrong: smallest, odd, not square, batch of two.

    Noise has every frequency at every place, so a wrong border or axis shows. All but the smallest
    are small: what formats make of a size does not depend on how large it is. Of a network with a
    step they are an odd number of steps, at least three.

    Args:
        channels: of the network's input.
        minimum: smallest height and width the package accepts.
        step: sizes are multiples of this.
        fixed: the only height and width, where there is but one.
        smallest: height and width that the network itself computes at least.
    """
    random = np.random.default_rng(20200311)  # the day W2S appeared

    def noise(name: str, count: int, height: int, width: int) -> Case:
        shape = (count, channels, *(fixed or (height, width)))
        batch = random.random(shape, np.float32)
        return Case(f"{name}, {shape[2]}×{shape[3]}", batch)

    if fixed is not None:
        return noise("noise", 1, *fixed), noise("noise, batch of 2", 2, *fixed)

    def odd(pixels: int) -> int:
        return (max(3, -(-max(pixels, smallest) // step)) | 1) * step

    least = -(-minimum // step) * step
    return (
        noise("noise, smallest", 1, least, least),
        noise("noise, odd", 1, odd(17), max(odd(29), odd(17) + 2 * step)),
        noise("noise, batch of 2", 2, odd(23) + step, odd(15)),
    )
