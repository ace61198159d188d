"""Restoring images of growing size: memory must stay, time must grow as the pixels do."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.benchmarks.topic import Topic, measured, peak_bytes, random_weights
from w2s_export.config import GeneratorConfig

MEMORY = "500MB"


def measure(quick: bool) -> list[Topic]:
    """Noise of 16 bits, through the whole command, with the smallest of networks."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights = random_weights(folder / "w.npz", GeneratorConfig(nf=4, gc=2, nb=1))
        measured("prepare", weights, 64, folder)
        (package,) = folder.glob("*.bioimageio.zip")
        for size in (512, 1024, 2048) if quick else (512, 1024, 2048, 4096, 8192):
            result = measured("sizes", package, size)
            microseconds = 1e6 * result["seconds"] / size**2
            rows.append(
                {
                    "image": f"{size}²",
                    "time, s": round(result["seconds"], 2),
                    "time a pixel, µs": round(microseconds, 3),
                    "peak, MB": round(result["peak"] / 1e6),
                }
            )
    remark = f"`restore --memory {MEMORY} --dtype uint16`, 1 block of 4 features, one process each."
    return [Topic("Restoring larger and larger images", rows, remark)]


def main(package: str, size: int) -> None:
    """Restore one image of noise, after a small one that loads the libraries."""
    import tifffile

    from w2s_export.cli import run

    tile = np.random.default_rng(0).integers(100, 900, (512, 512)).astype(np.uint16)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        spent = 0.0
        for name, side in (("small", 64), ("large", size)):
            source = folder / f"{name}.tif"
            lines = _empty_tiff(source, side)
            for row in range(0, side, 512):
                height = min(512, side - row)
                lines[row : row + height] = np.tile(tile, (1, -(-side // 512)))[:height, :side]
            lines.flush()
            del lines
            arguments = ["--package", package, "--memory", MEMORY, "--dtype", "uint16", "--json"]
            start = time.perf_counter()
            if run(["restore", str(source), "--output", str(folder / "o"), *arguments]) != 0:
                raise SystemExit(1)
            spent = time.perf_counter() - start
        shape = tifffile.memmap(folder / "o" / "large.tif", mode="r").shape
        assert shape == (2 * size, 2 * size), shape
    print(json.dumps({"seconds": spent, "peak": peak_bytes()}))


def _empty_tiff(path: Path, side: int) -> np.memmap:
    """A TIFF to be filled on disk, so that the image itself is never in memory."""
    import tifffile

    return tifffile.memmap(path, shape=(side, side), dtype=np.uint16)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
