"""Measures speed and memory, and writes `benchmarks.md` and `benchmarks.json`.

    python -m tests.benchmarks [TOPIC …] [--quick] [--output FOLDER]

Topics: engines, folder, sizes, workers, startup, exports, training.

An hour and a half on a quiet machine of two cores, and each table is written when it is measured;
`--quick` takes fewer turns and says less. Every number comes from processes of their own; rivals
take turns, so that whatever else the machine does slows all of them, and medians are compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.benchmarks import engines, exports, folder, sizes, startup, training, workers
from tests.benchmarks.topic import Topic, machine

TOPICS: dict[str, Callable[[bool], Iterable[Topic]]] = {
    "engines": engines.measure,
    "folder": folder.measure,
    "sizes": sizes.measure,
    "workers": workers.measure,
    "startup": startup.measure,
    "exports": exports.measure,
    "training": training.measure,
}


def main() -> int:
    """Measure the chosen topics, all by default; each table is on disk when it is measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=", ".join(TOPICS))
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    parser.add_argument("--quick", action="store_true", help="fewer turns, smaller images")
    options = parser.parse_args()
    if unknown := set(options.topics) - set(TOPICS):
        parser.error(f"no topic {', '.join(sorted(unknown))}; there are {', '.join(TOPICS)}")
    options.output.mkdir(parents=True, exist_ok=True)
    before = machine()
    done: list[Topic] = []
    for name in options.topics or TOPICS:
        print(f"{name} …", file=sys.stderr, flush=True)
        for topic in TOPICS[name](options.quick):
            done.append(topic)
            _write(options.output, before, done)
    print((options.output / "benchmarks.md").read_text(encoding="utf-8"))
    return 0


def _write(folder: Path, before: dict[str, Any], done: list[Topic]) -> None:
    document = {
        "machine": before,
        "load_after": machine()["load"],
        "topics": [topic.as_dict() for topic in done],
    }
    (folder / "benchmarks.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    words = ", ".join(f"{key} {value}" for key, value in before.items())
    text = f"{words}; load at the end {document['load_after']}.\n\n"
    text += "\n".join(topic.as_markdown() for topic in done)
    (folder / "benchmarks.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
