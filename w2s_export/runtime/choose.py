"""Opens the engine that restores."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from w2s_export.errors import ConfigError
from w2s_export.runtime.onnx_runtime import OnnxOptions, OnnxRuntime
from w2s_export.runtime.openvino import OpenVinoRuntime
from w2s_export.runtime.protocol import Runtime

Engine = Literal["auto", "cpu", "cuda", "openvino"]


def open_engine(engine: Engine, onnx: Path, threads: int | None = None) -> Runtime:
    """A session that restores batches; `auto` takes CUDA where ONNX Runtime has it, else the CPU.

    Raises:
        ConfigError: CUDA asked for where there is none.
        MissingExtraError: OpenVINO asked for and not installed.
        PackageError: the engine refuses the file.
    """
    if engine == "openvino":
        return OpenVinoRuntime(onnx, threads)
    provider = "CUDAExecutionProvider" if _use_cuda(engine) else "CPUExecutionProvider"
    return OnnxRuntime(onnx, OnnxOptions(threads, provider))


def _use_cuda(engine: Engine) -> bool:
    if engine == "cpu":
        return False
    import onnxruntime

    there = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if engine == "cuda" and not there:
        raise ConfigError(
            "--engine cuda: this ONNX Runtime has no CUDA; replace it with "
            "`python -m pip install onnxruntime-gpu`, or use --engine cpu"
        )
    return there
