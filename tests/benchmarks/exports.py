"""How long an export takes, by stage, verification included."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.topic import Topic, measured, peak_bytes
from w2s_export.export import ExportRequest, default_weights, export
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
    peak = {name: round(r["peak"] / 1e6) for name, r in results.items()}
    rows += [{"stage": "all, s", **total}, {"stage": "peak of the process, MB", **peak}]
    return [Topic("Exporting, seconds by stage", rows)]


def main(weights: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        result = export(ExportRequest(Path(temporary), weights=weights))
    assert result.report.passed
    print(json.dumps({"seconds": result.seconds, "peak": peak_bytes()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
