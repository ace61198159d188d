"""Everything that runs the same network, on the same image: time, memory, share of the peak."""

from __future__ import annotations

import importlib.metadata
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.rival import GEMM, RIVALS
from tests.benchmarks.topic import (
    ROOT,
    BenchmarkError,
    Topic,
    command,
    environment,
    measured,
    operations_per_pixel,
    random_weights,
)
from w2s_export.config import GeneratorConfig
from w2s_export.export import default_weights
from w2s_export.sources.load import load_checkpoint

REMARK = (
    "Time: median of {turns} turns. CPU: what all threads computed, waiting in a loop included; "
    "where others use the machine it says more than the time. Peak: resident memory of the whole "
    "process. Share of GEMM: operations of direct convolutions a second, over those of a float32 "
    "matrix product that took turns with them ({gflops:.0f} GFLOP/s). Difference from the first "
    "row, over its range."
)
OURS = ("ours", "fast", "gemm")
PAUSE = 0.2
"""Seconds between turns: threads wait in a loop for a while for more work, and would take the next
rival's cores."""


def measure(quick: bool) -> list[Topic]:
    """The default network and four blocks of 64 features; of large images, ours alone."""
    size, turns = (96, 3) if quick else (128, 5)
    default = "default network, 3 blocks of 32 features"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        wide = random_weights(folder / "wide.npz", GeneratorConfig(nf=64, gc=32, nb=4))
        topics = [
            _compare(default, default_weights(), size, turns, RIVALS),
            _compare("4 blocks of 64 features", wide, size, turns, RIVALS),
        ]
        if not quick:
            full = random_weights(folder / "full.npz", GeneratorConfig())
            topics += [
                _compare(default, default_weights(), 256, 7, OURS),
                _compare("4 blocks of 64 features", wide, 256, 7, OURS),
                _compare("23 blocks of 64 features", full, 256, 2, OURS),
            ]
        return topics


def _compare(title: str, weights: Path, size: int, turns: int, names: Iterable[str]) -> Topic:
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as ends:
        folder = Path(temporary)
        measured("prepare", weights, size, folder)
        rivals = {name: _Rival(name, folder, ends) for name in names if _installed(name)}
        order = np.random.default_rng(0)
        for _ in range(turns):
            for name in order.permutation(list(rivals)):
                time.sleep(PAUSE)
                rivals[name].turn()
        outputs = {name: np.load(folder / f"{name}.npy") for name in rivals if name != "gemm"}
    gemm = 2 * GEMM**3 / statistics.median(rivals["gemm"].seconds)
    operations = operations_per_pixel(load_checkpoint(weights).config) * size**2
    expected, first = outputs["ours"], statistics.median(rivals["ours"].seconds)
    rows = []
    for name, output in outputs.items():
        seconds = statistics.median(rivals[name].seconds)
        rows.append(
            {
                "engine": RIVALS[name][0],
                "time, ms": round(1e3 * seconds),
                "fastest, ms": round(1e3 * min(rivals[name].seconds)),
                "CPU, ms": round(1e3 * statistics.median(rivals[name].busy)),
                "of restore's": round(seconds / first, 2),
                "peak, MB": round(rivals[name].peak / 1e6),
                "share of GEMM": f"{operations / seconds / gemm:.0%}",
                "difference": float(f"{np.abs(output - expected).max() / np.ptp(expected):.1e}"),
            }
        )
    remark = REMARK.format(turns=turns, gflops=gemm / 1e9)
    return Topic(f"Restoring {size}²: {title}", rows, remark)


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(RIVALS[name][1])
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


class _Rival:
    """A process that waits for its turn."""

    def __init__(self, name: str, folder: Path, ends: ExitStack) -> None:
        self._name, self.peak = name, 0
        self.seconds: list[float] = []
        self.busy: list[float] = []
        self._errors = folder / f"{name}.txt"
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                command("rival", name, folder), cwd=ROOT, env=environment(), text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        ends.callback(self._end)
        self._answer()

    def turn(self) -> None:
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._answer()
        self.seconds.append(answer["seconds"])
        self.busy.append(answer["busy"])
        self.peak = answer["peak"]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("{"):  # libraries print too
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise BenchmarkError(f"{self._name}: {self._errors.read_text()[-2000:]}")

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()
