"""Writes every form of one network, and an image: `python -m tests.benchmarks.prepare WEIGHTS SIZE
FOLDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from w2s_export.formats.onnx import to_onnx
from w2s_export.formats.saved_model import to_saved_model
from w2s_export.graph.cpu_fast import to_cpu_fast
from w2s_export.networks.rrdbnet import build_generator, set_weights
from w2s_export.package.archive import write_packages
from w2s_export.rdf.description import Description, Sample
from w2s_export.rdf.metadata import default_metadata
from w2s_export.restore.halo import HaloMeasurement
from w2s_export.sources.load import load_checkpoint
from w2s_export.sources.npz_checkpoint import save_checkpoint


def main(weights: Path, size: int, folder: Path) -> None:
    checkpoint = load_checkpoint(weights)
    config = checkpoint.config
    model = build_generator(config)
    set_weights(model, config, checkpoint.weights)
    save_checkpoint(checkpoint, folder / "weights.npz")
    to_cpu_fast(config, checkpoint.weights, folder / "cpu_fast.onnx")
    rng = np.random.default_rng(0)
    np.save(folder / "batch.npy", rng.random((1, config.in_nc, size, size), np.float32))
    counts = rng.integers(0, 200, (config.in_nc, 64, 64)).astype(np.uint16)
    restored = np.zeros((config.out_nc, 64 * config.scale, 64 * config.scale), np.float32)
    description = Description(
        name="benchmark",
        metadata=default_metadata(checkpoint),
        checkpoint=checkpoint,
        onnx=to_onnx(model, config, folder / "weights.onnx"),
        saved_model=to_saved_model(model, config, folder / "saved_model.zip"),
        sample=Sample(counts, restored, 0.1, "noise"),
        halo=HaloMeasurement(16, 33, 1e-4, ()),
        parity=(),
    )
    write_packages(description, folder)
    print(json.dumps({}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
