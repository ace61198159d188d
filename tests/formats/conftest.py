"""Small members of the family with lively weights, and their conversions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import factories
from w2s_export.config import GeneratorConfig
from w2s_export.formats import onnx, saved_model
from w2s_export.formats.artifact import Artifact
from w2s_export.network import Network

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
    network: Network
    model: Any
    onnx: Artifact
    saved_model: Artifact


@pytest.fixture(scope="session", params=list(FAMILY))
def converted(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Converted:
    return convert(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def plain(tmp_path_factory: Any) -> Converted:
    return convert("plain_x2", tmp_path_factory.mktemp("plain"))


def convert(name: str, folder: Path) -> Converted:
    from w2s_export.networks.rrdbnet import build_generator, set_weights

    config = FAMILY[name]
    network = factories.network(config)
    model = build_generator(config)
    set_weights(model, config, factories.lively_weights(config))
    return Converted(
        name=name,
        config=config,
        network=network,
        model=model,
        onnx=onnx.write(network, folder / "weights.onnx"),
        saved_model=saved_model.write(network, folder / "weights.zip"),
    )
