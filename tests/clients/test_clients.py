"""Our files in the runtimes that the clients ship, each in an environment of its own.

Needs the package index and minutes, so it runs when `W2S_CLIENTS` names a folder for the
environments (`nox -s clients` does that), and is skipped otherwise. An interpreter is taken from
`W2S_PYTHON37`-like variables, from `python3.7` on the PATH, or from pyenv.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from w2s_export.config import GeneratorConfig

FOLDER = os.environ.get("W2S_CLIENTS")
pytestmark = pytest.mark.skipif(not FOLDER, reason="W2S_CLIENTS is not set: run nox -s clients")

HERE = Path(__file__).resolve().parent

# Measured over all of these: 6e-7 of the range. A wrong pixel of the resize is above 1e-2.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Client:
    """A runtime, the interpreter and the packages it needs, and who ships it."""

    runtime: str
    python: str
    packages: tuple[str, ...]
    shipped_by: str

    @property
    def script(self) -> str:
        return "run_onnx.py" if self.runtime.startswith("ONNX") else "run_saved_model.py"


CLIENTS = (
    Client(
        "ONNX Runtime 1.12.1", "3.10", ("onnxruntime==1.12.1", "numpy<2"), "DeepImageJ 3.1 (JDLL)"
    ),
    Client(
        "ONNX Runtime 1.20.1", "3.10", ("onnxruntime==1.20.1", "numpy==1.26.4"), "the zoo's tests"
    ),
    Client(
        "TensorFlow 1.15.5",
        "3.7",
        ("tensorflow==1.15.5", "numpy<1.19", "protobuf<3.20"),
        "DeepImageJ 2.1 and 3.0",
    ),
    Client(
        "TensorFlow 2.7.0",
        "3.9",
        ("tensorflow-cpu==2.7.0", "numpy<1.24", "protobuf<3.20"),
        "DeepImageJ 3.1 (JDLL)",
    ),
    Client(
        "TensorFlow 2.16.1", "3.10", ("tensorflow-cpu==2.16.1", "numpy==1.26.4"), "the zoo's tests"
    ),
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


@dataclass(frozen=True)
class Source:
    """A generator's conversions, inputs, and the outputs of the Keras source."""

    files: dict[str, Path]
    inputs: Path
    expected: dict[str, np.ndarray]


@pytest.fixture(scope="module", params=list(FAMILY))
def source(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Source:
    from w2s_export.convert.onnx import to_onnx
    from w2s_export.convert.runtimes import KerasRuntime
    from w2s_export.convert.saved_model import to_saved_model
    from w2s_export.networks.generator import build_generator, set_weights
    from w2s_export.networks.layout import tensor_shapes

    config = FAMILY[request.param]
    folder = tmp_path_factory.mktemp(request.param)
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
            "run_onnx.py": to_onnx(model, config, folder / "weights.onnx").path,
            "run_saved_model.py": to_saved_model(model, config, folder / "weights.zip").path,
        },
        inputs=inputs,
        expected={case: run(batch) for case, batch in batches.items()},
    )


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.runtime)
def test_gives_the_sources_image(
    client: Client, source: Source, tmp_path: Path, record_property: Any
) -> None:
    outputs = tmp_path / "outputs.npz"
    finished = subprocess.run(
        [
            environment(client),
            HERE / client.script,
            source.files[client.script],
            source.inputs,
            outputs,
        ],
        capture_output=True,
        text=True,
        env=clean_variables(),
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert finished.stdout.splitlines()[-1] == client.runtime
    worst = 0.0
    with np.load(outputs) as results:
        assert sorted(results.files) == sorted(source.expected)
        for case, expected in source.expected.items():
            actual = results[case]
            assert actual.shape == expected.shape
            assert actual.dtype == np.float32
            worst = max(worst, float(np.abs(actual - expected).max() / np.ptp(expected)))
    record_property("max_relative", worst)
    print(f"{client.runtime} ({client.shipped_by}): {worst:.2e} of the range")
    assert worst <= TOLERANCE


def environment(client: Client) -> str:
    """Python of the client's environment, made on first use."""
    assert FOLDER is not None
    folder = Path(FOLDER) / client.runtime.replace(" ", "-")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = folder / "complete"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        variables = clean_variables()
        subprocess.run(
            [interpreter(client.python), "-m", "venv", folder], check=True, env=variables
        )
        install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*install, *client.packages], check=True, env=variables)
        done.touch()
    return str(python)


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
