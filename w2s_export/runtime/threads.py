"""How many threads compute: the one place that decides."""

from __future__ import annotations

import math
import os
from pathlib import Path

GROUP = Path("/sys/fs/cgroup")
"""Control groups, where Linux limits containers and batch jobs."""


def usable_cores() -> int:
    """Cores this process may use: its affinity, and no more than its control group's share."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        cores = os.cpu_count() or 1
    return max(1, min(cores, _share() or cores))


def _share() -> int | None:
    """Processors that the control group grants, rounded up; None where nothing limits them."""
    try:  # version 2: "QUOTA PERIOD", or "max PERIOD"
        quota, period = (GROUP / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:  # version 1: -1 for no limit
            quota, period = (
                (GROUP / "cpu" / f"cpu.cfs_{name}_us").read_text().strip()
                for name in ("quota", "period")
            )
        except OSError:
            return None
    limited = quota.isdigit() and period.isdigit() and int(period) > 0
    return math.ceil(int(quota) / int(period)) if limited else None
