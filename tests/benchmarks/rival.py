"""One runtime in a process of its own, which restores one image whenever it is told to.

    python -m tests.benchmarks.rival NAME FOLDER

FOLDER is from `prepare`. It says a line of JSON when it is ready, after having saved its output of
one warm-up; then, for every line it reads, the seconds of one inference, those that its threads
computed, and its peak memory.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.topic import peak_bytes
from w2s_export.formats import cpu_fast, onnx, saved_model
from w2s_export.runtime.choose import Candidate, candidates, open_engine
from w2s_export.runtime.saved_model import SavedModelRuntime
from w2s_export.runtime.trial import AutoRuntime

GEMM = 2048
"""Side of the matrices whose product measures what the machine can do."""

Floats = NDArray[np.float32]
Run = Callable[[Floats], Floats]


def _ours(folder: Path) -> Run:
    return open_engine("cpu", folder / onnx.FILE)


def _fast(folder: Path) -> Run:
    return open_engine("cpu", folder / cpu_fast.FILE)


def _auto(folder: Path) -> Run:
    """As `restore` chooses in a job of about a hundred images of 512²."""
    fast = Candidate("cpu-fast", lambda: open_engine("cpu", folder / cpu_fast.FILE), 0)
    others = [*candidates(folder / onnx.FILE), fast]
    return AutoRuntime(open_engine("cpu", folder / onnx.FILE), others, pixels=3 * 10**7)


def _openvino(folder: Path) -> Run:
    return open_engine("openvino", folder / onnx.FILE)


def _half(folder: Path) -> Run:
    return open_engine("openvino", folder / onnx.FILE, precision=16)


def _saved_model(folder: Path) -> Run:
    return SavedModelRuntime(folder / saved_model.FILE)


def _keras(folder: Path) -> Run:
    from w2s_export.networks.rrdbnet import build_generator, set_weights
    from w2s_export.sources.load import load_checkpoint

    checkpoint = load_checkpoint(folder / "weights.npz")
    model = build_generator(checkpoint.config)
    set_weights(model, checkpoint.config, checkpoint.weights)

    def run(batch: Floats) -> Floats:
        output = model.predict(batch.transpose(0, 2, 3, 1), verbose=0)
        return np.asarray(output.transpose(0, 3, 1, 2))

    return run


def _pytorch(folder: Path) -> Run:
    from tests.sources.conftest import Reference
    from w2s_export.sources.load import load_checkpoint

    checkpoint = load_checkpoint(folder / "weights.npz")
    state = {}
    for name, value in checkpoint.weights.items():
        layer, part = name.split("/")
        layer = layer.replace("_rdb", ".rdb").replace("_conv", ".conv").replace("body_", "body.")
        if part == "kernel":
            state[f"{layer}.weight"] = np.ascontiguousarray(value.transpose(3, 2, 0, 1))
        else:
            state[f"{layer}.bias"] = value
    return lambda batch: Reference.forward(state, batch, checkpoint.config)


def _pytorch_half(folder: Path) -> Run:
    """By PyTorch's own way to bfloat16."""
    import torch

    exact = _pytorch(folder)

    def run(batch: Floats) -> Floats:
        with torch.autocast("cpu", torch.bfloat16):
            return exact(batch)

    return run


def _bioimageio(folder: Path) -> Run:
    from bioimageio.core import create_prediction_pipeline, load_model_description
    from bioimageio.core.digest_spec import create_sample_for_model

    (package,) = folder.glob("*.bioimageio.zip")
    model = load_model_description(package, perform_io_checks=False)
    pipeline = create_prediction_pipeline(model, weight_format="onnx")

    def run(batch: Floats) -> Floats:
        sample = create_sample_for_model(model, inputs={"input": batch})
        result = pipeline.predict_sample_without_blocking(  # the network alone, as the others
            sample, skip_preprocessing=True, skip_input_padding=True, skip_output_cropping=True
        )
        (output,) = result.members.values()
        return np.asarray(output.data)

    return run


def _gemm(_: Path) -> Run:
    matrix = np.random.default_rng(0).random((GEMM, GEMM), np.float32)
    return lambda _: matrix @ matrix


RIVALS: dict[str, tuple[str, str, Callable[[Path], Run]]] = {
    # name: what the table calls it, the distribution it needs, how it is loaded
    "auto": ("restore", "onnxruntime", _auto),
    "ours": ("ONNX Runtime (--engine cpu)", "onnxruntime", _ours),
    "fast": ("ONNX Runtime, fast graph (--cpu-fast)", "onnxruntime", _fast),
    "openvino": ("OpenVINO (--engine openvino)", "openvino", _openvino),
    "half": ("restore --precision 16", "openvino", _half),
    "pytorch_half": ("PyTorch, bfloat16", "torch", _pytorch_half),
    "saved_model": ("packaged SavedModel (TensorFlow)", "tensorflow", _saved_model),
    "keras": ("Keras predict", "keras", _keras),
    "pytorch": ("PyTorch", "torch", _pytorch),
    "bioimageio": ("bioimageio.core (ONNX)", "bioimageio.core", _bioimageio),
    "gemm": ("matrix product (numpy)", "numpy", _gemm),
}


def main() -> None:
    """Serve lines of stdin."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    run, batch = RIVALS[name][2](folder), np.load(folder / "batch.npy")
    np.save(folder / f"{name}.npy", run(batch))
    _say({"chosen": str(run.choice)} if isinstance(run, AutoRuntime) else {})
    for _ in sys.stdin:
        start, busy = time.perf_counter(), time.process_time()
        run(batch)
        spent = {"seconds": time.perf_counter() - start, "busy": time.process_time() - busy}
        _say({**spent, "peak": peak_bytes()})


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
