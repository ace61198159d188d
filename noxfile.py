"""Checks that need environments of their own. `nox -s clients` runs our files in old runtimes."""

from __future__ import annotations

import os

import nox

nox.options.default_venv_backend = "venv"


@nox.session
def clients(session: nox.Session) -> None:
    """Compare our weights and packages, in the runtimes the clients ship, with their source.

    Each environment is made once, in half a minute; with ImageJ at hand the macros run around the
    network too. `nox -s clients -- -k "1.15"` takes one; `nox --no-venv -s clients` uses the
    environment at hand for the source. W2S_CLIENTS names a folder that keeps the old environments
    for next time.
    """
    if session.venv_backend != "none":
        session.install("-e", ".[test]")
    folder = os.environ.get("W2S_CLIENTS") or str(session.cache_dir / "clients")
    variables = {"W2S_CLIENTS": folder, "TF_CPP_MIN_LOG_LEVEL": "3"}
    session.run("python", "-m", "pytest", "tests/clients", "-rA", *session.posargs, env=variables)


FUZZED = (
    "tests/verify/test_fuzz.py",
    "tests/verify/test_neighbours.py",
    "tests/io/test_random_files.py",
    "tests/sources/test_round_trip.py",
    "tests/restore/test_killed.py",
)
"""Tests whose count of random cases is small in an ordinary run."""


@nox.session
def thorough(session: nox.Session) -> None:
    """Run the tests that repeat at length what the ordinary run has already, and more random cases.

    `nox --no-venv -s thorough` uses the environment at hand; arguments go to both runs of pytest.
    """
    if session.venv_backend != "none":
        session.install("-e", ".[test]")
    variables = {"W2S_FUZZ": "4", "W2S_KILLS": "3", "W2S_IMAGES": "8"}
    command = ("python", "-m", "pytest", "-n", "auto", *session.posargs)
    session.run(*command, "-m", "thorough", env=variables)
    session.run(*command, *FUZZED, env=variables)


@nox.session
def matrix(session: nox.Session) -> None:
    """Export, verify and restore networks of many makes; print what runs where."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.matrix")


@nox.session
def napari(session: nox.Session) -> None:
    """Open the plugin's widget in Qt without a screen: restore, cancel, take a picture of it."""
    session.install("-e", ".[napari]", "PyQt6")
    picture = str(session.cache_dir / "napari.png")
    variables = {"QT_QPA_PLATFORM": "offscreen"}
    session.run("python", "tests/viewer/napari_session.py", picture, env=variables)
