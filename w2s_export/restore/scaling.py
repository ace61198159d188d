"""How restored values are stored: as they are, or as 16-bit counts of a stated scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Scaling:
    """`value = offset + step · count`; float32 is stored as it is.

    The same for every image, so that counts of different files compare; ImageJ reads it as the
    calibration of the pixel values.
    """

    dtype: str
    """`float32` or `uint16`."""
    offset: float = 0.0
    step: float = 1.0

    def encode(self, values: NDArray[np.float32]) -> tuple[NDArray[Any], int]:
        """The values to store, and how many of them lay outside the range and were clipped."""
        if self.dtype == "float32":
            return values, 0
        values = np.nan_to_num(values, nan=self.offset, posinf=np.inf, neginf=-np.inf)
        counts = np.rint((values - np.float32(self.offset)) / np.float32(self.step))
        outside = int(((counts < 0) | (counts > 65535)).sum())
        return np.clip(counts, 0, 65535).astype(np.uint16), outside


def scaling_of(dtype: str, *, normalised: bool) -> Scaling:
    """The scale of an output type.

    Normalised networks answer with 0 where their input's low percentile was and 1 at the high one:
    −1 to 5.5535 in steps of 1e-4. A network without normalisation, and one whose answer is mapped
    back to the input's intensities, answers in counts, which are rounded.
    """
    if dtype == "float32" or not normalised:
        return Scaling(dtype)
    return Scaling(dtype, offset=-1.0, step=1e-4)
