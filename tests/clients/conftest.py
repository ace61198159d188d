"""What the clients run: the embedded model's packages, and the files and images of them."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests import factories
from tests.clients.running import ONNX, SAVED_MODEL
from w2s_export.data.normalise import normalise
from w2s_export.export import default_weights
from w2s_export.formats.saved_model import FILE as SAVED_MODEL_FILE
from w2s_export.network import HaloMeasurement
from w2s_export.package.archive import write_packages
from w2s_export.package.sample import read_sample
from w2s_export.rdf.description import Sample
from w2s_export.resources import DEFAULT_MODEL, asset
from w2s_export.sources.load import load_network

HALO = 14
SIZES = ((1, 29, 29), (1, 64, 48), (2, 31, 37), (1, 131, 97), (1, 192, 160))


@dataclass(frozen=True)
class Source:
    """A generator's conversions, inputs, and the outputs of the Keras source."""

    files: dict[str, Path]
    inputs: Path
    expected: dict[str, np.ndarray]


@dataclass(frozen=True)
class Exported:
    """The packages of the embedded default model, images, and what the source makes of them."""

    packages: tuple[Path, Path]
    images: Path
    weights: Source
    """The files out of the packages, and normalised images."""
    in_core: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
    """What core makes of the images with each package. It pads those of format 0.5 by the halo,
    mirrored, before it takes percentiles, and crops the result; 0.4 knows no halo there."""


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The default, as `w2s-export` writes it but for the measurements."""
    folder = tmp_path_factory.mktemp("exported")
    network = load_network(default_weights())
    run = network.reference()
    sample = read_sample(asset(f"models/{DEFAULT_MODEL}/sample_input.tif"), network.channels_in)
    sample = sample.cut(network)
    restored = run(normalise(sample.pixels, network.normalisation)[np.newaxis])[0]
    (folder / "work").mkdir()
    description = factories.description(
        network,
        factories.written(network, folder / "work"),
        Sample(sample.pixels, restored, sample.pixel_size_um, sample.name),
        name=DEFAULT_MODEL,
        halo=HaloMeasurement(HALO, 2 * HALO + 1, 1e-4, ()),
    )
    packages = write_packages(description, folder)
    files = {}
    for script, name in ((ONNX, "weights.onnx"), (SAVED_MODEL, SAVED_MODEL_FILE)):
        with zipfile.ZipFile(packages.deepimagej) as archive:
            files[script] = Path(archive.extract(name, folder))
    rng = np.random.default_rng(12)
    images = {
        f"{n}x{height}x{width}": rng.gamma(2, 90, (n, 1, height, width)).astype(np.float32)
        for n, height, width in SIZES
    }
    np.savez(folder / "images.npz", **images)

    def normalised(pad: int) -> dict[str, np.ndarray]:
        widths = ((0, 0), (pad, pad), (pad, pad))
        return {
            case: np.stack(
                [
                    normalise(np.pad(image, widths, mode="symmetric"), network.normalisation)
                    for image in batch
                ]
            )
            for case, batch in images.items()
        }

    batches = normalised(0)
    np.savez(folder / "inputs.npz", **batches)
    expected = {case: run(batch) for case, batch in batches.items()}
    inside = slice(2 * HALO, -2 * HALO)
    padded = {case: run(batch)[..., inside, inside] for case, batch in normalised(HALO).items()}
    return Exported(
        (packages.bioimageio, packages.deepimagej),
        folder / "images.npz",
        Source(files, folder / "inputs.npz", expected),
        (padded, expected),
    )
