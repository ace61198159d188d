"""Everything that runs the same network, on the same image: time, memory, share of the peak."""

from __future__ import annotations

import importlib.metadata
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from w2s_export.resources import model_folder
from w2s_export.runtime.openvino import import_without_telemetry
from w2s_export.runtime.precision import precision_error
from w2s_export.sources.load import load_network

REMARK = (
    "{turns} turns in random order with pauses: median and quartiles. CPU: what all threads "
    "computed, waiting in a loop included; where others use the machine it says more than the "
    "time. Peak: resident memory of the whole process. Share of GEMM: operations of direct "
    "convolutions per second, over those of a float32 matrix product that took turns with them "
    "({gflops:.0f} GFLOP/s). Difference from ONNX Runtime, over its range. The engine that auto "
    "chose: {chosen}."
)
FLOAT32 = ("auto", "ours", "fast", "openvino", "saved_model", "keras", "pytorch", "bioimageio")
LARGE = ("auto", "ours", "fast", "openvino", "saved_model", "pytorch")
HALF = ("half", "pytorch_half")
PAUSE = 0.2
"""Seconds between turns: threads wait in a loop for a while for more work, and would take the next
rival's cores."""


def measure(quick: bool) -> Iterator[Topic]:
    """Three networks at three sizes, in float32 and, where the processor has it, in 16 bits."""
    default = "3 blocks of 32 features"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        wide = random_weights(folder / "wide.npz", GeneratorConfig(nf=64, gc=32, nb=4))
        plans: list[tuple[str, Path, int, int]] = [(default, default_weights(), 128, 9)]
        if quick:
            plans = [(default, default_weights(), 96, 3)]
        else:
            full = model_folder("wf2sim-structures-l") / "weights.npz"
            plans += [
                (default, default_weights(), 256, 7),
                (default, default_weights(), 512, 5),
                ("4 blocks of 64 features", wide, 128, 7),
                ("4 blocks of 64 features", wide, 256, 5),
                ("4 blocks of 64 features", wide, 512, 3),
                ("23 blocks of 64 features", full, 128, 5),
                ("23 blocks of 64 features", full, 256, 3),
                ("23 blocks of 64 features", full, 512, 2),
            ]
        for title, weights, size, turns in plans:
            yield from _compare(title, weights, size, turns)


def _compare(title: str, weights: Path, size: int, turns: int) -> list[Topic]:
    names = FLOAT32 if size <= 128 else LARGE
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as ends:
        folder = Path(temporary)
        measured("prepare", weights, size, folder)
        wanted = [name for name in (*names, *(HALF if _has_half() else ())) if _installed(name)]
        rivals = {name: _Rival(name, folder, ends) for name in (*wanted, "gemm") if name != "auto"}
        for rival in rivals.values():  # they load beside each other
            rival.wait()
        rivals["auto"] = _Rival("auto", folder, ends)  # alone: it times engines when it is loaded
        rivals["auto"].wait()
        order = np.random.default_rng(0)
        for _ in range(turns):
            for name in order.permutation(list(rivals)):
                time.sleep(PAUSE)
                rivals[name].turn()
        outputs = {name: np.load(folder / f"{name}.npy") for name in wanted}
    gemm = 2 * GEMM**3 / statistics.median(rivals["gemm"].seconds)
    checkpoint = load_network(weights).checkpoint
    assert checkpoint is not None
    work = operations_per_pixel(checkpoint.config) * size**2 / gemm
    best = min(
        statistics.median(rivals[name].seconds) for name in wanted if name not in ("auto", *HALF)
    )
    rows = {
        name: _row(rivals[name], best, work, output, outputs["ours"])
        for name, output in outputs.items()
    }
    chosen = rivals["auto"].said.get("chosen", "")
    remark = REMARK.format(turns=turns, gflops=gemm / 1e9, chosen=chosen)
    found = [Topic(f"{title}, {size}², float32", [rows[n] for n in wanted if n in names], remark)]
    if halves := [rows[name] for name in wanted if name in HALF]:
        found.append(Topic(f"{title}, {size}², 16 bits", halves, "In turns with float32 above."))
    return found


def _row(
    rival: _Rival,
    best: float,
    work: float,
    output: NDArray[np.float32],
    expected: NDArray[np.float32],
) -> dict[str, Any]:
    low, seconds, high = np.percentile(rival.seconds, [25, 50, 75])
    error = precision_error(output, expected)
    return {
        "engine": RIVALS[rival.name][0],
        "time, ms": round(1e3 * seconds, 1),
        "quartiles, ms": f"{1e3 * low:.1f} – {1e3 * high:.1f}",
        "of the best float32 rival's": round(seconds / best, 2),
        "CPU, ms": round(1e3 * statistics.median(rival.busy)),
        "peak, MB": round(rival.peak / 1e6),
        "share of GEMM": f"{work / seconds:.0%}",
        "largest difference": float(f"{error.largest:.1e}"),
        "rms, dB": round(error.decibels, 1) if error.rms else "",
    }


def _has_half() -> bool:
    if not _installed("openvino"):
        return False
    core = import_without_telemetry().Core()
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(RIVALS[name][1])
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


class _Rival:
    """A process that waits for its turn."""

    def __init__(self, name: str, folder: Path, ends: ExitStack) -> None:
        self.name, self.peak = name, 0
        self.seconds: list[float] = []
        self.busy: list[float] = []
        self.said: dict[str, Any] = {}
        self._errors = folder / f"{name}.txt"
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                command("rival", name, folder), cwd=ROOT, env=environment(), text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        ends.callback(self._end)

    def wait(self) -> None:
        """Until it is loaded and warm."""
        self.said = self._answer()

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
        raise BenchmarkError(f"{self.name}: {self._errors.read_text()[-2000:]}")

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()
