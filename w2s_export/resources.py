"""Finds the data files that travel with the package: models/ and bioimageio/.

In a wheel they lie under `w2s_export/_assets`; in a checkout at the repository root.
"""

from __future__ import annotations

from pathlib import Path

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
