"""A run killed at random moments, again and again, ends in the files of an undisturbed one.

W2S_KILLS and W2S_IMAGES ask for more than the few that every test run does, as `nox -s thorough`
does.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from w2s_export.package.archive import Packages

KILLS = int(os.environ.get("W2S_KILLS", 1))
IMAGES = int(os.environ.get("W2S_IMAGES", 4))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("form", ["tiff", "ome-zarr"])
def test_killed_at_random_moments(form: str, packages: Packages, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for number in range(IMAGES):
        shape = (300 + 10 * (number % 7), 320)
        tifffile.imwrite(tmp_path / "in" / f"{number:03}.tif", rng.integers(0, 900, shape, "u2"))

    def files(folder: Path) -> dict[str, bytes]:
        found = [path for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}

    def start(output: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "w2s_export", "restore", "in", "--output", output]
        command += ["--package", str(packages.bioimageio), "--engine", "cpu", "--threads", "1"]
        command += ["--memory", "400MB", "--format", form]
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)

    begun = time.monotonic()
    assert start("undisturbed").wait() == 0
    lasted = time.monotonic() - begun
    expected = files(tmp_path / "undisturbed")
    assert len({name.split("/")[0] for name in expected}) == IMAGES
    moments = random.Random(1)  # noqa: S311
    killed = 0
    while killed < KILLS:
        process = start("o")
        time.sleep(moments.uniform(0.2, 0.9) * lasted)
        if process.poll() is None:
            process.kill()
            killed += 1
        process.wait()
        seen = files(tmp_path / "o")  # whole at any moment
        assert {name: seen[name] for name in seen if name[0] != "."}.items() <= expected.items()
        if process.returncode == 0:  # all was finished before the kill: begin again
            shutil.rmtree(tmp_path / "o")
    assert start("o").wait() == 0
    assert files(tmp_path / "o") == expected
