"""A folder of images through `restore`: the time of the whole against that of its kernels alone."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.topic import Topic, measured
from tests.factories import Opener
from w2s_export.restore import engines
from w2s_export.runtime.protocol import Runtime


def measure(quick: bool) -> list[Topic]:
    """Images of the size cameras crop to, and small ones, by the default network."""
    rows = []
    for size, count in [(128, 20)] if quick else [(128, 100), (512, 100)]:
        result = measured("folder", size, count)
        rows.append(
            {
                "images": f"{count} of {size}²",
                "kernels, s": round(result["kernels"], 2),
                "all, s": round(result["all"], 2),
                "kernels' share": f"{result['kernels'] / result['all']:.1%}",
                "before the first, s": round(result["first"], 2),
            }
        )
    remark = "From the list of files to the last output; the program's own start is not counted."
    return [Topic("Restoring a folder", rows, remark)]


def main(size: int, count: int) -> None:
    """Restore noise, the time inside the engine taken."""
    import tifffile

    from w2s_export.options import ImageOptions
    from w2s_export.package.network import read_weights
    from w2s_export.resources import DEFAULT_MODEL, asset
    from w2s_export.restore.batch import restore_files
    from w2s_export.restore.inputs import find

    spent: list[tuple[float, float]] = []

    class Timed:
        def __init__(self, runtime: Runtime) -> None:
            self.name, self._runtime = runtime.name, runtime

        def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
            begun = time.perf_counter()
            restored = self._runtime(batch)
            spent.append((begun, time.perf_counter()))
            return restored

    opened = engines.open_engine
    engines.open_engine = lambda *given, **named: Timed(opened(*given, **named))
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder, output = Path(temporary) / "in", Path(temporary) / "out"
        folder.mkdir()
        for number in range(count):
            pixels = rng.integers(100, 900, (size, size)).astype(np.uint16)
            tifffile.imwrite(folder / f"{number}.tif", pixels)
        bare = read_weights(asset(f"models/{DEFAULT_MODEL}/weights.npz"))
        ready = bare.open(folder.parent)
        found = find([str(folder)], output)
        begun = time.perf_counter()
        restore_files(
            found.images,
            output,
            Opener(bare.model, lambda _: ready),
            ImageOptions(engine="cpu", memory=2**31),
        )
        end = time.perf_counter()
    kernels = sum(stop - start for start, stop in spent)
    print(json.dumps({"all": end - begun, "kernels": kernels, "first": spent[0][0] - begun}))


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:]))
