"""Finds the fastest engine on the first tile of a job, and remembers it.

The first tile is restored by ONNX Runtime, which tells how long the job will take. A fiftieth of
that may be spent on timing the other engines, on as large a part of the tile as fits. What an
engine makes of the part must be what ONNX Runtime makes of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.data.busiest_region import busiest_part
from w2s_export.errors import W2SExportError
from w2s_export.runtime.choice_cache import Key, recall, remember
from w2s_export.runtime.choose import Candidate
from w2s_export.runtime.protocol import Runtime, Stoppable, one_line

SHARE = 0.02
"""Part of the job's time that may go into timing engines."""
TOLERANCE = 1e-4
"""Largest difference between engines that count as the same image, part of the output's range.
Measured: OpenVINO 1.0e-6, the Winograd graph 4.3e-7; a layer in 16 bits leaves 1e-3 and more."""
REFERENCE = "cpu"
_RUNS = 3
"""Runs of each engine that must fit into the time; without them nothing is chosen."""
_MOST_RUNS = 10
"""Measured on two cores with AVX2: the fastest of 2 runs differs by up to 20 % from that of 10."""
_SIDES = (4096, 512, 256, 128, 64)
"""Of the part that engines are timed on: the largest that fits the time, best the whole tile."""
_HOPELESS = 1.5
"""An engine whose first two runs both took this much longer than the fastest's has no third. One
alone says little: the first allocates, and in the second some compile for the size."""


