"""Image formation of a fluorescence microscope: incoherent, in focus, diffraction limited.

Goodman, Introduction to Fourier Optics, chapter 6: the optical transfer function (OTF) of a
circular pupil. Frequencies are in cycles per micrometre.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def cutoff(numerical_aperture: float, emission_um: float) -> float:
    """Highest frequency a widefield microscope transfers: 2 NA / λ."""
    return 2 * numerical_aperture / emission_um


def otf(frequency: Array, limit: float) -> Array:
    """Incoherent OTF of a circular pupil: 2/π · (arccos ρ − ρ √(1 − ρ²)), ρ = frequency / limit.

    1 at frequency 0, 0 from `limit` on. Its point-spread function, the Airy pattern, is positive.
    """
    rho = np.clip(frequency / limit, 0, 1)
    return 2 / np.pi * (np.arccos(rho) - rho * np.sqrt(1 - rho**2))


def haze(frequency: Array, fraction: float, spread_um: float) -> Array:
    """Transfer of a sample of which `fraction` lies out of focus, blurred to a Gaussian.

    spread_um is that Gaussian's standard deviation. 1 at frequency 0: no light is lost.
    """
    return 1 - fraction * (1 - np.exp(-2 * (np.pi * spread_um * frequency) ** 2))


def frequencies(shape: tuple[int, int], pixel_um: float) -> Array:
    """Radial frequency of every coefficient of `numpy.fft.rfft2`: (H, W) → (H, W // 2 + 1)."""
    y = np.fft.fftfreq(shape[0], pixel_um)[:, None]
    x = np.fft.rfftfreq(shape[1], pixel_um)
    radial: Array = np.hypot(y, x)
    return radial


def transmit(spectrum: NDArray[np.complex128], transfer: Array, shape: tuple[int, int]) -> Array:
    """The image of a density whose `rfft2` is `spectrum`; both transfers here keep it positive."""
    image = np.fft.irfft2(spectrum * transfer, s=shape)
    return np.maximum(image, 0)  # rounding leaves −1e-16 where there is no light
