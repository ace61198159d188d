"""A good export of a tiny network, made once, and the means to break copies of it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests import factories
from w2s_export.config import GeneratorConfig, PercentileNormalisation
from w2s_export.data.normalise import normalise
from w2s_export.package.archive import Packages, write_packages
from w2s_export.rdf.description import Description, Sample
from w2s_export.rdf.metadata import Metadata, default_metadata
from w2s_export.restore.halo import measure_halo
from w2s_export.verify.findings import Client
from w2s_export.verify.report import Report
from w2s_export.verify.verdicts import Answer

METADATA = Metadata.model_validate(
    {
        "name": "good-model",
        "description": "Restores widefield images.",
        "authors": [{"name": "Ada Lovelace"}],
        "maintainers": [{"name": "Ada Lovelace", "github_user": "ada"}],
        "license": "CC-BY-4.0",
    }
)


@dataclass(frozen=True)
class Good:
    """What `export` has in hand when it verifies."""

    packages: Packages
    source: Any
    description: Description
    loaded: dict[str, Any]
    """Runtimes of its weights files by SHA-256, which remember what they made of the sample."""


@pytest.fixture(scope="session")
def good(tmp_path_factory) -> Good:
    return export(tmp_path_factory.mktemp("good"), seed=0)


@pytest.fixture(scope="session")
def other(tmp_path_factory) -> Good:
    """The same network with other weights."""
    return export(tmp_path_factory.mktemp("other"), seed=1)


def export(folder: Path, seed: int) -> Good:
    from w2s_export.formats.registry import format_of
    from w2s_export.networks.rrdbnet import build_generator, get_weights
    from w2s_export.runtime.caching import CachingRuntime

    config = GeneratorConfig(nf=8, gc=4, nb=1)
    # initial kernels are a tenth of He's; at half of He's the network looks a few pixels far
    initial = get_weights(build_generator(config, seed), config)
    weights = {name: 5 * value for name, value in initial.items()}
    network = factories.network(config, PercentileNormalisation(low=1.0, high=99.0), None, weights)
    image = cells(np.random.default_rng(7))
    source = network.reference()
    normalised = normalise(image, network.normalisation)
    description = factories.description(
        network,
        factories.written(network, folder),
        Sample(image, source(normalised[np.newaxis])[0], 0.1, "cells"),
        name="good-model",
        metadata=default_metadata(network, METADATA),
        halo=measure_halo(source, normalised, network),
    )
    loaded = {
        artifact.sha256: CachingRuntime(format_of(artifact.format).load(artifact.path))
        for artifact in description.artifacts
    }
    for runtime in loaded.values():
        runtime(normalised[np.newaxis])
    return Good(write_packages(description, folder), source, description, loaded)


def refusing(report: Report) -> set[Client]:
    """Clients that would refuse the report's only package, whether it is meant for them or not."""
    return {verdict.client for verdict in report.verdicts if verdict.would is Answer.refuses}


def cells(random: np.random.Generator) -> np.ndarray:
    """A (1, 66, 73) image of 16 bit: blurred noise and camera noise."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(random.random((66, 73)), 2)
    counts = 200 + 3000 * (smooth - smooth.min()) + random.normal(0, 20, smooth.shape)
    return counts.clip(0).astype(np.uint16)[np.newaxis]


def copy(package: Path, folder: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """A copy of a zip whose files `change` has edited, by name."""
    with zipfile.ZipFile(package) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    target = folder / package.name
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target


class Plain(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):
    """Writes what is there twice twice, because readers refuse aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


MISSING = object()


def put_at(description: Any, path: str, value: Any) -> None:
    """Set or remove a field, its path with dots."""
    *parents, last = (int(key) if key.isdecimal() else key for key in path.split("."))
    for key in parents:
        description = description[key]
    if value is MISSING:
        del description[last]
    else:
        description[last] = value


def rdf(edit: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, bytes]], None]:
    """A change of the description."""

    def change(files: dict[str, bytes]) -> None:
        description = yaml.safe_load(files["rdf.yaml"])
        edit(description)
        files["rdf.yaml"] = yaml.dump(description, Dumper=Plain, sort_keys=False).encode()

    return change


def exchange(name: str, data: bytes) -> Callable[[dict[str, bytes]], None]:
    """A change of one file, its hash in the description with it."""

    def change(files: dict[str, bytes]) -> None:
        before, after = (hashlib.sha256(value).hexdigest() for value in (files[name], data))
        files[name] = data
        files["rdf.yaml"] = files["rdf.yaml"].replace(before.encode(), after.encode())

    return change


def shifted_output(good, other):
    return exchange("test_output.npy", npy(np.roll(good.description.sample.restored[None], 1, -1)))


def other_output(good, other):
    return exchange("test_output.npy", npy(other.description.sample.restored[None]))


def other_onnx(good, other):
    return exchange("weights.onnx", other.description.artifact("onnx").path.read_bytes())


def flipped_sample(good, other):
    return exchange("sample_input.tif", tiff(good.description.sample.image[0, ::-1]))


def tiff(image: np.ndarray) -> bytes:
    import tifffile

    stream = io.BytesIO()
    tifffile.imwrite(stream, image)
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()
