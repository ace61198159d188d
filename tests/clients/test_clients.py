"""Our files in the runtimes that the clients ship, and in the newest of each.

Weights run alone, in each runtime; packages run whole, in each bioimageio.core. Versions that are
not at hand get an environment of their own, which needs the package index and minutes: so all this
runs when `W2S_CLIENTS` names a folder for them (`nox -s clients` does that), and is skipped
otherwise. An interpreter is taken from `W2S_PYTHON37`-like variables, from `python3.7` on the PATH,
or from pyenv.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from w2s_export.checkpoint.own import load_own
from w2s_export.config import GeneratorConfig
from w2s_export.convert.onnx import to_onnx
from w2s_export.convert.runtimes import KerasRuntime
from w2s_export.convert.saved_model import to_saved_model
from w2s_export.data.normalise import normalise
from w2s_export.export import default_weights
from w2s_export.networks.generator import build_generator, set_weights
from w2s_export.networks.layout import tensor_shapes
from w2s_export.package.archive import write_packages
from w2s_export.package.description import Description, Sample
from w2s_export.package.metadata import default_metadata
from w2s_export.package.sample import read_sample
from w2s_export.resources import DEFAULT_MODEL, asset
from w2s_export.restore.halo import HaloMeasurement
from w2s_export.verify.described import SAVED_MODEL as SAVED_MODEL_KEY

ONNX, SAVED_MODEL, PIPELINE = "run_onnx.py", "run_saved_model.py", "run_core.py"
AT_HAND = version("bioimageio.core")
FOLDER = os.environ.get("W2S_CLIENTS")
pytestmark = pytest.mark.skipif(not FOLDER, reason="W2S_CLIENTS is not set: run nox -s clients")

HERE = Path(__file__).resolve().parent

# Measured over all of these: 6e-7 of the range. A wrong pixel of the resize is above 1e-2.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Environment:
    """An interpreter and the packages it needs; exact versions at hand need no environment."""

    name: str
    python: str
    packages: tuple[str, ...]


@dataclass(frozen=True)
class Client:
    """A runtime, the script that runs files in it, and who ships it."""

    runtime: str
    script: str
    environment: Environment
    shipped_by: str


ZOO = Environment(
    "bioimageio.core 0.10.4",
    "3.11",
    (
        "bioimageio.core==0.10.4",  # asks for bioimageio.spec 0.5.10.2
        "onnxruntime==1.20.1",
        "tensorflow-cpu==2.16.1",
        "numpy==1.26.4",
        "pydantic<2.14",
    ),
)
CORE = Environment(
    "bioimageio.core 0.11.0",
    "3.11",
    ("bioimageio.core==0.11.0", "onnxruntime", "tensorflow", "pydantic<2.14"),
)
NEWEST = Environment("the newest, at hand", "", ())

CLIENTS = (
    Client(
        "ONNX Runtime 1.12.1",
        ONNX,
        Environment("ONNX Runtime 1.12.1", "3.10", ("onnxruntime==1.12.1", "numpy<2")),
        "DeepImageJ 3.1 (JDLL)",
    ),
    Client("ONNX Runtime 1.20.1", ONNX, ZOO, "the zoo's tests"),
    Client(f"ONNX Runtime {version('onnxruntime')}", ONNX, NEWEST, "the newest"),
    Client(
        "TensorFlow 1.15.5",
        SAVED_MODEL,
        Environment(
            "TensorFlow 1.15.5", "3.7", ("tensorflow==1.15.5", "numpy<1.19", "protobuf<3.20")
        ),
        "DeepImageJ 2.1 and 3.0",
    ),
    Client(
        "TensorFlow 2.7.0",
        SAVED_MODEL,
        Environment(
            "TensorFlow 2.7.0", "3.9", ("tensorflow-cpu==2.7.0", "numpy<1.24", "protobuf<3.20")
        ),
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
PACKAGE_SIZES = ((1, 29, 29), (1, 64, 48), (2, 31, 37), (1, 131, 97), (1, 192, 160))
SIZES = ((1, 8, 8), (1, 17, 23), (1, 64, 48), (2, 31, 10), (1, 96, 96))


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


def family(name: str, folder: Path) -> Source:
    """A small network with random weights."""
    config = FAMILY[name]
    rng = np.random.default_rng(11)
    weights = {
        name: rng.normal(0, np.prod(shape[:-1]) ** -0.5, shape).astype(np.float32)
        for name, shape in tensor_shapes(config).items()
    }
    model = build_generator(config)
    set_weights(model, config, weights)
    step = config.pixel_unshuffle
    batches = {
        f"{n}x{height}x{width}": rng.normal(
            0.4, 0.4, (n, config.in_nc, height // step * step, width // step * step)
        ).astype(np.float32)
        for n, height, width in SIZES
    }
    inputs = folder / "inputs.npz"
    np.savez(inputs, **batches)
    run = KerasRuntime(model)
    return Source(
        files={
            ONNX: to_onnx(model, config, folder / "weights.onnx").path,
            SAVED_MODEL: to_saved_model(model, config, folder / "weights.zip").path,
        },
        inputs=inputs,
        expected={case: run(batch) for case, batch in batches.items()},
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory: Any) -> Exported:
    """The default, as `w2s-export` writes it but for the measurements."""
    folder = tmp_path_factory.mktemp("exported")
    checkpoint = load_own(default_weights())
    model = build_generator(checkpoint.config)
    set_weights(model, checkpoint.config, checkpoint.weights)
    run = KerasRuntime(model)
    sample = read_sample(asset(f"models/{DEFAULT_MODEL}/sample_input.tif"), checkpoint.config)
    restored = run(normalise(sample.pixels, checkpoint.normalisation)[np.newaxis])[0]
    (folder / "work").mkdir()
    description = Description(
        name=DEFAULT_MODEL,
        metadata=default_metadata(checkpoint),
        checkpoint=checkpoint,
        onnx=to_onnx(model, checkpoint.config, folder / "work" / "weights.onnx"),
        saved_model=to_saved_model(model, checkpoint.config, folder / "work" / "weights.zip"),
        sample=Sample(sample.pixels, restored, sample.pixel_size_um, sample.name),
        halo=HaloMeasurement(14, 29, 1e-4, ()),
        parity=(),
    )
    packages = write_packages(description, folder)
    files = {}
    for script, name in ((ONNX, "weights.onnx"), (SAVED_MODEL, f"{SAVED_MODEL_KEY}.zip")):
        with zipfile.ZipFile(packages.deepimagej) as archive:
            files[script] = Path(archive.extract(name, folder))
    rng = np.random.default_rng(12)
    images = {
        f"{n}x{height}x{width}": rng.gamma(2, 90, (n, 1, height, width)).astype(np.float32)
        for n, height, width in PACKAGE_SIZES
    }
    np.savez(folder / "images.npz", **images)
    batches = {
        case: np.stack([normalise(image, checkpoint.normalisation) for image in batch])
        for case, batch in images.items()
    }
    np.savez(folder / "inputs.npz", **batches)
    expected = {case: run(batch) for case, batch in batches.items()}
    return Exported(
        (packages.bioimageio, packages.deepimagej),
        folder / "images.npz",
        Source(files, folder / "inputs.npz", expected),
    )


@pytest.fixture(scope="module", params=[*FAMILY, "embedded"])
def source(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Source:
    if request.param == "embedded":
        exported: Exported = request.getfixturevalue("exported")
        return exported.weights
    return family(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.runtime)
def test_gives_the_sources_image(
    client: Client, source: Source, tmp_path: Path, record_property: Any
) -> None:
    arguments = [source.files[client.script], source.inputs]
    worst = run_and_compare(
        client.environment, client.script, arguments, client.runtime, source.expected, tmp_path
    )
    record_property("max_relative", worst)
    print(f"{client.runtime} ({client.shipped_by}): {worst:.2e} of the range")
    assert worst <= TOLERANCE


@pytest.mark.parametrize("weights", ["onnx", SAVED_MODEL_KEY])
@pytest.mark.parametrize("package", [0, 1], ids=["bioimageio", "deepimagej"])
@pytest.mark.parametrize("core", CORES, ids=lambda environment: environment.name)
def test_core_restores_images_as_detected(
    core: Environment,
    package: int,
    weights: str,
    exported: Exported,
    tmp_path: Path,
    record_property: Any,
) -> None:
    arguments = [exported.packages[package], weights, exported.images]
    worst = run_and_compare(
        core, PIPELINE, arguments, core.name, exported.weights.expected, tmp_path
    )
    record_property("max_relative", worst)
    print(f"{core.name}, {exported.packages[package].name}, {weights}: {worst:.2e} of the range")
    assert worst <= TOLERANCE


def run_and_compare(
    environment: Environment,
    script: str,
    arguments: list[Any],
    announced: str,
    expected: dict[str, np.ndarray],
    folder: Path,
) -> float:
    """Run a script on every case; the largest difference, part of the output's range."""
    outputs = folder / "outputs.npz"
    finished = subprocess.run(
        [python_of(environment), HERE / script, *arguments, outputs],
        capture_output=True,
        text=True,
        cwd=folder,  # core unzips weights where it is
        env={**clean_variables(), "BIOIMAGEIO_CACHE_PATH": str(folder / "cache")},
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert finished.stdout.splitlines()[-1] == announced
    worst = 0.0
    with np.load(outputs) as results:
        assert sorted(results.files) == sorted(expected)
        for case, output in expected.items():
            actual = results[case]
            assert actual.shape == output.shape
            assert actual.dtype == np.float32
            worst = max(worst, float(np.abs(actual - output).max() / np.ptp(output)))
    return worst


def python_of(environment: Environment) -> str:
    """Python of an environment, made on first use unless this one has the versions already."""
    if at_hand(environment):
        return sys.executable
    assert FOLDER is not None
    folder = Path(FOLDER) / environment.name.replace(" ", "-")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = folder / "complete"
    if not done.exists():
        start = time.monotonic()
        shutil.rmtree(folder, ignore_errors=True)
        variables = clean_variables()
        subprocess.run(
            [interpreter(environment.python), "-m", "venv", folder], check=True, env=variables
        )
        install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*install, *environment.packages], check=True, env=variables)
        done.touch()
        print(f"{environment.name}: made in {time.monotonic() - start:.0f} s")
    return str(python)


def at_hand(environment: Environment) -> bool:
    """Whether every version that the environment pins is the one installed here."""
    pinned = dict(p.split("==") for p in environment.packages if "==" in p)
    try:
        return all(version(name) == wanted for name, wanted in pinned.items())
    except PackageNotFoundError:
        return False


def interpreter(version: str) -> str:
    """A Python of this version, or a failure that says how to name one."""
    for candidate in _candidates(version):
        probe = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        try:
            found = subprocess.run(probe, capture_output=True, text=True, env=clean_variables())
        except OSError:
            continue
        if found.stdout.strip() == version:
            return candidate
    variable = f"W2S_PYTHON{version.replace('.', '')}"
    pytest.fail(f"no Python {version}: install it, e.g. with pyenv, or name it in {variable}")


def _candidates(version: str) -> Iterator[str]:
    if named := os.environ.get(f"W2S_PYTHON{version.replace('.', '')}"):
        yield named
    if on_path := shutil.which(f"python{version}"):
        yield on_path
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for folder in sorted((root / "versions").glob(f"{version}.*"), reverse=True):
        yield str(folder / "bin" / "python")


def clean_variables() -> dict[str, str]:
    """The environment's variables without those that would show one Python another's packages."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
