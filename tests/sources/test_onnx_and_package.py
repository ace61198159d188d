"""What this tool wrote, read back: ONNX files and packages."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests import factories
from w2s_export.config import (
    FixedRangeNormalisation,
    GeneratorConfig,
    NoNormalisation,
    PercentileNormalisation,
    Provenance,
)
from w2s_export.errors import CheckpointError, CheckpointMismatchError
from w2s_export.formats import onnx
from w2s_export.network import HaloMeasurement
from w2s_export.networks.layout import tensor_shapes
from w2s_export.sources.load import load_checkpoint

ONE = {"nf": 8, "gc": 4, "nb": 1}
FAMILY = {
    "plain_x2": GeneratorConfig(**ONE),
    "plain_x4": GeneratorConfig(**ONE, scale=4, negative_slope=0.0, residual_scale=0.5),
    "plain_x1_unshuffle": GeneratorConfig(**ONE, scale=1, pixel_unshuffle=2),
    "conv_x2_rgb_unshuffle": GeneratorConfig(
        **ONE, in_nc=3, out_nc=3, upsampling="conv", pixel_unshuffle=2
    ),
}
PROVENANCE = Provenance(name="tiny test model", license="CC-BY-4.0", scores={"psnr_db": 30.25})


@dataclass(frozen=True)
class Written:
    config: GeneratorConfig
    weights: dict[str, np.ndarray]
    artifact: Any


@pytest.fixture(scope="module", params=FAMILY)
def written(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Written:
    config = FAMILY[request.param]
    rng = np.random.default_rng(6)
    weights = {
        name: rng.normal(0, 0.15, shape).astype(np.float32)
        for name, shape in tensor_shapes(config).items()
    }
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    return Written(config, weights, onnx.write(factories.network(config, weights=weights), path))


def test_onnx_gives_back_its_generator(written: Written, reference: Any) -> None:
    import onnxruntime

    checkpoint = load_checkpoint(written.artifact.path)
    assert checkpoint.config == written.config
    assert checkpoint.normalisation is None
    image = reference.image(written.config)
    session = onnxruntime.InferenceSession(written.artifact.path)
    (expected,) = session.run(None, {"input": image})
    difference = reference.difference(expected, reference.restore(checkpoint, image))
    assert difference < reference.tolerance


@pytest.mark.parametrize("which", ["bioimageio", "deepimagej"])
def test_package_gives_back_its_checkpoint(
    which: str, written: Written, tmp_path: Path, reference: Any
) -> None:
    from w2s_export.package.archive import write_packages
    from w2s_export.rdf.description import Sample

    config = written.config
    how = FixedRangeNormalisation(low=10, high=300) if config.in_nc == 3 else None
    how = PercentileNormalisation(low=1, high=99) if config.scale == 2 else how
    network = factories.network(config, how, PROVENANCE, written.weights)
    image = np.random.default_rng(0).integers(0, 99, (config.in_nc, 24, 32)).astype(np.uint16)
    restored = np.random.default_rng(1).random(
        (config.out_nc, 24 * config.scale, 32 * config.scale), np.float32
    )
    other = factories.any_artifacts(tmp_path / "unread")[0]
    packages = write_packages(
        factories.description(
            network,
            (written.artifact, other),
            Sample(image, restored, None, "noise"),
            halo=HaloMeasurement(2, 6, 1e-4, ()),
        ),
        tmp_path,
    )
    found = load_checkpoint(getattr(packages, which))
    assert found.config == config
    assert found.normalisation == (how or NoNormalisation())
    assert found.provenance == PROVENANCE
    assert found.source_format == "package"
    for name, value in written.weights.items():
        np.testing.assert_array_equal(found.weights[name], value, err_msg=name)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    onnx.write(factories.network(FAMILY["plain_x2"]), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def package(path: Path, rdf: dict[str, Any], network: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rdf.yaml", yaml.safe_dump(rdf))
        archive.write(network, "weights.onnx")
    return path


def test_onnx_of_another_tool(network: Path) -> None:
    import onnx

    model = onnx.load(network)
    model.producer_name = "pytorch"
    onnx.save(model, network)
    with pytest.raises(CheckpointError, match="made by 'pytorch'"):
        load_checkpoint(network)


def test_truncated_onnx(network: Path) -> None:
    network.write_bytes(network.read_bytes()[:-500])
    with pytest.raises(CheckpointError, match="no ONNX file, or a truncated one"):
        load_checkpoint(network)


def test_onnx_with_weights_elsewhere(network: Path) -> None:
    import onnx

    model = onnx.load(network)
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret.bin")
    network.write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match="lies in another file"):
        load_checkpoint(network)


def test_onnx_with_two_slopes(network: Path) -> None:
    import onnx

    model = onnx.load(network)
    next(node for node in model.graph.node if node.op_type == "LeakyRelu").attribute[0].f = 0.3
    onnx.save(model, network)
    with pytest.raises(CheckpointMismatchError, match="2 slopes"):
        load_checkpoint(network)


def _append(graph: Any) -> None:
    from onnx import helper

    graph.output[0].name = "sharpened"
    graph.node.append(helper.make_node("Relu", ["output"], ["sharpened"], "sharpen"))


def _append_of_a_known_kind(graph: Any) -> None:
    from onnx import helper

    graph.output[0].name = "twice"
    graph.node.append(helper.make_node("Add", ["output", "output"], ["twice"], "twice"))


def _unused(graph: Any) -> None:
    from onnx import helper

    graph.node.append(helper.make_node("Add", ["output", "output"], ["unused"], "unused"))


def _rewire(graph: Any) -> None:
    """The long skip starts one block too late."""
    node = next(node for node in graph.node if node.name == "body_add")
    node.input[0] = "body_0_add"


def _reorder_concatenation(graph: Any) -> None:
    node = next(node for node in graph.node if node.op_type == "Concat")
    node.input[:] = list(reversed(node.input))


def _other_factors(graph: Any) -> None:
    """One channel of a block is scaled otherwise."""
    from onnx import numpy_helper

    (kernel,) = [item for item in graph.initializer if item.name == "body_0_scale/kernel"]
    values = numpy_helper.to_array(kernel).copy()
    values[3] = 0.5
    kernel.CopyFrom(numpy_helper.from_array(values, kernel.name))


def _mixed_channels(graph: Any) -> None:
    """A block's factor becomes a sum over all channels."""
    from onnx import numpy_helper

    (kernel,) = [item for item in graph.initializer if item.name == "body_0_scale/kernel"]
    channels = kernel.dims[0]
    values = np.full((channels, channels, 1, 1), 0.2, np.float32)
    kernel.CopyFrom(numpy_helper.from_array(values, kernel.name))


