"""Announces stages and remembers how long each took."""

from __future__ import annotations

import time
from collections.abc import Callable


class StageClock:
    """Call it with a stage's name when the stage begins; `finish` gives the seconds of each."""

    def __init__(self, announce: Callable[[str], None]) -> None:
        self._announce = announce
        self._seconds: dict[str, float] = {}
        self._current: tuple[str, float] | None = None

    def __call__(self, stage: str) -> None:
        """Begin a stage, and end the one before."""
        self._close()
        self._current = (stage, time.perf_counter())
        self._announce(stage)

    def say(self, step: str) -> None:
        """Announce a step inside the present stage."""
        self._announce(step)

    def finish(self) -> dict[str, float]:
        """End the last stage; seconds by stage, in order."""
        self._close()
        return self._seconds

    def _close(self) -> None:
        if self._current is not None:
            stage, start = self._current
            self._seconds[stage] = round(time.perf_counter() - start, 2)
            self._current = None
