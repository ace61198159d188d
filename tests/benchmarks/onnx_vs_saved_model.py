"""How much faster ONNX Runtime is than TensorFlow, on the same image in the same run.

The two take turns, so that whatever else the machine does slows both; medians are compared.
Exits with 1 below `--least`. From the repository root:

    python tests/benchmarks/onnx_vs_saved_model.py --blocks 4 --size 128 --threads 2
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from w2s_export.config import GeneratorConfig


def main() -> int:
    """Convert, warm up, take turns, print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=4, help="RRDBs of the network")
    parser.add_argument("--features", type=int, default=64, help="nf; gc is half of it")
    parser.add_argument("--size", type=int, default=128, help="height and width of the input")
    parser.add_argument("--threads", type=int, default=2, help="threads of either runtime")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--least", type=float, default=1.4, help="ratio below which to exit with 1")
    options = parser.parse_args()

    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    from w2s_export.convert.onnx import to_onnx
    from w2s_export.convert.runtimes import OnnxRuntime, SavedModelRuntime
    from w2s_export.convert.saved_model import to_saved_model
    from w2s_export.networks.generator import build_generator

    config = GeneratorConfig(nb=options.blocks, nf=options.features, gc=options.features // 2)
    model = build_generator(config)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        runtimes = (
            OnnxRuntime(to_onnx(model, config, folder / "m.onnx").path, options.threads),
            SavedModelRuntime(to_saved_model(model, config, folder / "m.zip").path),
        )
    batch = np.random.default_rng(0).random((1, 1, options.size, options.size), np.float32)
    seconds: list[list[float]] = [[], []]
    for turn in range(options.turns + 2):
        for runtime, taken in zip(runtimes, seconds, strict=True):
            start = time.perf_counter()
            runtime(batch)
            if turn >= 2:  # the first two warm up
                taken.append(time.perf_counter() - start)
    onnx, tensorflow = (statistics.median(taken) for taken in seconds)
    for runtime, taken in zip(runtimes, seconds, strict=True):
        print(
            f"{runtime.name}: median {statistics.median(taken) * 1e3:.0f} ms, "
            f"fastest {min(taken) * 1e3:.0f} ms"
        )
    print(f"ratio {tensorflow / onnx:.2f}")
    return 0 if tensorflow / onnx >= options.least else 1


if __name__ == "__main__":
    raise SystemExit(main())