@dataclass(slots=True)
class Choice:
    """Which engine restores, and why."""

    engine: str
    name: str
    reason: str
    """`fastest`, `remembered`, `only` (no other is there), `untried` (others do not fit), `short`
    (no time to try others), `fallback` (the one that was chosen failed) or `asked`."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Fastest run of each engine on the part."""
    refused: dict[str, str] = field(default_factory=dict)
    """Why an engine was not taken whatever its speed."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "engine": self.engine,
            "name": self.name,
            "reason": self.reason,
            "seconds": {engine: round(spent, 4) for engine, spent in self.seconds.items()},
            "refused": self.refused,
        }

    def __str__(self) -> str:
        """One sentence for people."""
        reasons = {
            "fastest": "the fastest here",
            "remembered": "the fastest here in an earlier run",
            "only": "no other engine can be used here",
            "untried": "others are not tried with so little memory, or on tiles of one size",
            "fallback": "as the engine chosen before failed",
            "short": "the job is too short to try others",
            "asked": "as asked for",
        }
        times = ", ".join(f"{engine} {spent:.2g} s" for engine, spent in self.seconds.items())
        text = f"{self.name}, {reasons[self.reason]}" + (f" ({times})" if times else "")
        return "; ".join([text, *(f"{engine} {why}" for engine, why in self.refused.items())])


class AutoRuntime:
    """A runtime that becomes the fastest one once it has seen a tile.

    Args:
        reference: ONNX Runtime on the CPU; restores the first tile, and all where no other wins.
        candidates: the others.
        pixels: input pixels of the whole job, halos aside; 0 where unknown: nothing is timed.
        key: tells this network, by its fingerprint, and the threads from others; None to remember
            nothing.
        reopen: opens ONNX Runtime on the CPU again, if the chosen engine fails later on.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        reference: Runtime,
        candidates: Sequence[Candidate],
        *,
        pixels: int,
        key: Key | None = None,
        reopen: Callable[[], Runtime] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.candidates = {candidate.engine: candidate for candidate in candidates}
        self._reference, self._pixels, self._key, self._clock = reference, pixels, key, clock
        self._reopen, self._stopped = reopen, False
        self._runtime: Runtime | None = None
        self.choice = Choice(REFERENCE, reference.name, "short" if candidates else "only")

    @property
    def name(self) -> str:
        """Of the engine that restores."""
        return self.choice.name

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Restore: (N, C, H, W) → (N, C', scale·H, scale·W)."""
        if self._runtime is not None:
            return self._restored(self._runtime, batch)
        self._runtime = self._reference
        if not self.candidates or self._recall(batch):
            return self._restored(self._runtime, batch)
        seconds, restored = self._timed(self._reference, batch)
        size = batch[0, 0].size
        self._try(batch, seconds, SHARE * seconds * self._pixels / size)
        return restored

    def stop(self) -> None:
        """Give up the batch at work, if the engine can."""
        self._stopped = True
        if isinstance(self._runtime, Stoppable):
            self._runtime.stop()

    def _restored(self, runtime: Runtime, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """By the engine; where it fails or gives no numbers, from now on by ONNX Runtime."""
        chosen, reopen = self.choice.engine, self._reopen
        if chosen == REFERENCE or reopen is None:
            return runtime(batch)
        try:
            restored = runtime(batch)
            if np.isfinite(restored).all():
                return restored
            why = "gave values that are no numbers"
        except Exception as error:  # of any kind, as in a trial
            if self._stopped:
                raise
            why = f"failed: {one_line(error)}"
        again = reopen()
        self.choice.refused[chosen] = why
        self._take(REFERENCE, again, "fallback")
        return again(batch)

    def _recall(self, batch: NDArray[np.float32]) -> bool:
        """Take the engine that an earlier run found; whether there was one."""
        engine = recall(self._key.of(batch.shape, self.candidates)) if self._key else None
        if engine == REFERENCE:
            self._take(engine, self._reference, "remembered")
            return True
        if engine not in self.candidates:
            return False
        try:
            runtime = self.candidates[engine].open()
        except Exception:  # no longer there, or not enough memory: try what is
            return False
        self._take(engine, runtime, "remembered")
        return True

    def _try(self, batch: NDArray[np.float32], seconds: float, budget: float) -> None:
        """Time the engines that fit into the budget, on a part of the batch, and take the best."""
        chosen = [c for c in self.candidates.values() if 2 * c.opening < budget]
        opening = sum(candidate.opening for candidate in chosen)
        runs = _RUNS * (len(chosen) + 1)
        per_pixel = seconds / batch[0, 0].size
        part = next(
            (
                part
                for part in (_part(batch, side) for side in _SIDES)
                if opening + runs * per_pixel * part[0, 0].size < budget
            ),
            None,
        )
        if not chosen or part is None:
            return
        end = self._clock() + budget
        try:
            expected = self._reference(part)
        except W2SExportError:  # a part is not always a size that the network takes
            return
        runtimes, best = {REFERENCE: self._reference}, {REFERENCE: np.inf}
        for candidate in chosen:
            if (admitted := self._admitted(candidate, part, expected)) is not None:
                runtimes[candidate.engine], best[candidate.engine] = admitted
        timed: set[str] = set()
        for _ in range(_MOST_RUNS):
            for engine, runtime in list(runtimes.items()):
                hopeless = engine in timed and best[engine] > _HOPELESS * min(best.values())
                if hopeless or self._clock() > end:
                    continue
                spent = self._judged(engine, runtime, part, expected)
                if spent is None:
                    del runtimes[engine], best[engine]
                    timed.discard(engine)
                else:
                    best[engine] = min(best[engine], spent)
                    timed.add(engine)
        if len(timed) < len(runtimes):  # out of time: nothing to rely on
            return
        self.choice.seconds = best
        engine = min(best, key=lambda name: best[name])
        self._take(engine, runtimes[engine], "fastest" if len(runtimes) > 1 else "only")
        if self._key:
            remember(self._key.of(batch.shape, self.candidates), engine)

    def _admitted(
        self, candidate: Candidate, part: NDArray[np.float32], expected: NDArray[np.float32]
    ) -> tuple[Runtime, float] | None:
        """The engine, opened, and the seconds of its first run, if that is ONNX Runtime's image."""
        try:
            runtime = candidate.open()
        except Exception as error:  # of any kind: a broken installation costs its engine alone
            self.choice.refused[candidate.engine] = f"cannot run: {one_line(error)}"
            return None
        seconds = self._judged(candidate.engine, runtime, part, expected)
        return None if seconds is None else (runtime, seconds)

    def _judged(
        self,
        engine: str,
        runtime: Runtime,
        part: NDArray[np.float32],
        expected: NDArray[np.float32],
    ) -> float | None:
        """Seconds of a run; None, and the reason kept, where it is not ONNX Runtime's image.

        Every run is compared: some engines compile for a size after the first.
        """
        refused = self.choice.refused
        if engine == REFERENCE:
            return self._timed(runtime, part)[0]
        try:
            seconds, result = self._timed(runtime, part)
        except Exception as error:  # as when it is opened
            refused[engine] = f"cannot run: {one_line(error)}"
            return None
        if result.shape != expected.shape:
            refused[engine] = f"gives {result.shape} instead of {expected.shape}"
            return None
        extent = float(np.ptp(expected)) or 1.0
        difference = float(np.abs(result - expected).max()) / extent
        if not difference <= TOLERANCE:
            refused[engine] = (
                f"differs from ONNX Runtime by {difference:.1e} of the range and is not used"
            )
            return None
        return seconds

    def _take(self, engine: str, runtime: Runtime, reason: str) -> None:
        self._runtime = self._reference = runtime  # no other is needed, and each holds memory
        self.choice.engine, self.choice.name, self.choice.reason = engine, runtime.name, reason

    def _timed(
        self, runtime: Runtime, batch: NDArray[np.float32]
    ) -> tuple[float, NDArray[np.float32]]:
        begun = self._clock()
        restored = runtime(batch)
        return self._clock() - begun, restored


def _part(batch: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """The busiest part of the first image of the batch, at most `side` pixels high and wide."""
    height, width = (min(side, size) for size in batch.shape[2:])
    y, x = busiest_part(batch[0], height, width)
    return np.ascontiguousarray(batch[:1, :, y : y + height, x : x + width])
