"""Small checkpoints and images that tests of the command line start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from w2s_export.config import GeneratorConfig, PercentileNormalisation, Provenance
from w2s_export.networks.layout import tensor_shapes
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.npz_checkpoint import save_checkpoint


def checkpoint(path: Path, strength: float = 0.1, **options: int) -> Path:
    """Random weights of this standard deviation; the stronger, the further the network looks."""
    config = GeneratorConfig(**{"nf": 4, "gc": 2, "nb": 1, **options})
    rng = np.random.default_rng(0)
    weights = {
        name: (strength * rng.standard_normal(shape)).astype(np.float32)
        for name, shape in tensor_shapes(config).items()
    }
    origin = Provenance(name="tiny-model", license="MIT")
    return save_checkpoint(Checkpoint(config, weights, PercentileNormalisation(), origin), path)


def image(path: Path, pixels: np.ndarray) -> str:
    tifffile.imwrite(path, pixels)
    return str(path)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(100, 900, shape).astype(np.uint16)
