"""What 16-bit arithmetic costs: its difference from float32 on pixels of the image itself."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import W2SExportError

LEAST_DB = 55.0
"""Measured with bfloat16: 62.6 dB for 23 trained blocks, 67.8 dB for the default network. The
networks themselves are 26 dB from the truth, and 8-bit integers were 28 to 36 dB from float32."""
LARGEST = 1e-2
"""Largest error of one pixel, part of the output's range. Measured: 7.7e-3 and 5.4e-3; a display of
8 bits shows steps of 4e-3."""


class PrecisionRefusedError(W2SExportError):
    """A network or image whose 16-bit result is too far from float32."""


@dataclass(frozen=True, slots=True)
class PrecisionError:
    """Difference of a result from the one in float32, as parts of the latter's range."""

    rms: float
    largest: float

    @property
    def decibels(self) -> float:
        """The range over the root mean square; infinite where both are equal."""
        return -20 * math.log10(self.rms) if self.rms else math.inf

    @property
    def allowed(self) -> bool:
        """Whether it is small enough to be invisible. NaN is not."""
        return self.decibels >= LEAST_DB and self.largest <= LARGEST

    def __str__(self) -> str:
        """E.g. `62.6 dB from float32 (rms 7.4e-04, largest 7.7e-03 of the range)`."""
        return (
            f"{self.decibels:.1f} dB from float32 (rms {self.rms:.1e}, largest {self.largest:.1e} "
            "of the range)"
        )

    def as_dict(self) -> dict[str, float]:
        """For JSON and metadata."""
        return asdict(self) | ({"decibels": round(self.decibels, 1)} if self.rms else {})


def precision_error(result: NDArray[np.float32], expected: NDArray[np.float32]) -> PrecisionError:
    """How far a result is from the float32 one, of equal shape. A range of 0 allows no error."""
    extent = float(np.ptp(expected))
    difference = np.subtract(result, expected, dtype=np.float64)
    rms, largest = math.sqrt(float(np.square(difference).mean())), float(np.abs(difference).max())
    if extent == 0:
        return PrecisionError(*(math.inf if value else 0.0 for value in (rms, largest)))
    return PrecisionError(rms / extent, largest / extent)
