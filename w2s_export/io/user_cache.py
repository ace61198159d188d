"""Small findings that are dear to make, kept from run to run in the user's cache folder.

One small file for each. It is written beside its place and moved there, so processes may read and
write at once; the oldest go when there are too many. Whatever cannot be read or written counts as
not kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from w2s_export.errors import OutputError
from w2s_export.io.files import write_atomically

MOST = 256
"""Findings of one kind that are kept."""
_MOST_BYTES = 4096


def folder(kind: str) -> Path:
    """Where findings of a kind are kept; `XDG_CACHE_HOME` moves it on Linux."""
    from platformdirs import user_cache_path

    return user_cache_path("w2s-export", appauthor=False) / kind


def recall(kind: str, key: str) -> Mapping[str, Any]:
    """What was found; empty if nothing is kept."""
    try:
        with (folder(kind) / f"{key}.json").open("rb") as stream:
            found = json.loads(stream.read(_MOST_BYTES))
    except (OSError, ValueError, RuntimeError):  # RuntimeError: no home, or nested too deep
        return {}
    return found if isinstance(found, dict) else {}


def remember(kind: str, key: str, found: Mapping[str, Any]) -> None:
    """Keep a finding, and drop the oldest of its kind beyond `MOST`."""
    with suppress(OSError, OutputError, RuntimeError):  # RuntimeError: a user without a home
        place = folder(kind)
        place.mkdir(parents=True, exist_ok=True)
        write_atomically(place / f"{key}.json", json.dumps(found).encode())
        oldest_last = sorted(
            place.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True
        )
        for file in oldest_last[MOST:]:
            file.unlink(missing_ok=True)
