"""What restores the tiles of a run, and how far 16-bit arithmetic is from float32 on its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2s_export.data.busiest_region import busiest_part
from w2s_export.io.files import sha256_of
from w2s_export.options import Engine, Precision
from w2s_export.restore.fields import NormalisedField
from w2s_export.restore.network import ReadyNetwork
from w2s_export.restore.pipeline import SerialRuntime
from w2s_export.restore.tiling import restore_tiled
from w2s_export.runtime.choice_cache import Key
from w2s_export.runtime.choose import Candidate, candidates, open_engine
from w2s_export.runtime.onnx_runtime import OnnxOptions, OnnxRuntime
from w2s_export.runtime.precision import PrecisionError, PrecisionRefusedError, precision_error
from w2s_export.runtime.protocol import Runtime
from w2s_export.runtime.threads import usable_cores
from w2s_export.runtime.trial import AutoRuntime, Choice

_LEAST_APART = 2 << 30
"""Bytes that the process of a graph of others may take in any case; else half more than planned."""
_SHARE = 0.02
"""Part of an image that is compared: float32 takes up to four times as long as 16 bits there."""
_SIDES = (64, 256)
"""Smallest and largest side of the part, input pixels."""
_LEAST_MEMORY = 2 << 30
"""Bytes for two engines at once, in a trial."""
_PLACES = 3
"""Places along each axis, and planes, among which the busiest part is compared."""


@dataclass(frozen=True, slots=True)
class Engines:
    """What restores the tiles of a run in this process."""

    runtime: SerialRuntime
    float32: SerialRuntime | None
    """What 16-bit results are compared with; None where the run is float32."""
    asked: Engine

    @property
    def choice(self) -> Choice:
        """Which engine restores, and why."""
        runtime = self.runtime.runtime
        if isinstance(runtime, AutoRuntime):
            return runtime.choice
        return Choice(self.asked, runtime.name, "asked")

    def stop(self) -> None:
        """Compute nothing more."""
        self.runtime.stop()

    def error_on(
        self, fields: Sequence[NormalisedField], network: ReadyNetwork
    ) -> PrecisionError | None:
        """How far the run's arithmetic is from float32, on the busiest part of an image.

        Args:
            fields: the image's planes.
            network: how to feed the runtimes.

        Returns:
            None where the run is float32.

        Raises:
            PrecisionRefusedError: too far.
        """
        if self.float32 is None:
            return None
        part = _part_to_compare(fields)
        result, expected = (
            restore_tiled(
                runtime,
                part,
                scale=network.scale,
                halo=0,
                tile=max(part.shape[1:]),
                step=network.step,
                fixed=network.fixed,
            )
            for runtime in (self.runtime, self.float32)
        )
        error = precision_error(result, expected)
        if not error.allowed:
            raise PrecisionRefusedError(
                f"--precision 16: {self.runtime.name} is {error}, too far; restore without it"
            )
        return error


def open_engines(
    network: ReadyNetwork,
    engine: Engine,
    threads: int | None,
    precision: Precision,
    memory: int,
    pixels: int,
) -> Engines:
    """Open what restores a run.

    Args:
        network: its files.
        engine: as asked for.
        threads: as asked for.
        precision: of the arithmetic, bits.
        memory: bytes the process may take; other engines are not tried where it is little.
        pixels: input pixels of the whole run; 0 to time nothing.

    Raises:
        ConfigError: the engine is not there, or has no 16-bit arithmetic.
        MissingExtraError: its library is not installed.
        PackageError: it refuses the file.
    """
    onnx, apart = network.onnx, max(_LEAST_APART, 3 * memory // 2) if network.foreign else None
    if precision == 16:
        half = open_engine(engine, onnx, threads, 16, apart=apart)
        direct = open_engine("cpu", onnx, threads, apart=apart)
        return Engines(SerialRuntime(half), SerialRuntime(direct), engine)
    first: Engine = "cpu" if engine == "auto" else engine
    runtime: Runtime = open_engine(first, onnx, threads, apart=apart)
    if engine == "auto":
        key = Key(sha256_of(onnx), threads or usable_cores())
        # Engines are compared on part of a tile, which a network of one size does not read.
        tried = memory >= _LEAST_MEMORY and network.fixed is None
        others = (
            [*candidates(onnx, threads, apart=apart), *_fast(network, threads)] if tried else []
        )

        def reopen() -> Runtime:
            return open_engine("cpu", onnx, threads, apart=apart)

        runtime = AutoRuntime(runtime, others, pixels=pixels, key=key, reopen=reopen)
        if not tried:
            runtime.choice.reason = "untried"
    return Engines(SerialRuntime(runtime), None, engine)


def _fast(network: ReadyNetwork, threads: int | None) -> list[Candidate]:
    """ONNX Runtime with the Winograd graph, where there is one."""
    if (make := network.fast) is None:
        return []
    return [Candidate("cpu-fast", lambda: OnnxRuntime(make(), OnnxOptions(threads)), 2)]


def _part_to_compare(fields: Sequence[NormalisedField]) -> NDArray[np.float32]:
    _, height, width = fields[0].shape
    side = round((_SHARE * height * width * len(fields)) ** 0.5)
    side = min(max(side, _SIDES[0]), _SIDES[1])
    height, width = min(height, side), min(width, side)
    planes = {0, len(fields) // 2, len(fields) - 1}
    parts = []
    for plane in sorted(planes):
        y, x = busiest_part(fields[plane], height, width, most=_PLACES)
        parts.append(fields[plane][:, y : y + height, x : x + width])
    return max(parts, key=lambda part: float(part.var()))
