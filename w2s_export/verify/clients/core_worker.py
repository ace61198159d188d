"""The program that `core_tests` runs: bioimageio.core's own test of packages, nothing of ours.

    python -m w2s_export.verify.clients.core_worker FORMAT[,FORMAT] RESULTS.json < JOBS

It imports everything first and only then reads its jobs, a line each: {"load": ZIP}, a SavedModel
that the packages will hold, and at last {"test": [PACKAGE, …]}. So it can start before there is a
package. It works in the current directory, which core litters with unzipped
weights, and rewrites RESULTS.json after each test, so that a crash keeps what was found before.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any

from w2s_export.io.files import sha256_of
from w2s_export.rdf.stated import ONNX, SAVED_MODEL
from w2s_export.runtime.saved_model import GRAPH_FILE, saved_model_folder


def main(formats: list[str], results_path: Path) -> None:
    """Test these formats of each package; write a list of results."""
    _stay_offline()
    if ONNX in formats:  # core imports what runs a model when it first does
        import onnxruntime  # noqa: F401
    if SAVED_MODEL in formats:
        import keras  # noqa: F401
        import tensorflow as tf

        _load_each_saved_model_once()
    from bioimageio.core import load_description, test_description

    # Core collects garbage after each model: half a second to look through what was just imported.
    gc.freeze()
    packages: list[str] = []  # stays so where who started this gave up
    for line in sys.stdin:
        job = json.loads(line)
        packages = job.get("test", [])
        if "load" in job and SAVED_MODEL in formats:
            with suppress(Exception), saved_model_folder(Path(job["load"])) as folder:
                tf.saved_model.load(str(folder))  # whatever is wrong with it, the test will say
    results: list[dict[str, Any]] = []
    for package, weight_format in product(map(Path, packages), formats):
        start = time.perf_counter()
        with _inside(Path(package.stem)):
            # Afresh, because a description collects the results of every test of it.
            summary = test_description(load_description(package), weight_format=weight_format)
        errors = [
            f"{detail.name}: {error.msg}" for detail in summary.details for error in detail.errors
        ]
        results.append(
            {
                "package": str(package),
                "format": weight_format,
                "passed": summary.status == "passed",
                "errors": errors,
                "seconds": round(time.perf_counter() - start, 2),
            }
        )
        results_path.write_text(json.dumps(results), encoding="utf-8")


def _stay_offline() -> None:
    """Answer every request of core with a timeout, which it takes for a warning.

    It asks GitHub for each maintainer and every cited address for a sign of life. That says nothing
    about the package, would send names into the world, and without a network is an error.
    """
    import httpx

    def refuse(*_: object) -> httpx.Response:
        raise httpx.ConnectTimeout("verification works offline")

    setattr(httpx.HTTPTransport, "handle_request", refuse)  # noqa: B010 - mypy forbids the dot


def _load_each_saved_model_once() -> None:
    """Keep what `tf.saved_model.load` returns for a graph; ours hold their weights as constants.

    Core loads the same SavedModel four to eight times a test, which is most of its time: 13 of
    16 s for a network of a million parameters. Both packages hold the same.
    """
    import tensorflow as tf

    load, loaded = tf.saved_model.load, {}

    def once(path: str, **options: Any) -> Any:
        digest = sha256_of(Path(path) / GRAPH_FILE)
        if digest not in loaded:
            loaded[digest] = load(path, **options)
        return loaded[digest]

    tf.saved_model.load = once


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in the folder: two packages name their weights alike, and core unzips them by name."""
    folder.mkdir(exist_ok=True)
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


if __name__ == "__main__":
    main(sys.argv[1].split(","), Path(sys.argv[2]))
