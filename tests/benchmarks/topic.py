"""One table of results, the machine it was measured on, and processes that are measured."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from w2s_export.config import GeneratorConfig, PercentileNormalisation, Provenance
from w2s_export.networks.layout import tensor_shapes
from w2s_export.runtime.processor import processor
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.npz_checkpoint import save_checkpoint

ROOT = Path(__file__).resolve().parents[2]


class BenchmarkError(RuntimeError):
    """A measured process that failed, and the end of what it said."""


@dataclass(frozen=True)
class Topic:
    """A table: rows of the same keys, which are its columns."""

    title: str
    rows: list[dict[str, Any]]
    remark: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def as_markdown(self) -> str:
        lines = [f"## {self.title}", ""]
        if self.rows:
            lines += [_line(self.rows[0]), "|" + "---|" * len(self.rows[0])]
            lines += [_line(row.values()) for row in self.rows] + [""]
        return "\n".join(lines + ([self.remark, ""] if self.remark else []))


def _line(cells: Any) -> str:
    texts = (f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells)
    return "| " + " | ".join(texts) + " |"


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    versions = {name: _version(name) for name in ("onnxruntime", "tensorflow", "torch", "openvino")}
    load = [round(value, 1) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None
    return {
        "processor": processor().name,
        "features": ", ".join(processor().features),
        "cores": os.cpu_count(),
        **{name: version for name, version in versions.items() if version},
        "load": load,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def command(module: str, *arguments: object) -> list[str]:
    """Runs a module of this package."""
    return [sys.executable, "-m", f"tests.benchmarks.{module}", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}


def measured(module: str, *arguments: object) -> dict[str, Any]:
    """What a process of its own reports: the JSON of its last line.

    Raises:
        BenchmarkError: it failed.
    """
    done = subprocess.run(
        command(module, *arguments), cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    if done.returncode != 0:
        raise BenchmarkError(f"{module} {arguments}: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def peak_bytes() -> int:
    """Largest resident memory of this process so far.

    Linux's `ru_maxrss` counts the parent's too, from before the program was loaded.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) << 10
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def random_weights(path: Path, config: GeneratorConfig) -> Path:
    """A checkpoint of random weights, the trunk's small as in a trained network."""
    rng = np.random.default_rng(0)
    weights = {}
    for name, shape in tensor_shapes(config).items():
        spread = (2 / np.prod(shape[:-1])) ** 0.5 * (0.1 if name.startswith("body") else 1)
        weights[name] = (spread * rng.standard_normal(shape)).astype(np.float32)
    checkpoint = Checkpoint(
        config, weights, PercentileNormalisation(), Provenance(name="benchmark")
    )
    return save_checkpoint(checkpoint, path)


def operations_per_pixel(config: GeneratorConfig) -> int:
    """Floating-point operations of direct convolutions, for each input pixel."""
    total = 0
    for name, shape in tensor_shapes(config).items():
        fine = name.startswith(("conv_hr", "conv_last"))
        if name.endswith("kernel"):
            total += 2 * int(np.prod(shape)) * (config.scale**2 if fine else 1)
    return total
