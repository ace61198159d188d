"""Finds the data files that travel with the package: models/ and bioimageio/.

In a wheel they lie under `w2s_export/_assets`; in a checkout at the repository root.
"""

from __future__ import annotations

from pathlib import Path

from w2s_export.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent
DEFAULT_MODEL = "wf2sim-microtubules-s"


def asset(relative: str) -> Path:
    """Path of a data file or folder, e.g. `bioimageio/macros/preprocessing.ijm`.

    Raises:
        FileNotFoundError: the installation is incomplete (a bug of the build, not of the user).
    """
    for root in (_PACKAGE / "_assets", _PACKAGE.parent):
        path = root / relative
        if path.exists():
            return path
    raise FileNotFoundError(f"asset {relative} is missing from this installation")


def models() -> dict[str, Path]:
    """Folder of every model that comes with the tool, by name."""
    folders = sorted(asset("models").iterdir())
    return {folder.name: folder for folder in folders if (folder / "config.yaml").is_file()}


def model_folder(name: str) -> Path:
    """Folder of a model, its weights in it.

    Raises:
        ConfigError: no such model, or this installation has no weights of it.
    """
    known = models()
    if name not in known:
        raise ConfigError(f"there is no model '{name}'; there are {', '.join(known)}")
    if not (known[name] / "weights.npz").is_file():
        raise ConfigError(
            f"the weights of '{name}' are too large for an installed package: take "
            f"models/{name}/weights.npz from the tool's source repository, and give its path as "
            "--weights"
        )
    return known[name]
