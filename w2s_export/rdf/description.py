"""One description of a model, from which both formats are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import PackageError
from w2s_export.formats.registry import ATTACHMENTS, WEIGHTS, Format
from w2s_export.rdf.metadata import Metadata, check_name

if TYPE_CHECKING:
    from w2s_export.formats.artifact import Artifact
    from w2s_export.metrics.parity import Parity
    from w2s_export.network import HaloMeasurement, Network
    from w2s_export.rdf.whole_image import ClientDifference
    from w2s_export.runtime.precision import PrecisionError

RDF = "rdf.yaml"
README = "README.md"
COVER = "cover.png"
TEST_INPUT = "test_input.npy"
TEST_OUTPUT = "test_output.npy"
SAMPLE_INPUT = "sample_input.tif"
SAMPLE_OUTPUT = "sample_output.tif"
PREPROCESSING = "preprocessing.ijm"
POSTPROCESSING = "postprocessing.ijm"

Hashes = Mapping[str, str]
"""SHA-256 of each file of a package, by its name in the zip."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A real image and its restoration.

    image: (C, H, W), detector counts as stored.
    restored: (C', s·H, s·W) float32, from the Keras source on the normalised image.
    pixel_size_um: side of a pixel of `image`, micrometres.
    name: where the image comes from.
    """

    image: NDArray[Any]
    restored: NDArray[np.float32]
    pixel_size_um: float | None
    name: str


@dataclass(frozen=True, slots=True)
class Description:
    """Everything the packages say about a model.

    Raises:
        ConfigError: a name bioimage.io refuses.
        PackageError: a sample that does not fit the network.
    """

    name: str
    metadata: Metadata
    network: Network
    artifacts: tuple[Artifact, ...]
    """The network in every format that the packages hold."""
    sample: Sample
    halo: HaloMeasurement
    parity: tuple[Parity, ...]
    in_deepimagej_3: ClientDifference | None = None
    """What DeepImageJ 3.1 makes of the sample, against `sample.restored`; None: not known."""
    half: PrecisionError | None = None
    """Of 16-bit arithmetic on the sample; None where the machine of the export has none."""

    def __post_init__(self) -> None:
        check_name(self.name)
        network = self.network
        image, restored = self.sample.image, self.sample.restored
        if image.ndim != 3 or image.shape[0] != network.channels_in:
            raise PackageError(
                f"sample '{self.sample.name}' is {image.shape}; the network takes "
                f"({network.channels_in}, height, width)"
            )
        height, width = image.shape[1:]
        expected = (network.channels_out, network.scale * height, network.scale * width)
        if restored.shape != expected:
            raise PackageError(
                f"the restored sample is {restored.shape}, the network makes {expected}"
            )
        if network.fixed is not None and (height, width) != network.fixed:
            raise PackageError(
                f"sample '{self.sample.name}' is {height}×{width}; the network takes images of "
                f"{network.fixed[0]}×{network.fixed[1]} alone"
            )
        if network.fixed is None and min(height, width) < self.minimum:
            raise PackageError(
                f"sample '{self.sample.name}' is {height}×{width}; with a halo of "
                f"{self.halo.halo} pixels the smallest image is {self.minimum}×{self.minimum}, "
                "give a larger one"
            )
        if height % self.step or width % self.step:
            raise PackageError(
                f"sample '{self.sample.name}' is {height}×{width}; this network takes multiples "
                f"of {self.step}, crop the image"
            )

    @property
    def weights(self) -> dict[str, Artifact]:
        """The rdf's weights by their name in the zip, the parent first."""
        return self._written(WEIGHTS)

    @property
    def attached(self) -> dict[str, Artifact]:
        """Formats that travel beside the weights, by their name in the zip."""
        return self._written(ATTACHMENTS)

    def artifact(self, key: str) -> Artifact:
        """The network in the format of this key.

        Raises:
            KeyError: it was not written in it.
        """
        return {artifact.format: artifact for artifact in self.artifacts}[key]

    def _written(self, formats: tuple[Format, ...]) -> dict[str, Artifact]:
        made = {artifact.format: artifact for artifact in self.artifacts}
        return {known.FILE: made[known.KEY] for known in formats if known.KEY in made}

    @property
    def scale(self) -> int:
        """Output pixels per input pixel."""
        return self.network.scale

    @property
    def step(self) -> int:
        """Accepted heights and widths are `minimum` plus multiples of this, input pixels."""
        return self.network.step

    @property
    def minimum(self) -> int:
        """Smallest accepted height and width, input pixels.

        A multiple of the step, as JDLL wants, and more than two halos, as the formats want.
        """
        if self.network.fixed is not None:
            return max(self.network.fixed)
        least = max(self.halo.minimum, 2 * self.halo.halo + 1, self.network.minimum)
        return -(-least // self.step) * self.step

    @property
    def output_halo(self) -> int:
        """Halo as both formats state it: output pixels, a multiple of the scale."""
        return self.halo.halo * self.scale

    @property
    def nickname(self) -> str:
        """Stable identifier; without one JDLL drops a 0.5 model and renames a 0.4 one each time."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-") or "model"

    @property
    def output_pixel_size_um(self) -> float | None:
        """Side of a pixel of the restored image, micrometres."""
        size = self.sample.pixel_size_um
        return None if size is None else size / self.scale


def attachments(description: Description, hashes: Hashes) -> list[str]:
    """Files of a package that belong to no field of the rdf's own."""
    names = (PREPROCESSING, POSTPROCESSING, *description.attached)
    return [name for name in names if name in hashes]


def without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    """Drop None and empty lists: JDLL calls methods on whatever a key holds."""
    return {key: value for key, value in values.items() if value is not None and value != []}
