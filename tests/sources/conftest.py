"""An independent runtime: RRDBNet by PyTorch's own operations, on state dicts in BasicSR's keys.

Nothing here uses the loaders, `networks.layout` or our axis orders, except `restore`, which runs
what was loaded in our generator.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.torch_rrdbnet import Floats, forward
from w2s_export.config import GeneratorConfig
from w2s_export.sources.checkpoint import Checkpoint

TESTS = Path(__file__).resolve().parents[1]


class Reference:
    """PyTorch's RRDBNet, and what compares with it."""

    # Loaded weights are bit for bit those of the file; what remains between two runtimes on these
    # small networks is at most 4e-7 of the range. The smallest injected fault makes 9e-3.
    tolerance = 1e-5

    @staticmethod
    def state(config: GeneratorConfig, seed: int) -> dict[str, Floats]:
        """A random state dict in BasicSR's keys; every weight and bias matters."""
        rng = np.random.default_rng(seed)
        nf, gc = config.nf, config.gc
        layers = {"conv_first": (config.in_nc * config.pixel_unshuffle**2, nf)}
        for block in range(config.nb):
            for dense in (1, 2, 3):
                for k in range(5):
                    size = (nf + k * gc, nf if k == 4 else gc)
                    layers[f"body.{block}.rdb{dense}.conv{k + 1}"] = size
        layers["conv_body"] = (nf, nf)
        if config.upsampling == "conv":
            steps = {1: 0, 2: 1, 4: 2}[config.scale * config.pixel_unshuffle]
            layers |= {f"conv_up{step}": (nf, nf) for step in (1, 2)[:steps]}
        layers |= {"conv_hr": (nf, nf), "conv_last": (nf, config.out_nc)}
        state = {}
        for name, (inputs, outputs) in layers.items():
            spread = (2 / (9 * inputs)) ** 0.5
            kernel = rng.normal(0, spread, (outputs, inputs, 3, 3))
            state[f"{name}.weight"] = kernel.astype(np.float32)
            state[f"{name}.bias"] = rng.normal(0, 0.1, outputs).astype(np.float32)
        return state

    forward = staticmethod(forward)

    @staticmethod
    def image(config: GeneratorConfig, height: int = 12, width: int = 8) -> Floats:
        """A random image (1, C, height, width)."""
        size = (1, config.in_nc, height, width)
        return np.random.default_rng(99).random(size, np.float32)

    @staticmethod
    def restore(checkpoint: Checkpoint, image: Floats) -> Floats:
        """Run what was loaded, in our generator: (N, C, H, W) → (N, C', s·H, s·W)."""
        from w2s_export.networks.rrdbnet import set_weights

        model = _generator(checkpoint.config)
        set_weights(model, checkpoint.config, checkpoint.weights)
        return np.asarray(model(image.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)

    @staticmethod
    def difference(expected: Floats, actual: Floats) -> float:
        """Largest difference, relative to the range of the expected image."""
        assert expected.shape == actual.shape
        return float(np.abs(expected - actual).max() / np.ptp(expected))


@cache
def _generator(config: GeneratorConfig) -> Any:
    from w2s_export.networks.rrdbnet import build_generator

    return build_generator(config)


@pytest.fixture(scope="session")
def reference() -> Reference:
    pytest.importorskip("torch", reason="the independent network is PyTorch's: install torch")
    return Reference()


@pytest.fixture(scope="session")
def golden() -> Path:
    """Files of an old TensorFlow, with the input and output of that runtime."""
    return TESTS / "golden" / "w2s_keras2"


@pytest.fixture(scope="session")
def data() -> Path:
    """The project's shared data."""
    beside = TESTS.parents[1] / "shared" / "data"
    folder = Path(os.environ.get("W2S_DATA", beside))
    if not folder.is_dir():
        pytest.skip("the shared data is not beside the repository (set W2S_DATA)")
    return folder
