"""`kill -9` in any phase, then `--resume`: the files of a training that was left alone.

W2S_KILLS asks for kills at random moments besides.
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
import yaml

from w2s_export.cli import run
from w2s_export.training.fit import STATE

KILLS = int(os.environ.get("W2S_KILLS", 0))
STEPS = 20 + 40 * KILLS
"""Of each phase: so many that random kills find it at work."""


def _arguments(config: Path, data: Path, output: Path, *options: str) -> list[str]:
    return ["train", str(config), "--data", str(data), "--output", str(output), *options]


def _start(arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "w2s_export", *arguments],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _kill_after(step: int, log: Path, arguments: list[str]) -> None:
    """Start a training, and kill it as soon as its log has the row of a step."""
    process = _start(arguments)
    try:
        while process.poll() is None:
            if log.exists() and f"\n{step}," in log.read_text():
                break
            time.sleep(0.002)
    finally:
        process.kill()
    _, said = process.communicate()
    assert process.returncode == -9, said.decode()


@pytest.mark.usefixtures("compiled_once")
@pytest.mark.xdist_group("fit")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    "phases",
    [("pixel",), pytest.param(("pixel", "adversarial"), marks=pytest.mark.thorough)],
    ids="-".join,
)
def test_killed_in_every_phase_it_ends_with_the_same_weights(
    data: Path, config: Path, tmp_path: Path, phases: tuple[str, ...]
) -> None:
    values = yaml.safe_load(config.read_text())
    values |= {"steps": STEPS, "validate_every": 4, "keep_every": 5}
    second = {**values.pop("adversarial"), "steps": STEPS}
    values |= dict.fromkeys(phases[1:], second)
    config.write_text(yaml.safe_dump(values))
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    _kill_after(6, killed / "losses-pixel.csv", _arguments(config, data, killed))
    again = _arguments(config, data, killed, "--resume")
    for moment in random.Random(0).choices(range(6, 18), k=KILLS):  # noqa: S311
        process = _start(again)
        time.sleep(moment)
        process.kill()
        _, said = process.communicate()
        assert process.returncode == -9, said.decode()
    for phase in phases[1:]:
        _kill_after(STEPS + 7, killed / f"losses-{phase}.csv", again)
    assert not (killed / "tiny-model.npz").exists()
    assert run(again) == 0
    assert run(_arguments(config, data, whole)) == 0

    names = sorted(path.name for path in whole.glob("*.csv"))
    assert len(names) == 2 * len(phases)
    for name in [*names, *(path.name for path in whole.glob("*.npz") if path.name != STATE)]:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    first, second = np.load(killed / STATE), np.load(whole / STATE)
    assert sorted(first.files) == sorted(second.files)
    for name in first.files:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
