"""A training step against PyTorch, where the benchmark of it and PyTorch are there."""

from __future__ import annotations

import re
import subprocess
from importlib.util import find_spec

from tests.benchmarks.topic import ROOT, BenchmarkError, Topic, command, environment


def measure(quick: bool) -> list[Topic]:
    """What `training_step` prints, as a table."""
    if not find_spec("torch") or not find_spec("tests.benchmarks.training_step"):
        return [
            Topic("A training step", [], "Not measured: it needs `training_step.py` and PyTorch.")
        ]
    done = subprocess.run(
        command("training_step", "--least", 0, "--turns", 5 if quick else 15),
        cwd=ROOT, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        raise BenchmarkError(f"training_step: {done.stderr[-2000:]}")
    rows = [
        {"training with": name, "median step, ms": int(median), "fastest, ms": int(fastest)}
        for name, median, fastest in re.findall(
            r"(.+): median (\d+) ms a step, fastest (\d+) ms", done.stdout
        )
    ]
    return [Topic("A training step", rows, done.stdout.splitlines()[-1] + " of throughput.")]
