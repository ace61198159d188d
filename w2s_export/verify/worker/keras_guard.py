"""What a Keras file may name before Keras loads it: its own layers alone, and none that runs code.

A Keras file describes its network by the names of Python classes and functions, which loading
looks up and calls.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from w2s_export.errors import PackageError, WithheldError

_MODULES = frozenset(
    f"keras.{name}"
    for name in [
        "activations",
        "constraints",
        "dtype_policies",
        "initializers",
        "layers",
        "losses",
        "metrics",
        "models",
        "optimizers",
        "regularizers",
    ]
) | {"keras"}
_RUNNING_CODE = frozenset(
    [
        "Lambda",
        "TFSMLayer",
        "TorchModuleWrapper",
        "JaxLayer",
        "FlaxLayer",
        "TFOpLambda",
        "SlicingOpLambda",
    ]
)
_NETWORKS = frozenset(("Functional", "Sequential", "Model"))
_LARGEST_CONFIG = 16 << 20
_DEEPEST = 60


def check_keras(path: Path) -> None:
    """A `.keras` or `.h5` file names nothing but Keras's own layers and what belongs to them.

    Raises:
        PackageError: no Keras file, or one without its architecture.
        WithheldError: one that names something else.
    """
    for named, module in _named(_config(path), 0):
        if named in _RUNNING_CODE or not _is_keras(named, module):
            where = f" of {module}" if module else ""
            raise WithheldError(f"names '{named:.60}'{where:.60}, and only Keras's layers are run")


def _config(path: Path) -> Any:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo("config.json").file_size > _LARGEST_CONFIG:
                    raise PackageError(f"its config.json has more than {_LARGEST_CONFIG} bytes")
                return json.loads(archive.read("config.json"))
        import h5py

        with h5py.File(path, "r") as file:
            return json.loads(file.attrs["model_config"])
    except PackageError:
        raise
    except Exception as error:  # h5py and zipfile share no class of errors
        reason = " ".join(str(error).split())[:200]
        raise PackageError(f"holds no architecture of Keras: {reason}") from None


def _named(value: Any, depth: int) -> Iterator[tuple[str, str]]:
    """Class or function and module of everything the architecture names."""
    if depth > _DEEPEST:
        raise PackageError(f"nests more than {_DEEPEST} deep")
    if isinstance(value, list):
        for inner in value:
            yield from _named(inner, depth + 1)
    if not isinstance(value, dict):
        return
    if "class_name" in value:
        module = str(value.get("module") or "")
        if value["class_name"] == "function":
            yield str(value.get("config")), module
        elif value["class_name"] not in ("__tuple__", "__tensor__", "__keras_tensor__"):
            yield str(value["class_name"]), module
    for inner in value.values():
        yield from _named(inner, depth + 1)


def _is_keras(named: str, module: str) -> bool:
    if named in _NETWORKS:
        return module in ("", "keras", "keras.models", "keras.src.models.functional")
    homes = [module] if module else sorted(_MODULES)
    return any(home in _MODULES and hasattr(_home(home), named) for home in homes)


def _home(module: str) -> Any:
    import keras

    return getattr(keras, module.removeprefix("keras").lstrip("."), keras)
