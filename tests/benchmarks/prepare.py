"""Writes every form of one network, and an image: `python -m tests.benchmarks.prepare WEIGHTS SIZE
FOLDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from tests import factories
from w2s_export.formats import cpu_fast
from w2s_export.network import HaloMeasurement
from w2s_export.package.archive import write_packages
from w2s_export.rdf.description import Sample
from w2s_export.sources.load import load_network
from w2s_export.sources.npz_checkpoint import save_checkpoint


def main(weights: Path, size: int, folder: Path) -> None:
    network = load_network(weights)
    assert network.checkpoint is not None
    save_checkpoint(network.checkpoint, folder / "weights.npz")
    cpu_fast.write(network, folder / cpu_fast.FILE)
    rng = np.random.default_rng(0)
    np.save(folder / "batch.npy", rng.random((1, network.channels_in, size, size), np.float32))
    counts = rng.integers(0, 200, (network.channels_in, 64, 64)).astype(np.uint16)
    side = 64 * network.scale
    restored = np.zeros((network.channels_out, side, side), np.float32)
    description = factories.description(
        network,
        factories.written(network, folder),
        Sample(counts, restored, 0.1, "noise"),
        name="benchmark",
        halo=HaloMeasurement(16, 33, 1e-4, ()),
    )
    write_packages(description, folder)
    print(json.dumps({}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
