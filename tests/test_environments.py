"""Odd systems: other locales, no home, a strict umask, another user. Same bytes, no traceback."""

from __future__ import annotations

import locale
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tifffile

from tests.core_unasked import leave_core_out
from tests.inputs import checkpoint, noise
from w2s_export.cli import run

ROOT = Path(__file__).parents[1]
OF_LOCALES = ("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "PYTHONUTF8", "PYTHONIOENCODING")
STRICT = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""Text of files and terminals is encoded as the locale says."""

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="locales as Linux names them"),
    pytest.mark.xdist_group("environments"),
]


def _has_locale(name: str) -> bool:
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, name)
    except locale.Error:
        return False
    finally:
        locale.setlocale(locale.LC_ALL, before)
    return True


def _of_locale(name: str) -> dict[str, str]:
    if not _has_locale(name):
        pytest.skip(f"the locale {name} is not installed")
    return {"LC_ALL": name, **STRICT}


_SEVERAL = """
import sys
from w2s_export.cli import run
words = "\\n".join(sys.argv[1:])
print("codes:", *[run(command.split("\\n")) for command in words.split("\\n//\\n")])
"""
"""Commands with `//` between them; their exit codes."""


def _run(
    folder: Path, *command: str, environment: dict[str, str | None], prefix: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[bytes]:
    """One command, or several in one process with `//` between them."""
    kept = {key: value for key, value in os.environ.items() if key not in OF_LOCALES}
    program = ["-c", _SEVERAL] if "//" in command else ["-m", "w2s_export"]
    given = {**kept, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [*prefix, sys.executable, *program, *command],
        cwd=folder,
        env={key: value for key, value in given.items() if value is not None},
        capture_output=True,
        check=False,
    )


def _succeeds(done: subprocess.CompletedProcess[bytes]) -> None:
    said = done.stdout + done.stderr
    assert done.returncode == 0, said.decode("utf-8", "replace")[-3000:]
    assert b"Traceback" not in said


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


EXPORT = ("--weights", "w.npz", "--sample", "cell µm.tif", "--metadata", "m.yaml")
RESTORE = ("restore", "cell µm.tif", "--engine", "cpu", "--threads", "1")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with inputs, an export (`o`) and a restored image (`r`), by this process."""
    folder = tmp_path_factory.mktemp("plain")
    tifffile.imwrite(folder / "cell µm.tif", noise(48, 64))
    checkpoint(folder / "w.npz")
    (folder / "m.yaml").write_text("description: Größe × İstanbul ığ\n", "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        leave_core_out(patch)
        patch.chdir(folder)
        assert run([*EXPORT, "--output", "o"]) == 0
        package = next((folder / "o").glob("*.bioimageio.zip"))
        shutil.copyfile(package, folder / "p.zip")
        assert run([*RESTORE, "--package", "p.zip", "--output", "r"]) == 0
    return folder


def _same(plain: Path, output: Path) -> None:
    made, expected = _contents(output), _contents(plain / "o")
    assert made.keys() == expected.keys()
    for name, data in expected.items():
        assert made[name] == data or not name.endswith(".zip"), name


def _restores_the_same(plain: Path, name: str, **odd: str | None) -> None:
    output = plain / f"r-{name}"
    command = (*RESTORE, "--package", "p.zip", "--output", output.name)
    _succeeds(_run(plain, *command, environment=odd))
    assert _contents(output) == _contents(plain / "r")


def _thorough(*values: str) -> list[Any]:
    return [pytest.param(value, marks=pytest.mark.thorough) for value in values]


@pytest.mark.parametrize(
    "name", ["C", "tr_TR.ISO-8859-9", *_thorough("tr_TR.UTF-8", "de_DE.ISO-8859-1")]
)
def test_a_restored_image_is_the_same_in_every_locale(plain: Path, name: str) -> None:
    odd: dict[str, str | None] = {**_of_locale(name)}
    _restores_the_same(plain, name, **odd)
    both = ("verify", "p.zip", "--rules-only", "//", "inspect", "p.zip")
    done = _run(plain, *both, environment=odd)
    _succeeds(done)
    assert done.stdout.endswith(b"codes: 0 0\n")


def test_a_restored_image_is_the_same_without_assertions(plain: Path) -> None:
    """PYTHONOPTIMIZE=2 takes docstrings away too, which libraries read."""
    _restores_the_same(plain, "OO", LC_ALL="C", **STRICT, PYTHONOPTIMIZE="2")


def test_an_export_is_the_same_in_an_odd_system(plain: Path, tmp_path: Path) -> None:
    """All at once: Turkish, no home, blanks and quotes in paths, warnings as errors, umask 077."""
    place = tmp_path / "a 'folder' \"of\" mine"
    place.mkdir()
    odd = _of_locale("tr_TR.ISO-8859-9") if _has_locale("tr_TR.ISO-8859-9") else {"LC_ALL": "C"}
    environment: dict[str, str | None] = {
        **odd, "HOME": None, "XDG_CACHE_HOME": None, "TMPDIR": str(place), "PYTHONWARNINGS": "error"
    }  # fmt: skip
    output = place / "out put"
    done = _run(
        plain,
        *EXPORT,
        "--output",
        str(output),
        environment=environment,
        prefix=("sh", "-c", 'umask 077; exec "$@"', "sh"),
    )
    _succeeds(done)
    _same(plain, output)
    assert {path.name for path in place.iterdir()} == {"out put"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in output.iterdir())


@pytest.mark.thorough
def test_an_export_without_assertions_is_the_same(plain: Path, tmp_path: Path) -> None:
    """Python compiles TensorFlow for it, where nobody has exported so before: half a minute."""
    environment: dict[str, str | None] = {"LC_ALL": "C", **STRICT, "PYTHONOPTIMIZE": "2"}
    _succeeds(_run(plain, *EXPORT, "--output", str(tmp_path / "o"), environment=environment))
    _same(plain, tmp_path / "o")


def _without_rights() -> tuple[str, ...]:
    """What takes a superuser's rights from a command; nothing where the tests have none."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root's rights cannot be taken from it")
    return ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


def test_a_user_without_rights(plain: Path, tmp_path: Path) -> None:
    """No home, a folder that may not be looked into, a place that may not be written."""
    images = tmp_path / "images"
    (images / "closed").mkdir(parents=True)
    shutil.copyfile(plain / "cell µm.tif", images / "cell µm.tif")
    (images / "closed").chmod(0)
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o500)
    rights = _without_rights()
    environment: dict[str, str | None] = {"HOME": "/nonexistent", "XDG_CACHE_HOME": None}
    restore = ("restore", str(images), *RESTORE[2:], "--package", "p.zip", "--output")
    done = _run(plain, *restore, str(tmp_path / "r"), environment=environment, prefix=rights)
    assert done.returncode == 1
    assert b"closed" in done.stdout + done.stderr
    assert b"Traceback" not in done.stderr
    assert _contents(tmp_path / "r") == _contents(plain / "r")
    commands = (
        *(*restore, str(shut / "r"), "//"),
        *("simulate", "--fields", "1", "--size", "32", "--output", str(shut / "s"), "//"),
        *(*EXPORT, "--output", str(shut / "o"), "//"),
        *("verify", "p.zip", "--rules-only", "--page", str(shut / "p.html")),
    )
    done = _run(plain, *commands, environment=environment, prefix=rights)
    codes = done.stdout.split()[-5:]
    assert codes[0] == b"codes:"
    assert {*codes[1:]} <= {b"1", b"2"}
    assert (done.stdout + done.stderr).count(b"Permission denied") >= 4
    assert b"Traceback" not in done.stderr
    assert list(shut.iterdir()) == []
