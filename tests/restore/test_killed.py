"""A run killed at random moments, again and again, ends in the files of an undisturbed one.

W2S_KILLS and W2S_IMAGES ask for more than the few that every test run does.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from w2s_export.package.archive import Packages

KILLS = int(os.environ.get("W2S_KILLS", 3))
IMAGES = int(os.environ.get("W2S_IMAGES", 8))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.slow
def test_killed_at_random_moments(packages: Packages, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for number in range(IMAGES):
        shape = (300 + 10 * (number % 7), 320)
        tifffile.imwrite(tmp_path / "in" / f"{number:03}.tif", rng.integers(0, 900, shape, "u2"))

    def start(output: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "w2s_export", "restore", "in", "--output", output]
        command += ["--package", str(packages.bioimageio), "--engine", "cpu", "--threads", "1"]
        command += ["--memory", "320MB"]
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)

    begun = time.monotonic()
    assert start("undisturbed").wait() == 0
    lasted = time.monotonic() - begun
    moments = random.Random(1)  # noqa: S311
    killed = 0
    while killed < KILLS:
        process = start("o")
        time.sleep(moments.uniform(0.2, 0.9) * lasted)
        if process.poll() is None:
            process.kill()
            killed += 1
        process.wait()
        for file in (tmp_path / "o").glob("[0-9]*.tif"):  # whole at any moment
            assert tifffile.imread(file).shape[1] == 640
        if process.returncode == 0:  # all was finished before the kill: begin again
            for file in (tmp_path / "o").iterdir():
                file.unlink()
    assert start("o").wait() == 0
    expected = {path.name: path.read_bytes() for path in (tmp_path / "undisturbed").iterdir()}
    assert len(expected) == IMAGES
    assert {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()} == expected
