"""A network small enough to compute by hand, and a real one in a package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests import factories
from w2s_export.config import Normalisation, Provenance
from w2s_export.formats import onnx as onnx_format
from w2s_export.network import HaloMeasurement
from w2s_export.package.archive import Packages, write_packages
from w2s_export.rdf.description import Description, Sample
from w2s_export.restore.network import Model, ReadyNetwork

MakeNetwork = Callable[..., ReadyNetwork]


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
    def make(how: Normalisation | None = None, channels: int = 1, minimum: int = 3) -> ReadyNetwork:
        model = Model("box", channels, 1, 2, 1, 1165.0, how, "f" * 64)
        return ReadyNetwork(model, box_onnx(channels), halo=1, minimum=minimum)

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
    net = factories.network(factories.TINY, factories.PERCENTILES, Provenance(name="tiny model"))
    folder = tmp_path_factory.mktemp("weights")
    written = onnx_format.write(net, folder / onnx_format.FILE)
    other = next(a for a in factories.any_artifacts(folder / "any") if a.format != written.format)
    rng = np.random.default_rng(0)
    sample = Sample(
        rng.integers(0, 200, (1, 48, 64)).astype(np.uint16),
        rng.random((1, 96, 128)).astype(np.float32),
        0.0626,
        "noise",
    )
    halo = HaloMeasurement(7, 15, 1e-4, ())
    return factories.description(net, (written, other), sample, name="tiny model", halo=halo)
