"""Compares two outputs that should be the same image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Parity:
    """How far one output is from the expected one."""

    subject: str
    """What was run, e.g. `ONNX Runtime 1.32.0`."""
    case: str
    """On what, e.g. `noise 17×23`."""
    shape: tuple[int, ...]
    """Shape of the expected output."""
    max_abs: float
    """Largest absolute difference, in the network's units."""
    max_relative: float
    """`max_abs` over the range (maximum − minimum) of the expected output; infinite for another
    shape or a value that is not finite."""
    psnr_db: float
    """Peak signal-to-noise ratio over that range, dB; infinite for equal outputs."""


def compare(subject: str, case: str, expected: NDArray[Any], actual: NDArray[Any]) -> Parity:
    """Measure the difference between two outputs.

    Args:
        subject: name of what was run, for the report.
        case: name of its input, for the report.
        expected: output of the source, any shape.
        actual: output to judge. Another shape, or NaN or infinity in either, is infinitely far.
    """
    shape = tuple(expected.shape)
    finite = np.isfinite(expected).all() and np.isfinite(actual).all()
    if actual.shape != expected.shape or not finite or not expected.size:
        return Parity(subject, case, shape, math.inf, math.inf, -math.inf)
    difference = np.subtract(actual, expected, dtype=np.float64)
    max_abs = float(np.abs(difference).max())
    if max_abs == 0:
        return Parity(subject, case, shape, 0.0, 0.0, math.inf)
    width = float(expected.max()) - float(expected.min())
    if width == 0:
        return Parity(subject, case, shape, max_abs, math.inf, -math.inf)
    rms = math.sqrt(float(np.mean(difference**2)))
    return Parity(subject, case, shape, max_abs, max_abs / width, 20 * math.log10(width / rms))
