"""How long an export takes, by stage, verification included."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.topic import Topic, measured, peak_bytes
from w2s_export.export import default_weights, export
from w2s_export.options import ExportOptions
from w2s_export.resources import model_folder


def measure(quick: bool) -> list[Topic]:
    """The default model, and the trained one of 23 blocks of 64 features."""
    networks = {"default": default_weights()}
    if not quick:
        networks["23 blocks"] = model_folder("wf2sim-structures-l") / "weights.npz"
    results = {name: measured("exports", weights) for name, weights in networks.items()}
    stages = dict.fromkeys(stage for result in results.values() for stage in result["seconds"])
    rows: list[dict[str, object]] = [
        {"stage": stage, **{name: r["seconds"].get(stage, "") for name, r in results.items()}}
        for stage in stages
    ]
    total = {name: round(sum(r["seconds"].values()), 1) for name, r in results.items()}
    rows.append({"stage": "all, s", **total})
    for key, words in (("peak", "peak of the process, MB"), ("sum", "peak of all processes, MB")):
        rows.append({"stage": words, **{n: round(r[key] / 1e6) for n, r in results.items()}})
    return [Topic("Exporting, seconds by stage", rows)]


@contextmanager
def _summed_memory() -> Iterator[list[int]]:
    """Bytes of this process and its children together (shared pages once), again and again."""
    import psutil

    seen, over = [0], threading.Event()

    def look() -> None:
        own = psutil.Process()
        while not over.wait(0.2):
            total = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:  # it has ended meanwhile
                    continue
            seen.append(total)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def main(weights: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary, _summed_memory() as seen:
        result = export(ExportOptions(weights, output=temporary))
    assert result.report.passed
    print(json.dumps({"seconds": result.seconds, "peak": peak_bytes(), "sum": max(seen)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
