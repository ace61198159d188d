"""Where a worker runs: a Python process of its own, with this very package."""

from __future__ import annotations

import os
from pathlib import Path

import w2s_export


def worker_environment(**variables: str) -> dict[str, str]:
    """Environment variables of a worker: ours, what every worker needs, and `variables`."""
    root = str(Path(w2s_export.__file__).absolute().parents[1])
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # glibc: memory freed by one thread serves the others, and feature maps are not given back
        # to the system only to be asked for, page by page, by the next layer.
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
        **variables,
    }
