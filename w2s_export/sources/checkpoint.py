"""What every loader returns: weights and all that is needed to use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from w2s_export.config import GeneratorConfig, Normalisation, Provenance

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A generator's weights, architecture, normalisation and origin.

    `weights` maps the names of `networks.layout.tensor_shapes` to float32 arrays (kernels HWIO).
    """

    config: GeneratorConfig
    weights: Mapping[str, np.ndarray]
    normalisation: Normalisation | None = None
    """None where the source format does not record it."""
    provenance: Provenance = field(default_factory=Provenance)
    source_format: str = "w2s-export"
    """Format the weights were read from, e.g. `w2s-export`, `keras-h5`, `pytorch`."""
    dtypes: tuple[str, ...] = ("float32",)
    """Element types the file stores, before they became float32."""
    chosen: str = ""
    """What was taken of a file that holds more than the generator, and what was left aside."""
    assumed: tuple[str, ...] = ()
    """Fields of `config` that the file does not show, set to the family's usual value."""
