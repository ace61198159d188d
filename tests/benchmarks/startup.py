"""What a command takes besides its work: help, rules, the description of a file, one image."""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.topic import BenchmarkError, Topic, environment, measured
from w2s_export.cli import run
from w2s_export.export import default_weights
from w2s_export.formats import onnx
from w2s_export.restore import engines
from w2s_export.runtime.protocol import Runtime

SIZE = 512
PAUSE = 0.2
IMAGE, RESTORED = "image.tif", "restored"
OURS = (sys.executable, "-m", "w2s_export")
THEIRS = (sys.executable, "-m", "bioimageio.core")
REMARK = (
    "Each a process of its own, {turns} turns in random order after one that fills the caches. "
    "CPU: of the process and all that it started. The kernel of {size}² and its halo takes "
    "{kernel:.2f} s, measured once a turn in a process of its own: the median of 3 runs."
)


@dataclass(slots=True)
class _Command:
    title: str
    arguments: list[str]
    rival: str = ""
    """Title of the command of ours that does the same."""
    output: Path | None = None
    """Folder that it writes, removed before each turn."""
    kernel: bool = False
    """Whether it runs the network."""
    seconds: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)

    def turn(self) -> None:
        if self.output is not None:
            shutil.rmtree(self.output, ignore_errors=True)
        before, start = _children(), time.perf_counter()
        done = subprocess.run(self.arguments, capture_output=True, text=True, env=environment())
        self.seconds.append(time.perf_counter() - start)
        self.busy.append(_children() - before)
        if done.returncode != 0:
            raise BenchmarkError(f"{self.title}: {done.stderr[-2000:]}")


def measure(quick: bool) -> Iterator[Topic]:
    """Our commands, and what bioimageio.core has of the same kind."""
    import tifffile

    turns = 3 if quick else 9
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _Command("export", [*OURS, "--output", str(folder), "--overwrite"]).turn()
        (package,) = folder.glob("*.bioimageio.zip")
        with ZipFile(package) as archive:
            archive.extract(onnx.FILE, folder)
        rng = np.random.default_rng(0)
        counts = rng.integers(100, 900, (SIZE, SIZE)).astype(np.uint16)
        tifffile.imwrite(folder / IMAGE, counts)
        kernels = []
        commands = list(_commands(folder))
        for command in commands:
            command.turn()
            command.seconds.clear()
            command.busy.clear()
        order = np.random.default_rng(0)
        for _ in range(turns):
            kernels.append(measured("startup", folder)["seconds"])
            for number in order.permutation(len(commands)):
                time.sleep(PAUSE)
                commands[number].turn()
    ours = {command.title: statistics.median(command.seconds) for command in commands}
    rows, kernel = [], statistics.median(kernels)
    for command in commands:
        low, median, high = np.percentile(command.seconds, [25, 50, 75])
        rows.append(
            {
                "command": command.title,
                "time, s": round(median, 2),
                "quartiles, s": f"{low:.2f} – {high:.2f}",
                "CPU, s": round(statistics.median(command.busy), 2),
                "beyond the kernel, s": round(median - kernel, 2) if command.kernel else "",
                "times ours": round(median / ours[command.rival], 1) if command.rival else "",
            }
        )
    yield Topic("Starting", rows, REMARK.format(turns=turns, size=SIZE, kernel=kernel))


def _commands(folder: Path) -> Iterator[_Command]:
    (package,) = (str(path) for path in folder.glob("*.bioimageio.zip"))
    predicted = folder / "predicted"
    yield _Command("--help", [*OURS, "--help"])
    yield _Command("inspect WEIGHTS.npz", [*OURS, "inspect", str(default_weights())])
    yield _Command("inspect NETWORK.onnx", [*OURS, "inspect", str(folder / onnx.FILE)])
    rules = "verify PACKAGE --rules-only"
    yield _Command(rules, [*OURS, "verify", package, "--rules-only"])
    validate = [*THEIRS, "validate-format", package]
    yield _Command("bioimageio validate-format PACKAGE", validate, rules)
    one = f"restore IMAGE ({SIZE}²)"
    yield _Command(one, [*OURS, *_restore(folder)], "", folder / RESTORED, kernel=True)
    inputs, outputs = json.dumps([str(folder / IMAGE)]), str(predicted / "{sample_id}.tif")
    predict = ["predict", package, "--inputs", inputs, "--outputs", outputs]
    yield _Command(
        f"bioimageio predict IMAGE ({SIZE}²)",
        [*THEIRS, *predict, "--weight-format", "onnx"],
        one,
        predicted,
        kernel=True,
    )


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(folder: Path) -> None:
    """Seconds of the kernel alone, on what `restore` gives it: the image and its halo."""
    opened, given = engines.open_engine, []

    def open_engine(*arguments: Any, **named: Any) -> Runtime:
        run = opened(*arguments, **named)
        return _Noting(run, given)

    engines.open_engine = open_engine
    if run([*_restore(folder), "--overwrite", "--json"]) != 0:
        raise SystemExit(1)
    kernel = opened("cpu", folder / onnx.FILE)
    kernel(given[0])
    spent = []
    for _ in range(3):
        start = time.perf_counter()
        kernel(given[0])
        spent.append(time.perf_counter() - start)
    print(json.dumps({"seconds": statistics.median(spent)}))


class _Noting:
    """A runtime, and what it is given."""

    def __init__(self, runtime: Runtime, given: list[NDArray[np.float32]]) -> None:
        self.name, self._runtime, self._given = runtime.name, runtime, given

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self._given.append(batch)
        return self._runtime(batch)


def _restore(folder: Path) -> list[str]:
    (package,) = (str(path) for path in folder.glob("*.bioimageio.zip"))
    where = ["--package", package, "--output", str(folder / RESTORED), "--engine", "cpu"]
    return ["restore", str(folder / IMAGE), *where]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