def _two_outputs(graph: Any) -> None:
    graph.output.append(graph.output[0])


def _attribute(kind: str, name: str, value: Any) -> Callable[[Any], None]:
    def change(graph: Any) -> None:
        from onnx import helper

        node = next(node for node in graph.node if node.op_type == kind)
        kept = [item for item in node.attribute if item.name != name]
        del node.attribute[:]
        node.attribute.extend(kept)
        if value is not None:
            node.attribute.append(helper.make_attribute(name, value))

    return change


EDITS: dict[str, tuple[Callable[[Any], None], str]] = {
    "node_of_another_kind": (_append, "'sharpen' of type Relu"),
    "one_node_more": (_append_of_a_known_kind, "nodes where this RRDBNet has"),
    "unused_node": (_unused, "nodes where this RRDBNet has"),
    "rewired": (_rewire, "connects its layers in another way"),
    "concatenation_reordered": (_reorder_concatenation, "connects its layers in another way"),
    "other_factors": (_other_factors, "2 residual factors"),
    "mixed_channels": (_mixed_channels, "convolution 'body_0_scale' without a bias"),
    "two_outputs": (_two_outputs, "1 input and 2 outputs"),
    "strides": (_attribute("Conv", "strides", [2, 2]), "with strides [2, 2]"),
    "no_padding": (_attribute("Conv", "pads", None), "with pads None"),
    "bilinear": (_attribute("Resize", "mode", "linear"), "with mode b'linear'"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_edited_onnx_is_noticed(edit: str, network: Path) -> None:
    """The weights alone would still load: what they are connected to is checked too."""
    import onnx

    change, message = EDITS[edit]
    model = onnx.load(network)
    change(model.graph)
    onnx.save(model, network)
    with pytest.raises(CheckpointMismatchError, match=re.escape(message)):
        load_checkpoint(network)


def test_names_and_order_of_an_onnx_graph_do_not_matter(network: Path) -> None:
    import onnx

    expected = load_checkpoint(network)
    model = onnx.load(network)
    renamed = {name: f"t{i}" for i, node in enumerate(model.graph.node) for name in node.output}
    renamed[model.graph.output[0].name] = model.graph.output[0].name
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed[name] for name in node.output]
        node.name = ""
    onnx.save(model, network)
    found = load_checkpoint(network)
    assert found.config == expected.config
    for name, value in expected.weights.items():
        np.testing.assert_array_equal(found.weights[name], value, err_msg=name)


def test_block_factors_as_products_are_read_too(network: Path) -> None:
    """As files of ours had them before they became convolutions."""
    import onnx
    from onnx import helper

    expected = load_checkpoint(network)
    model = onnx.load(network)
    for node in model.graph.node:
        if node.op_type == "Conv" and len(node.input) == 2:
            (kernel,) = [item for item in model.graph.initializer if item.name == node.input[1]]
            kernel.CopyFrom(
                helper.make_tensor(kernel.name, kernel.data_type, [], [np.float32(0.2)])
            )
            node.CopyFrom(helper.make_node("Mul", node.input, node.output, node.name))
    assert sum(node.op_type == "Mul" for node in model.graph.node) == 4
    onnx.save(model, network)
    found = load_checkpoint(network)
    assert found.config == expected.config
    for name, value in expected.weights.items():
        np.testing.assert_array_equal(found.weights[name], value, err_msg=name)


RECORD = {"generator": {"nf": 8, "gc": 4, "nb": 1}, "normalisation": {"kind": "none"}}
WEIGHTS = {"weights": {"onnx": {"source": "weights.onnx"}}}


@pytest.mark.parametrize(
    ("rdf", "message"),
    [
        (WEIGHTS, "that w2s-export did not write"),
        (
            {
                "config": {"w2s_export": RECORD},
                "weights": {"onnx": {"source": "weights.onnx", "sha256": "0" * 64}},
            },
            "'weights.onnx' is not the file its rdf names",
        ),
        ({"config": {"w2s_export": RECORD}}, "names ONNX weights None"),
        ({"config": {"w2s_export": {"generator": {"nf": "many"}}}, **WEIGHTS}, "'generator.nf'"),
        (
            {"config": {"w2s_export": {"generator": {"nf": 16}}}, **WEIGHTS},
            "its rdf records in_nc=1 out_nc=1 nf=16",
        ),
    ],
    ids=["somebody_elses", "other_file", "no_onnx", "bad_record", "other_architecture"],
)
def test_unusable_package(rdf: dict[str, Any], message: str, network: Path, tmp_path: Path) -> None:
    path = package(tmp_path / "model.zip", rdf, network)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


def test_minimal_package_is_usable(network: Path, tmp_path: Path) -> None:
    """The twin of the faults above: each of them is one change away from this."""
    rdf = {"config": {"w2s_export": RECORD}, **WEIGHTS}
    path = package(tmp_path / "model.zip", rdf, network)
    assert load_checkpoint(path).config == FAMILY["plain_x2"]
