"""Which engine was the fastest, kept from run to run in the user's cache folder.

One small file for each network, tile shape, number of threads, processor and set of engines. Each
is written beside its place and moved there, so processes may read and write at once; the oldest go
when there are too many. Whatever cannot be read or written counts as not remembered.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from w2s_export.errors import OutputError
from w2s_export.io.files import write_atomically
from w2s_export.runtime.processor import processor

MOST = 256
"""Choices that are kept."""
_MOST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Key:
    """What the fastest engine depends on, besides the tile and the machine."""

    fingerprint: str
    """Of the network's file."""
    threads: int

    def of(self, shape: tuple[int, ...], engines: Iterable[str]) -> str:
        """The name under which the choice for tiles of this shape is kept."""
        import onnxruntime

        parts = (
            self.fingerprint,
            self.threads,
            shape,
            str(processor()),
            sorted(engines),
            onnxruntime.__version__,
        )
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def folder() -> Path:
    """Where choices are kept; `XDG_CACHE_HOME` moves it on Linux."""
    from platformdirs import user_cache_path

    return user_cache_path("w2s-export", appauthor=False) / "engines"


def recall(key: str) -> str | None:
    """The engine, if one is remembered."""
    try:
        with (folder() / f"{key}.json").open("rb") as stream:
            stored = json.loads(stream.read(_MOST_BYTES))
        engine = stored["engine"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return engine if isinstance(engine, str) else None


def remember(key: str, engine: str) -> None:
    """Keep the engine, and drop the oldest choices beyond `MOST`."""
    place = folder()
    with suppress(OSError, OutputError):
        place.mkdir(parents=True, exist_ok=True)
        write_atomically(place / f"{key}.json", json.dumps({"engine": engine}).encode())
        oldest_last = sorted(
            place.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True
        )
        for file in oldest_last[MOST:]:
            file.unlink(missing_ok=True)
