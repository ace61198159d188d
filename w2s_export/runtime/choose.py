"""The engines that restore, and which of them this machine has."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import ConfigError, W2SExportError
from w2s_export.options import Engine, Precision
from w2s_export.runtime.in_worker import Served
from w2s_export.runtime.onnx_runtime import OnnxOptions, OnnxRuntime
from w2s_export.runtime.openvino import OpenVinoRuntime
from w2s_export.runtime.precision import PrecisionError, precision_error
from w2s_export.runtime.protocol import EngineError, Runtime

_PROGRAM = f"{__package__}.engine_program"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine that could run a network, not opened yet."""

    engine: str
    """As `--engine` names it; `cpu-fast` for ONNX Runtime with the Winograd graph."""
    open: Callable[[], Runtime]
    opening: float
    """Seconds that opening it may take and one run more than the next: no more are risked."""


@dataclass(frozen=True, slots=True)
class _Provider:
    name: str
    """ONNX Runtime's name of it."""
    install: str
    opening: float


_PROVIDERS: dict[str, _Provider] = {
    "cuda": _Provider(
        "CUDAExecutionProvider", "NVIDIA's driver and `python -m pip install onnxruntime-gpu`", 5
    ),
    "tensorrt": _Provider(
        "TensorrtExecutionProvider",
        "NVIDIA's driver and `python -m pip install onnxruntime-gpu tensorrt`",
        120,  # it compiles the network
    ),
    "coreml": _Provider(
        "CoreMLExecutionProvider", "a Mac and `python -m pip install onnxruntime`", 10
    ),
    "directml": _Provider(
        "DmlExecutionProvider", "Windows and `python -m pip install onnxruntime-directml`", 5
    ),
}


def open_engine(
    engine: Engine,
    onnx: Path,
    threads: int | None = None,
    precision: Precision = 32,
    *,
    apart: int | None = None,
) -> Runtime:
    """A session that restores batches; `auto` takes the first in the table below.

    With 16 bit: float16 on a GPU, bfloat16 by OpenVINO; `runtime.precision` says how to check it.
    The fastest float32 engine is found by `runtime.trial`.

    Args:
        engine: as `--engine` names it.
        onnx: the file.
        threads: None for the cores this process may use.
        precision: of the arithmetic, bits.
        apart: of a graph of others, bytes that the process of its own may take that runs it. A GPU
            runs it in this process: its driver needs more than such a process may reach.

    Raises:
        ConfigError: the engine is not there, or has no 16-bit arithmetic.
        MissingExtraError: OpenVINO is not installed.
        PackageError: the engine refuses the file.
    """
    if engine == "auto":
        gpus = [name for name in ("cuda", "directml") if _is_there(_PROVIDERS[name])]
        if precision == 16:
            return _open(gpus[0] if gpus else "openvino", onnx, threads, precision, apart)
        return _open("cpu", onnx, threads, precision, apart)
    return _open(engine, onnx, threads, precision, apart)


def candidates(
    onnx: Path, threads: int | None = None, *, apart: int | None = None
) -> Iterator[Candidate]:
    """The float32 engines of this machine besides ONNX Runtime on the CPU, quick to open first.

    Arguments as those of `open_engine`.
    """

    def opener(engine: str) -> Callable[[], Runtime]:
        return lambda: _open(engine, onnx, threads, 32, apart)

    if find_spec("openvino") is not None:
        yield Candidate("openvino", opener("openvino"), 1)
    for engine, provider in _PROVIDERS.items():
        if _is_there(provider):
            yield Candidate(engine, opener(engine), provider.opening)


def error_in_half(
    onnx: Path, batch: NDArray[np.float32], expected: NDArray[np.float32]
) -> PrecisionError | str:
    """How far 16-bit arithmetic is from the expected output, or why this machine cannot tell."""
    try:
        half = open_engine("auto", onnx, precision=16)
        return precision_error(half(batch), expected)
    except W2SExportError as error:
        return str(error)


def _open(
    engine: str, onnx: Path, threads: int | None, precision: Precision, apart: int | None = None
) -> Runtime:
    if apart is not None and engine in ("cpu", "openvino"):
        how = json.dumps({"engine": engine, "threads": threads, "precision": precision})
        file = onnx.absolute()
        return Served(_PROGRAM, [str(file), how], [file], apart, EngineError)
    if engine == "openvino":
        return OpenVinoRuntime(onnx, threads, precision)
    if engine == "cpu":
        if precision == 16:
            raise ConfigError(
                "--precision 16: ONNX Runtime has no 16-bit arithmetic on a CPU; use --engine "
                "openvino or a GPU"
            )
        return OnnxRuntime(onnx, OnnxOptions(threads))
    provider = _PROVIDERS[engine]
    if not _is_there(provider):
        raise ConfigError(
            f"--engine {engine}: this ONNX Runtime has no {provider.name}; it needs "
            f"{provider.install}, or use --engine auto"
        )
    return OnnxRuntime(onnx, OnnxOptions(threads, provider.name, half=precision == 16))


def _is_there(provider: _Provider) -> bool:
    import onnxruntime

    return provider.name in onnxruntime.get_available_providers()
