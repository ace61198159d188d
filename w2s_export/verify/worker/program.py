"""The program that `isolated` starts: one weights file, a few inputs, nothing else.

    python -m w2s_export.verify.worker.program FOLDER

FOLDER holds job.json and inputs.npz, and gains result.json and outputs.npz.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import PackageError
from w2s_export.rdf.stated import ONNX, SAVED_MODEL
from w2s_export.verify.protobuf import WireError, read_onnx

_MOST_OUTPUT = 2 << 30
_ONNX_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
_ONNX_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}

Run = Callable[[list[NDArray[Any]]], list[NDArray[Any]]]


def main(folder: Path) -> None:
    """Run the job; what goes wrong becomes a sentence in result.json."""
    job = json.loads((folder / "job.json").read_bytes())
    _limit(job["memory"])
    result: dict[str, Any]
    try:
        with np.load(folder / "inputs.npz", allow_pickle=False) as archive:
            cases = [
                [archive[f"{case}-{index}"] for index in range(count)]
                for case, count in enumerate(job["cases"])
            ]
        name, run = {ONNX: _onnx, SAVED_MODEL: _saved_model}[job["format"]](job)
        outputs = [run(inputs) for inputs in cases]
        total = sum(array.nbytes for arrays in outputs for array in arrays)
        if total > _MOST_OUTPUT:
            raise PackageError(f"its outputs have {total} bytes, at most {_MOST_OUTPUT} are kept")
        kept = {
            f"{case}-{index}": np.asarray(array, np.float32)
            for case, arrays in enumerate(outputs)
            for index, array in enumerate(arrays)
        }
        np.savez(folder / "outputs.npz", **kept)  # type: ignore[arg-type]
        result = {"runtime": name, "counts": [len(arrays) for arrays in outputs]}
    except PackageError as error:
        result = {"refused": str(error)}
    except Exception as error:  # whatever a runtime raises: the file is at fault
        result = {"refused": f"cannot be run: {' '.join(str(error).split())[:300]}"}
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


def _limit(memory: int) -> None:
    """Bound memory and files, where the system can."""
    try:
        import resource
    except ImportError:
        return
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 8 << 30),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, hard))


def _onnx(job: dict[str, Any]) -> tuple[str, Run]:
    import onnxruntime

    data = Path(job["path"]).read_bytes()
    try:
        header = read_onnx(data)
    except WireError as error:
        raise PackageError(f"is no ONNX file: {error}") from None
    if header.external_data:
        raise PackageError("keeps weights in another file, which is not opened")
    if custom := sorted(header.domains - _ONNX_DOMAINS):
        raise PackageError(f"imports the operators {custom}, and only standard ones are run")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()

    def run(arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        if len(inputs) != len(arrays):
            raise PackageError(f"has {len(inputs)} inputs, the description {len(arrays)}")
        feeds = {
            tensor.name: array.astype(_ONNX_TYPES.get(tensor.type, np.float32))
            for tensor, array in zip(inputs, arrays, strict=True)
        }
        outputs: list[NDArray[Any]] = session.run(None, feeds)
        return outputs

    return f"ONNX Runtime {onnxruntime.__version__}", run


def _saved_model(job: dict[str, Any]) -> tuple[str, Run]:
    from w2s_export.runtime.saved_model_graph import load_saved_model

    return load_saved_model(Path(job["path"]), job["inputs"], job["outputs"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
