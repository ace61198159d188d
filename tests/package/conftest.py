from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests import factories
from w2s_export.config import GeneratorConfig, Normalisation, PercentileNormalisation, Provenance
from w2s_export.metrics.parity import Parity
from w2s_export.network import HaloMeasurement
from w2s_export.package.archive import write_packages
from w2s_export.rdf.description import Description, Sample
from w2s_export.rdf.metadata import Metadata, default_metadata

Describe = Callable[..., Description]

PERCENTILES = PercentileNormalisation()
TINY = GeneratorConfig(nf=8, gc=4, nb=1)
PROVENANCE = Provenance(
    name="tiny test model",
    description="Widefield in, SIM-like out.",
    data="BioSR microtubules, doi 10.6084/m9.figshare.13264793",
    license="CC-BY-4.0",
    attribution="Data: Qiao & Li, BioSR, CC BY 4.0.",
    pixel_size_um=0.0626,
    scores={"psnr_db": 30.25, "psnr_bicubic_db": 26.5},
)


@pytest.fixture(scope="session")
def describe(tmp_path_factory: pytest.TempPathFactory) -> Describe:
    """Builds descriptions whose weights are any bytes: nothing here runs the network."""
    artifacts = factories.any_artifacts(tmp_path_factory.mktemp("any") / "weights")

    def build(
        config: GeneratorConfig = TINY,
        how: Normalisation | None = PERCENTILES,
        *,
        shape: tuple[int, int] = (48, 64),
        dtype: str = "uint16",
        halo: int = 6,
        given: Metadata | None = None,
        pixel_size_um: float | None = 0.0626,
        provenance: Provenance = PROVENANCE,
    ) -> Description:
        height, width = shape
        rng = np.random.default_rng(1)
        image = rng.integers(0, 200, (config.in_nc, height, width)).astype(dtype)
        size = (config.out_nc, config.scale * height, config.scale * width)
        restored = rng.normal(0, 1, size).astype(np.float32)
        net = factories.network(config, how, provenance)
        step = config.pixel_unshuffle
        return factories.description(
            net,
            artifacts,
            Sample(image, restored, pixel_size_um, "field 10"),
            metadata=default_metadata(net, given),
            halo=HaloMeasurement(
                halo, -(-(2 * halo + 1) // step) * step, 1e-4, ((0, 0.25), (3, 1e-3), (6, 8e-5))
            ),
            parity=(
                Parity("ONNX Runtime 1.32.0", "sample", restored.shape, 1.5e-6, 2.5e-7, 131.25),
                Parity("TensorFlow 2.21.0", "sample", restored.shape, 0.0, 0.0, float("inf")),
            ),
        )

    return build


@pytest.fixture(scope="session")
def description(describe: Describe) -> Description:
    return describe()


@pytest.fixture(scope="session")
def good_zip(description: Description, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_packages(description, tmp_path_factory.mktemp("good")).bioimageio.read_bytes()


@pytest.fixture(scope="session")
def real_description(tmp_path_factory: pytest.TempPathFactory) -> Description:
    """A small network with random weights, really converted."""
    from w2s_export.data.normalise import normalise

    net = factories.network(TINY, PERCENTILES, PROVENANCE)
    image = np.random.default_rng(2).integers(90, 900, (1, 37, 53)).astype(np.uint16)
    restored = net.reference()(normalise(image, PERCENTILES)[np.newaxis])[0]
    artifacts = factories.written(net, tmp_path_factory.mktemp("weights"))
    return factories.description(net, artifacts, Sample(image, restored, 0.0626, "noise"))
