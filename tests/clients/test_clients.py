"""Our files in the runtimes that the clients ship, and in the newest of each.

Weights run alone, in each runtime; packages run whole, in each bioimageio.core.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from tests import factories
from tests.clients.conftest import Exported, Source
from tests.clients.environments import (
    CORE,
    NEWEST,
    ONNX_1_12,
    TENSORFLOW_1_15,
    TENSORFLOW_2_7,
    ZOO,
    Environment,
    needs_environments,
)
from tests.clients.running import ONNX, PIPELINE, SAVED_MODEL, largest_difference, run
from tests.core_unasked import leave_core_out
from tests.matrix import make
from w2s_export.config import GeneratorConfig
from w2s_export.export import export
from w2s_export.formats.saved_model import FILE as SAVED_MODEL_FILE
from w2s_export.networks.layout import tensor_shapes
from w2s_export.options import ExportOptions
from w2s_export.rdf.reading import SAVED_MODEL as SAVED_MODEL_KEY
from w2s_export.sources.load import load_network

AT_HAND = version("bioimageio.core")
pytestmark = needs_environments

# Measured over all of these: 6e-7 of the range. A wrong pixel of the resize is above 1e-2.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Client:
    """A runtime, the script that runs files in it, and who ships it."""

    runtime: str
    script: str
    environment: Environment
    shipped_by: str


CLIENTS = (
    Client(
        "ONNX Runtime 1.12.1",
        ONNX,
        ONNX_1_12,
        "DeepImageJ 3.1 (JDLL)",
    ),
    Client("ONNX Runtime 1.20.1", ONNX, ZOO, "the zoo's tests"),
    Client(f"ONNX Runtime {version('onnxruntime')}", ONNX, NEWEST, "the newest"),
    Client(
        "TensorFlow 1.15.5",
        SAVED_MODEL,
        TENSORFLOW_1_15,
        "DeepImageJ 2.1 and 3.0",
    ),
    Client(
        "TensorFlow 2.7.0",
        SAVED_MODEL,
        TENSORFLOW_2_7,
        "DeepImageJ 3.1 (JDLL)",
    ),
    Client("TensorFlow 2.16.1", SAVED_MODEL, ZOO, "the zoo's tests"),
    Client(f"TensorFlow {version('tensorflow')}", SAVED_MODEL, NEWEST, "the newest"),
)
CORES = tuple(
    {
        environment.name: environment
        for environment in (ZOO, CORE, replace(NEWEST, name=f"bioimageio.core {AT_HAND}"))
    }.values()
)

SMALL = {"nf": 8, "gc": 4, "nb": 1}
FAMILY = {
    "plain_x2": GeneratorConfig(**SMALL),
    "plain_x1": GeneratorConfig(**SMALL, scale=1),
    "plain_x4": GeneratorConfig(**SMALL, scale=4),
    "conv_x4_rgb": GeneratorConfig(**SMALL, scale=4, upsampling="conv", in_nc=3, out_nc=3),
    "conv_x2_unshuffle": GeneratorConfig(**SMALL, upsampling="conv", pixel_unshuffle=2),
    "default": GeneratorConfig(nb=2),
}
SIZES = ((1, 8, 8), (1, 17, 23), (1, 64, 48), (2, 31, 10), (1, 96, 96))


def family(name: str, folder: Path) -> Source:
    """A small network with random weights."""
    config = FAMILY[name]
    rng = np.random.default_rng(11)
    weights = {
        name: rng.normal(0, np.prod(shape[:-1]) ** -0.5, shape).astype(np.float32)
        for name, shape in tensor_shapes(config).items()
    }
    network = factories.network(config, weights=weights)
    step = config.pixel_unshuffle
    batches = {
        f"{n}x{height}x{width}": rng.normal(
            0.4, 0.4, (n, config.in_nc, height // step * step, width // step * step)
        ).astype(np.float32)
        for n, height, width in SIZES
    }
    inputs = folder / "inputs.npz"
    np.savez(inputs, **batches)
    run = network.reference()
    made = {item.format: item.path for item in factories.written(network, folder)}
    return Source(
        files={ONNX: made["onnx"], SAVED_MODEL: made["tensorflow_saved_model_bundle"]},
        inputs=inputs,
        expected={case: run(batch) for case, batch in batches.items()},
    )


def unet(folder: Path) -> Source:
    """A Keras U-Net through a whole export: the files of its packages, on sizes of its grid."""
    make("keras", folder)
    options = ExportOptions(
        folder / "unet.keras", output=folder / "out", normalisation="none", name="U-Net"
    )
    with pytest.MonkeyPatch.context() as patch:
        leave_core_out(patch)  # it has tests of its own below
        result = export(options)
    files = {}
    for path in (result.packages.bioimageio, result.packages.deepimagej):
        with zipfile.ZipFile(path) as archive:
            for script, name in ((ONNX, "weights.onnx"), (SAVED_MODEL, SAVED_MODEL_FILE)):
                files[script] = Path(archive.extract(name, folder))
    network = load_network(folder / "unet.keras")
    assert (network.step, result.report.passed) == (4, True)
    rng = np.random.default_rng(11)
    batches = {
        f"{n}x{height}x{width}": rng.random((n, 1, height, width), np.float32)
        for n, height, width in ((1, 8, 8), (1, 20, 28), (1, 64, 48), (2, 32, 12))
    }
    np.savez(folder / "inputs.npz", **batches)
    run = network.reference()
    return Source(files, folder / "inputs.npz", {case: run(b) for case, b in batches.items()})


@pytest.fixture(scope="module")
def sources(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Source]:
    small = {name: family(name, tmp_path_factory.mktemp(name)) for name in FAMILY}
    return {**small, "U-Net": unet(tmp_path_factory.mktemp("unet")), "embedded": exported.weights}


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.runtime)
def test_gives_the_sources_image(
    client: Client, sources: dict[str, Source], tmp_path: Path
) -> None:
    jobs = [[source.files[client.script], source.inputs] for source in sources.values()]
    results = run(client.environment, client.runtime, client.script, jobs, tmp_path)
    worst = {
        name: largest_difference(result, source.expected)
        for result, (name, source) in zip(results, sources.items(), strict=True)
    }
    for name, difference in worst.items():
        print(f"{client.runtime} ({client.shipped_by}), {name}: {difference:.2e} of the range")
    assert max(worst.values()) <= TOLERANCE


@pytest.mark.parametrize("core", CORES, ids=lambda environment: environment.name)
def test_core_restores_images_as_detected(
    core: Environment, exported: Exported, tmp_path: Path
) -> None:
    jobs, expected = [], []
    for package, restored in zip(exported.packages, exported.in_core, strict=True):
        for weights in ("onnx", SAVED_MODEL_KEY):
            jobs.append([package, weights, exported.images])
            expected.append(restored)
    worst = list(map(largest_difference, run(core, core.name, PIPELINE, jobs, tmp_path), expected))
    for (package, weights, _), difference in zip(jobs, worst, strict=True):
        print(f"{core.name}, {package.name}, {weights}: {difference:.2e} of the range")
    assert max(worst) <= TOLERANCE
