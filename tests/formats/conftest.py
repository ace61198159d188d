"""Small members of the family with lively weights, and their conversions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from w2s_export.config import GeneratorConfig

SMALL = {"nf": 8, "gc": 4, "nb": 1}
FAMILY = {
    "plain_x2": GeneratorConfig(**SMALL),
    "plain_x1": GeneratorConfig(**SMALL, scale=1),
    "plain_x4": GeneratorConfig(**SMALL, scale=4),
    "conv_x4_rgb": GeneratorConfig(**SMALL, scale=4, upsampling="conv", in_nc=3, out_nc=3),
    "conv_x2_unshuffle": GeneratorConfig(
        **SMALL, upsampling="conv", pixel_unshuffle=2, in_nc=3, out_nc=3
    ),
    "other_constants": GeneratorConfig(
        **SMALL, residual_scale=0.5, negative_slope=0.0, in_nc=2, out_nc=1
    ),
}


@dataclass(frozen=True)
class Converted:
    """A member of the family, its source and both conversions."""

    name: str
    config: GeneratorConfig
    model: Any
    onnx: Any
    saved_model: Any


def lively_generator(config: GeneratorConfig) -> Any:
    """A generator whose every weight matters: initial ones are tiny and its biases zero."""
    from w2s_export.networks.layout import tensor_shapes
    from w2s_export.networks.rrdbnet import build_generator, set_weights

    rng = np.random.default_rng(7)
    weights = {
        name: rng.normal(0, np.prod(shape[:-1]) ** -0.5, shape).astype(np.float32)
        for name, shape in tensor_shapes(config).items()
    }
    model = build_generator(config)
    set_weights(model, config, weights)
    return model


@pytest.fixture(scope="session", params=list(FAMILY))
def converted(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Converted:
    return convert(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def plain(tmp_path_factory: Any) -> Converted:
    return convert("plain_x2", tmp_path_factory.mktemp("plain"))


def convert(name: str, folder: Path) -> Converted:
    from w2s_export.formats.onnx import to_onnx
    from w2s_export.formats.saved_model import to_saved_model

    config = FAMILY[name]
    model = lively_generator(config)
    return Converted(
        name=name,
        config=config,
        model=model,
        onnx=to_onnx(model, config, folder / "weights.onnx"),
        saved_model=to_saved_model(model, config, folder / "weights.zip"),
    )
