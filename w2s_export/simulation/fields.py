"""Simulates a widefield image and the SIM image of the same field, from the optics up.

Fluorophores → density on a grid six times finer than the camera → blurred by the microscope's
transfer function → camera pixels → photons, electrons, counts. The SIM image has the same density
behind a transfer function that reaches twice as far (Gustafsson 2000,
doi 10.1046/j.1365-2818.2000.00710.x), on pixels half as wide, and no noise.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from w2s_export.config import Frozen
from w2s_export.simulation import optics, structures

SCALE = 2
_SIM_FINE = 3  # grid points across a SIM pixel: odd, so that its centre is a grid point
_FINE = SCALE * _SIM_FINE
_MARGIN = 24  # camera pixels simulated around the field: blur reaches in, FFT wrap-around does not
Structure = Literal["filaments", "vesicles", "mitochondria"]
_DRAW: dict[str, tuple[structures.Draw, float]] = {
    "filaments": (structures.microtubules, 0.3),
    "vesicles": (structures.vesicles, 0.6),
    "mitochondria": (structures.mitochondria, 0.2),
}


class SimulationConfig(Frozen):
    """A sample, a microscope and a camera. The defaults resemble BioSR's microtubules.

    BioSR: Qiao et al. 2021, doi 10.1038/s41592-020-01048-5.
    """

    structure: Structure = "filaments"
    """What the sample shows."""
    density: Annotated[float, Field(ge=0, le=100)] = 1.0
    """Objects per area, relative to what is usual for the structure."""
    height: Annotated[int, Field(ge=8, le=1024)] = 128
    """Rows of the widefield image."""
    width: Annotated[int, Field(ge=8, le=1024)] = 128
    """Columns of the widefield image."""
    pixel_size_um: Annotated[float, Field(gt=0, le=1)] = 0.0626
    """Pixel of the widefield image, micrometres; the SIM image's is half of it."""
    numerical_aperture: Annotated[float, Field(gt=0, le=1.7)] = 1.41
    """Of the objective."""
    emission_um: Annotated[float, Field(gt=0.2, le=2)] = 0.525
    """Wavelength of the fluorescence, micrometres."""
    haze: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Part of the widefield light that comes from out of focus. SIM removes it."""
    haze_um: Annotated[float, Field(gt=0, le=1)] = 0.15
    """Standard deviation of the blur of that part, micrometres."""
    photons: Annotated[float, Field(gt=0, le=1e6)] = 160.0
    """Photoelectrons a frame in the brightest widefield pixel, background not counted."""
    background: Annotated[float, Field(ge=0, le=1e6)] = 10.0
    """Photoelectrons a frame and pixel from everything else."""
    frames: Annotated[int, Field(ge=1, le=10000)] = 9
    """Frames averaged; the nine of 2-D SIM give its widefield image."""
    read_noise: Annotated[float, Field(ge=0, le=1000)] = 1.6
    """Standard deviation of the camera's noise a frame, electrons."""
    gain: Annotated[float, Field(gt=0, le=1000)] = 10.0
    """Counts per electron."""
    offset: Annotated[float, Field(ge=0, le=60000)] = 100.0
    """Counts in the dark."""


def simulate_pair(
    config: SimulationConfig, seed: int
) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Simulate one field. The same configuration and seed give the same images.

    Noise is drawn apart from the sample, so one seed shows the same sample at any light level.

    Returns:
        The widefield image, (H, W) counts, and the SIM image, (2H, 2W), in photoelectrons a frame
        and widefield pixel. Widefield pixel (i, j) covers SIM pixels (2i … 2i+1, 2j … 2j+1).
    """
    photons, sim = simulate_field(config, seed)
    return detect(config, photons, np.random.default_rng((seed, 1))), sim


def simulate_field(
    config: SimulationConfig, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """What reaches the camera: widefield (H, W) and SIM (2H, 2W), photoelectrons as above."""
    positions, brightness = draw(config, np.random.default_rng((seed, 0)))
    light, sim = expose(config, positions, brightness)
    peak = light.max()
    scale = config.photons / peak if peak > 0 else 0.0
    return light * scale, (sim * scale).astype(np.float32)


def draw(config: SimulationConfig, rng: np.random.Generator) -> structures.Fluorophores:
    """Positions (N, 2), µm from the field's upper left corner, and brightnesses (N,)."""
    structure, per_um2 = _DRAW[config.structure]
    margin = _MARGIN * config.pixel_size_um
    rows, columns = (n + 2 * _MARGIN for n in (config.height, config.width))
    field = (rows * config.pixel_size_um, columns * config.pixel_size_um)
    count = rng.poisson(config.density * per_um2 * field[0] * field[1])
    positions, brightness = structure(rng, field, int(count))
    return positions - margin, brightness


def expose(
    config: SimulationConfig,
    positions: NDArray[np.float64],
    brightness: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Noise-free images: widefield (H, W) and SIM (2H, 2W), light per widefield pixel."""
    shape = (_FINE * (config.height + 2 * _MARGIN), _FINE * (config.width + 2 * _MARGIN))
    fine_um = config.pixel_size_um / _FINE
    density = _deposit(positions / fine_um + _FINE * _MARGIN, brightness, shape)
    spectrum = np.fft.rfft2(density)
    frequency = optics.frequencies(shape, fine_um)
    limit = optics.cutoff(config.numerical_aperture, config.emission_um)
    out_of_focus = optics.haze(frequency, config.haze, config.haze_um)
    widefield = optics.transmit(spectrum, optics.otf(frequency, limit) * out_of_focus, shape)
    sim = optics.transmit(spectrum, optics.otf(frequency, SCALE * limit), shape)
    inside = slice(_FINE * _MARGIN, -_FINE * _MARGIN)
    pixels = widefield[inside, inside].reshape(config.height, _FINE, config.width, _FINE)
    centres = sim[inside, inside][_SIM_FINE // 2 :: _SIM_FINE, _SIM_FINE // 2 :: _SIM_FINE]
    return pixels.sum(axis=(1, 3)), centres * _FINE**2


def detect(
    config: SimulationConfig, photons: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.uint16]:
    """What the camera makes of expected photoelectrons a frame: (H, W) counts, frames averaged.

    The sum of n Poisson draws is one Poisson draw of n times the mean; normal noise adds alike.
    """
    n = config.frames
    electrons = rng.poisson(n * (photons + config.background)).astype(np.float64)
    electrons += rng.normal(0, config.read_noise * np.sqrt(n), photons.shape)
    counts = config.offset + config.gain * electrons / n
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


def _deposit(
    positions: NDArray[np.float64], brightness: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Share each fluorophore among the four grid points around it.

    positions are in grid spacings from the grid's corner; the first grid point is at ½.
    """
    corner = np.floor(positions - 0.5)
    rest = positions - 0.5 - corner
    density = np.zeros(shape)
    for y in (0, 1):
        for x in (0, 1):
            place = corner.astype(np.int64) + np.array((y, x))
            inside = ((place >= 0) & (place < shape)).all(axis=1)
            weight = np.abs(1 - y - rest[:, 0]) * np.abs(1 - x - rest[:, 1]) * brightness
            flat = np.ravel_multi_index(tuple(place[inside].T), shape)
            density += np.bincount(flat, weight[inside], density.size).reshape(shape)
    return density
