"""A small data folder, stand-in feature weights, and a configuration of both phases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from tests.vgg import layers, write_npz


@pytest.fixture(scope="session")
def vgg16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of feature weights that needs no download."""
    return write_npz(tmp_path_factory.mktemp("features") / "vgg16.npz", layers(3))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pairs of noise with some structure, in lr/ and hr/."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in "abcd":
        high = rng.integers(0, 4000, (32, 40)).astype(np.uint16)
        low = high.reshape(16, 2, 20, 2).mean((1, 3)).astype(np.uint16)
        for place, pixels in (("lr", low), ("hr", high)):
            (folder / place).mkdir(exist_ok=True)
            tifffile.imwrite(folder / place / f"{name}.tif", pixels)
    return folder


@pytest.fixture
def config(tmp_path: Path, vgg16: Path) -> Path:
    """Both phases, three steps each."""
    values = {
        "name": "tiny-model",
        "data": {"validation": ["c.tif"], "test": ["d.tif"]},
        "generator": {"nf": 4, "gc": 2, "nb": 1},
        "patch": 8,
        "batch": 4,
        "steps": 3,
        "validate_every": 3,
        "ema": 0.5,
        "clip_norm": 0.5,
        "schedule": {"kind": "constant", "initial": 1e-3},
        "adversarial": {
            "steps": 3,
            "schedule": {"kind": "constant", "initial": 1e-3},
            "feature_weights": str(vgg16),
            "discriminator": {"nf": 4, "levels": 3},
        },
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path
