"""Which engine was the fastest, kept from run to run in the user's cache folder.

One for each network, tile shape, number of threads, processor and set of engines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from w2s_export.io import user_cache
from w2s_export.runtime.processor import processor

_KIND = "engines"


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
            _version("openvino"),
        )
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _version(package: str) -> str:
    """Of an installed package; empty where it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def recall(key: str) -> str | None:
    """The engine, if one is remembered."""
    engine = user_cache.recall(_KIND, key).get("engine")
    return engine if isinstance(engine, str) else None


def remember(key: str, engine: str) -> None:
    """Keep the engine."""
    user_cache.remember(_KIND, key, {"engine": engine})
