"""Throw-away environments for the runtimes that clients ship.

They need the package index and a minute or two, so they are made only when `W2S_CLIENTS` names a
folder for them (`nox -s clients` does that), once each. `python -m tests.clients.environments`
makes those of old versions. An interpreter is taken from `W2S_PYTHON37`-like variables, from
`python3.7` on the PATH, or from pyenv.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

FOLDER = os.environ.get("W2S_CLIENTS")
needs_environments = pytest.mark.skipif(
    not FOLDER, reason="W2S_CLIENTS is not set: run nox -s clients"
)


@dataclass(frozen=True)
class Environment:
    """An interpreter and the packages it needs; exact versions at hand need no environment."""

    name: str
    python: str
    packages: tuple[str, ...]


ONNX_1_12 = Environment("ONNX Runtime 1.12.1", "3.10", ("onnxruntime==1.12.1", "numpy<2"))
TENSORFLOW_1_15 = Environment(
    "TensorFlow 1.15.5", "3.7", ("tensorflow==1.15.5", "numpy<1.19", "protobuf<3.20")
)
TENSORFLOW_2_7 = Environment(
    "TensorFlow 2.7.0", "3.9", ("tensorflow-cpu==2.7.0", "numpy<1.24", "protobuf<3.20")
)
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


def python_of(environment: Environment) -> str:
    """Python of an environment, made on first use unless this one has the versions already."""
    if at_hand(environment):
        return sys.executable
    assert FOLDER is not None
    folder = Path(FOLDER).resolve() / environment.name.replace(" ", "-")
    python = folder / "bin" / "python"
    done = folder / "complete"
    if not done.exists() or done.read_text() != repr(environment):
        start = time.monotonic()
        shutil.rmtree(folder, ignore_errors=True)
        variables = clean_variables()
        subprocess.run(
            [interpreter(environment.python), "-m", "venv", folder], check=True, env=variables
        )
        # Compiling all of TensorFlow takes longer than what little of it these tests import.
        install = [python, "-m", "pip", "install", "-q", "--no-compile"]
        subprocess.run([*install, *environment.packages], check=True, env=variables)
        done.write_text(repr(environment))
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


if __name__ == "__main__":
    for old in (TENSORFLOW_1_15, TENSORFLOW_2_7, ONNX_1_12, ZOO):
        python_of(old)
