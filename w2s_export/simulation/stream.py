"""An endless stream of simulated fields, each with a sample, a microscope and a camera at random.

Field k is a function of the seed and k alone: whoever makes it, in whatever order, it is the same.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from w2s_export.config import Frozen, Normalisation
from w2s_export.data.layouts import Share
from w2s_export.data.normalise import normalise
from w2s_export.errors import ConfigError, FlatImageError
from w2s_export.simulation.fields import SimulationConfig, Structure, simulate_pair

_ATTEMPTS = 20
_BRIGHTEST = 20.0  # of a normalised target; beyond, its percentiles saw hardly any of its light


class Spread(Frozen):
    """Values drawn anew for each field."""

    low: Annotated[float, Field(ge=0)]
    """Smallest value."""
    high: Annotated[float, Field(gt=0)]
    """Largest value."""
    by: Literal["steps", "factors"] = "steps"
    """`steps`: every value is as likely. `factors`: every order of magnitude is."""

    @model_validator(mode="after")
    def _ordered(self) -> Spread:
        if self.low >= self.high or (self.by == "factors" and self.low == 0):
            raise ValueError("low must be below high, and above 0 where values spread by factors")
        return self

    def draw(self, rng: np.random.Generator) -> float:
        """One value."""
        if self.by == "factors":
            return float(np.exp(rng.uniform(np.log(self.low), np.log(self.high))))
        return float(rng.uniform(self.low, self.high))


Value = Spread | Annotated[float, Field(ge=0)]
"""`{low: …, high: …, by: …}`, or one number for all fields."""
Frames = Annotated[tuple[Annotated[int, Field(ge=1, le=10_000)], ...], Field(min_length=1)]


class CameraNoise(Frozen):
    """Light and camera: what decides how noisy a field is."""

    photons: Value = Spread(low=20, high=800, by="factors")
    """Photoelectrons per frame in the brightest pixel, background not counted."""
    background: Value = Spread(low=2, high=40, by="factors")
    """Photoelectrons per frame and pixel from everything else."""
    read_noise: Value = Spread(low=1, high=3)
    """Standard deviation of the camera's noise per frame, electrons."""
    frames: Frames = (1, 4, 9)
    """Frames averaged; every number is as likely."""


W2S_SLOPE = 0.0322
"""Of W2S's widefield images, scaled to 0…1, one frame: variance = slope · x + offset (measured by
the authors; by way of Luchixiang/DESU's copy of their table). N averaged frames have an Nth."""
W2S_OFFSET = -7e-4
NOISE = {
    "wide": CameraNoise(),
    "biosr": CameraNoise(photons=160, background=10, read_noise=1.6, frames=(9,)),
    # A slope is one electron: 1 / 0.0322 = 31 of them fill the range. The offset is below 0, so
    # the dark lies at x = 0.0007 / 0.0322 = 0.022: 30.4 are left. No read noise is to be seen.
    "w2s": CameraNoise(
        photons=0.95 * (1 + W2S_OFFSET / W2S_SLOPE) / W2S_SLOPE,
        background=0.05 * (1 + W2S_OFFSET / W2S_SLOPE) / W2S_SLOPE,
        read_noise=0,
        frames=(1, 2, 4, 8, 16),
    ),
}


class SimulatedStream(Share):
    """Simulated fields without end. The defaults are those that wf2sim-structures-l saw."""

    kind: Literal["simulated"]
    """Says that this source is simulated."""
    structures: Annotated[dict[Structure, Annotated[float, Field(ge=0)]], Field(min_length=1)] = (
        Field(default={"filaments": 0.5, "vesicles": 0.25, "mitochondria": 0.25})
    )
    """What samples show, and how often relative to each other."""
    size: Annotated[int, Field(ge=8, le=1024)] = 96
    """Height and width of a field, input pixels."""
    density: Value = Spread(low=0.3, high=3, by="factors")
    """Objects per area, relative to what is usual for the structure."""
    pixel_size_um: Value = Spread(low=0.055, high=0.085)
    """Pixel of the widefield image, micrometres."""
    numerical_aperture: Value = Spread(low=1.25, high=1.45)
    """Of the objective."""
    emission_um: Value = Spread(low=0.5, high=0.62)
    """Wavelength of the fluorescence, micrometres."""
    haze: Value = Spread(low=0.2, high=0.7)
    """Part of the widefield light that comes from out of focus."""
    haze_um: Value = Spread(low=0.1, high=0.3)
    """Standard deviation of the blur of that part, micrometres."""
    noise: Literal["wide", "biosr", "w2s"] | CameraNoise = "wide"
    """Light and camera. `wide`: 20 to 800 photoelectrons, as wf2sim-structures-l saw. `biosr`: like
    BioSR's microtubules. `w2s`: as measured on W2S. Or values of your own."""
    pool: Annotated[int, Field(ge=1, le=100_000)] = 256
    """Fields that patches are cut from at any time; they are held in memory."""
    fresh: Annotated[float, Field(gt=0, le=1000)] = 2.0
    """New fields per step, each in place of the oldest."""

    @model_validator(mode="after")
    def _draws_what_can_be(self) -> SimulatedStream:
        if not sum(self.structures.values()):
            raise ValueError("structures: give at least one a weight above 0")
        for extreme in ("low", "high"):
            values = {key: getattr(value, extreme, value) for key, value in self._values().items()}
            SimulationConfig.model_validate({**values, "height": self.size, "width": self.size})
        return self

    def draw(self, rng: np.random.Generator) -> SimulationConfig:
        """Sample, microscope and camera of one field."""
        names, weights = zip(*self.structures.items(), strict=True)
        drawn: dict[str, object] = {
            "structure": str(rng.choice(names, p=np.array(weights) / sum(weights))),
            "height": self.size,
            "width": self.size,
            "frames": int(rng.choice(self._camera().frames)),
        }
        for key, value in self._values().items():
            drawn[key] = value.draw(rng) if isinstance(value, Spread) else value
        return SimulationConfig.model_validate(drawn)

    def _camera(self) -> CameraNoise:
        return NOISE[self.noise] if isinstance(self.noise, str) else self.noise

    def _values(self) -> dict[str, Value]:
        optics = ("density", "pixel_size_um", "numerical_aperture", "emission_um", "haze")
        camera = self._camera()
        return {
            **{key: getattr(self, key) for key in (*optics, "haze_um")},
            **{key: getattr(camera, key) for key in ("photons", "background", "read_noise")},
        }


def simulated_field(
    stream: SimulatedStream,
    seed: int,
    number: int,
    normalisation: Normalisation | None,
    target_normalisation: Normalisation | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Field `number` of the stream of a seed: (H, W, 1) and (2H, 2W, 1), both normalised.

    A field that shows nothing is drawn again.

    Raises:
        ConfigError: nothing is to be seen in twenty of them.
    """
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng((seed, 3, number, attempt))
        low, high = simulate_pair(stream.draw(rng), int(rng.integers(2**31)))
        try:
            x = normalise(low[None], normalisation)
            y = normalise(high[None], target_normalisation)
        except FlatImageError:
            continue
        if np.abs(y).max() < _BRIGHTEST or target_normalisation is None:
            return np.moveaxis(x, 0, -1), np.moveaxis(y, 0, -1)
    raise ConfigError(
        f"simulated: {_ATTEMPTS} fields in a row show nothing; raise density, size or photons"
    )
