"""A network small enough to compute by hand, and a real one in a package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from w2s_export.config import GeneratorConfig, Normalisation, PercentileNormalisation, Provenance
from w2s_export.formats.artifact import SavedModelArtifact
from w2s_export.io.files import sha256_of
from w2s_export.package.archive import Packages, write_packages
from w2s_export.rdf.description import Description, Sample
from w2s_export.rdf.metadata import default_metadata
from w2s_export.restore.halo import HaloMeasurement
from w2s_export.restore.network import Model, Network
from w2s_export.sources.checkpoint import Checkpoint

MakeNetwork = Callable[..., Network]


@pytest.fixture(scope="session")
def box_onnx(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Sums the 3 × 3 neighbours of all channels, zeros outside, and doubles the pixels."""
    folder = tmp_path_factory.mktemp("box")

    def make(channels: int) -> Path:
        path = folder / f"box{channels}.onnx"
        if path.exists():
            return path
        floats = TensorProto.FLOAT
        weights = [
            numpy_helper.from_array(np.ones((1, channels, 3, 3), np.float32), "kernel"),
            numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"),
        ]
        nodes = [
            helper.make_node("Conv", ["input", "kernel"], ["sum"], pads=[1, 1, 1, 1]),
            helper.make_node(
                "Resize",
                ["sum", "", "scales"],
                ["output"],
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            ),
        ]
        graph = helper.make_graph(
            nodes,
            "box",
            [helper.make_tensor_value_info("input", floats, ["n", channels, "y", "x"])],
            [helper.make_tensor_value_info("output", floats, ["n", 1, "v", "u"])],
            weights,
        )
        opsets = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
        return path

    return make


@pytest.fixture(scope="session")
def box_network(box_onnx: Callable[[int], Path]) -> MakeNetwork:
    def make(how: Normalisation | None = None, channels: int = 1, minimum: int = 3) -> Network:
        config = GeneratorConfig(nf=4, gc=2, nb=1, in_nc=channels)
        model = Model("box", config, how, "f" * 64)
        return Network(model, box_onnx(channels), halo=1, minimum=minimum)

    return make


def box_of(image: np.ndarray) -> np.ndarray:
    """What the box network makes of (C, H, W), mirrored at its borders."""
    from scipy.ndimage import correlate

    kernel = np.ones((3, 3), np.float32)
    summed = sum(correlate(plane.astype(np.float32), kernel, mode="reflect") for plane in image)
    return np.asarray(summed).repeat(2, 0).repeat(2, 1)


@pytest.fixture(scope="session")
def packages(description: Description, tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """Both packages of a small network that really restores."""
    return write_packages(description, tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="session")
def description(tmp_path_factory: pytest.TempPathFactory) -> Description:
    from w2s_export.formats.onnx import to_onnx
    from w2s_export.networks.rrdbnet import build_generator, get_weights

    folder = tmp_path_factory.mktemp("weights")
    config = GeneratorConfig(nf=8, gc=4, nb=1)
    model = build_generator(config, seed=3)
    for variable in model.weights:  # as freshly initialised, the output is nearly zero
        variable.assign(variable * 5 + 0.02)
    other = folder / "any"
    other.write_bytes(b"any bytes")
    origin = Provenance(name="tiny model")
    weights = get_weights(model, config)
    checkpoint = Checkpoint(config, weights, PercentileNormalisation(), origin)
    rng = np.random.default_rng(0)
    return Description(
        name="tiny model",
        metadata=default_metadata(checkpoint),
        checkpoint=checkpoint,
        onnx=to_onnx(model, config, folder / "weights.onnx"),
        saved_model=SavedModelArtifact(other, sha256_of(other), "2.21.0"),
        sample=Sample(
            rng.integers(0, 200, (1, 48, 64)).astype(np.uint16),
            rng.random((1, 96, 128)).astype(np.float32),
            0.0626,
            "noise",
        ),
        halo=HaloMeasurement(7, 15, 1e-4, ()),
        parity=(),
    )
