"""Makes what most tests start from: networks, checkpoints, samples, descriptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from w2s_export.config import GeneratorConfig, Normalisation, PercentileNormalisation, Provenance
from w2s_export.formats.artifact import Artifact
from w2s_export.formats.registry import WEIGHTS
from w2s_export.io.files import sha256_of
from w2s_export.network import HaloMeasurement, Network
from w2s_export.networks.layout import tensor_shapes
from w2s_export.rdf.description import Description, Sample
from w2s_export.rdf.metadata import default_metadata
from w2s_export.restore.network import Model, ReadyNetwork
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.rrdbnet import rrdbnet_network

TINY = GeneratorConfig(nf=8, gc=4, nb=1)


def lively_weights(config: GeneratorConfig, seed: int = 7) -> dict[str, np.ndarray]:
    """Weights that all matter: initial ones are tiny and their biases zero."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(0, np.prod(shape[:-1]) ** -0.5, shape).astype(np.float32)
        for name, shape in tensor_shapes(config).items()
    }


def network(
    config: GeneratorConfig = TINY,
    how: Normalisation | None = None,
    provenance: Provenance | None = None,
    weights: Mapping[str, np.ndarray] | None = None,
) -> Network:
    """An RRDBNet with lively weights."""
    filled = lively_weights(config) if weights is None else weights
    return rrdbnet_network(Checkpoint(config, filled, how, provenance or Provenance()))


@dataclass
class Opener:
    """A network that is opened by any function."""

    model: Model
    open: Callable[[Path], ReadyNetwork]


def any_artifacts(path: Path) -> tuple[Artifact, ...]:
    """Every format as the same file of any bytes, for tests that do not run the network."""
    path.write_bytes(b"any bytes")
    return tuple(Artifact(known.KEY, path, sha256_of(path)) for known in WEIGHTS)


def written(net: Network, folder: Path) -> tuple[Artifact, ...]:
    """The network in every format."""
    return tuple(known.write(net, folder / known.FILE) for known in WEIGHTS)


def description(
    net: Network, artifacts: tuple[Artifact, ...], sample: Sample, **fields: Any
) -> Description:
    """A description of the network with its default metadata."""
    fields.setdefault("halo", HaloMeasurement(6, 13, 1e-4, ()))
    fields.setdefault("name", "tiny test model")
    fields.setdefault("metadata", default_metadata(net))
    fields.setdefault("parity", ())
    return Description(network=net, artifacts=artifacts, sample=sample, **fields)


PERCENTILES = PercentileNormalisation()
