"""How many threads compute: the one place that decides."""

from __future__ import annotations

import math
import os
from pathlib import Path

from w2s_export.io.control_groups import groups

MOST_THREADS = 1024
"""That may be asked for: 10,000 take 17 GB, and minutes to start."""


def usable_cores() -> int:
    """Cores this process may use: its affinity, and no more than its control groups' share."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        cores = os.cpu_count() or 1
    return max(1, min(cores, _share() or cores))


def _share() -> int | None:
    """Processors that the control groups grant, rounded up; None where nothing limits them."""
    granted = [share for group in groups("cpu") if (share := _share_of(group)) is not None]
    return math.ceil(min(granted)) if granted else None


def _share_of(group: Path) -> float | None:
    try:  # version 2: "QUOTA PERIOD", or "max PERIOD"
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:  # version 1: -1 for no limit
            quota, period = (
                (group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period")
            )
        except OSError:
            return None
    limited = quota.isdigit() and period.isdigit() and int(period) > 0
    return int(quota) / int(period) if limited else None
