"""What runs the ONNX file: ONNX Runtime on the CPU or a GPU, or OpenVINO."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

from w2s_export.errors import ConfigError, MissingExtraError, PackageError, W2SExportError

if TYPE_CHECKING:
    import numpy as np

    from w2s_export.runtime.runtimes import Runtime

Engine = Literal["auto", "cpu", "cuda", "openvino"]


class EngineError(W2SExportError):
    """A network that the engine cannot run on this machine."""


def open_engine(engine: Engine, onnx: Path, threads: int | None = None) -> Runtime:
    """A session that restores batches; `auto` takes CUDA where ONNX Runtime has it, else the CPU.

    Raises:
        ConfigError: CUDA asked for where there is none.
        MissingExtraError: OpenVINO asked for and not installed.
        PackageError: the engine refuses the file.
    """
    if engine == "openvino":
        return OpenVino(onnx, threads)
    return OnnxSession(onnx, threads, cuda=_use_cuda(engine))


class OnnxSession:
    """ONNX Runtime with the options that measured best.

    - The memory pattern off: it plans one large block for each input shape, 3700 bytes a pixel
      where 2150 suffice with the default model, and gains no time.
    - The arena on: without it every layer maps fresh pages (7.7 s against 4.0 s on 512², and 3000
      bytes a pixel). Giving it back after each tile costs 8 % and half as much memory again; tiles
      of other sizes find room in it.
    - As many threads as this process may use cores: in a container that is fewer than there are.
    - Constants not folded: all 36 frequencies of the fast graph's kernels would stay in memory,
      twice (775 MB loaded against 200 with 23 blocks); transforming the 9 taps for each image
      takes 2 % longer. The direct graph has nothing to fold.
    """

    def __init__(self, onnx: Path, threads: int | None, *, cuda: bool) -> None:
        import onnxruntime

        device = "CUDA" if cuda else "CPU"
        self.name = f"ONNX Runtime {onnxruntime.__version__} ({device})"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors alone
        options.enable_mem_pattern = False
        options.intra_op_num_threads = threads or usable_cores()
        providers: list[Any] = ["CPUExecutionProvider"]
        if cuda:
            providers.insert(0, ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"}))
        try:
            self._session = onnxruntime.InferenceSession(
                str(onnx), options, providers=providers, disabled_optimizers=["ConstantFolding"]
            )
        except Exception as error:  # ONNX Runtime's errors share no other class
            raise PackageError(f"{onnx.name}: {self.name} refuses it: {_line(error)}") from None
        self._input = self._session.get_inputs()[0].name

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Restore: (N, C, H, W) → (N, C', scale·H, scale·W)."""
        try:
            output: NDArray[np.float32] = self._session.run(None, {self._input: batch})[0]
        except Exception as error:
            raise EngineError(_cannot_run(self.name, batch.shape, error)) from None
        return output


class OpenVino:
    """OpenVINO on the CPU, with float32 arithmetic."""

    def __init__(self, onnx: Path, threads: int | None) -> None:
        try:
            import openvino
        except ImportError:
            raise MissingExtraError(
                "--engine openvino needs OpenVINO: python -m pip install 'w2s-export[openvino]'"
            ) from None
        self.name = f"OpenVINO {openvino.__version__.split('-')[0]}"
        options = {
            "INFERENCE_NUM_THREADS": threads or usable_cores(),
            "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 on the processors that have it
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            self._model = openvino.Core().compile_model(str(onnx), "CPU", options)
        except Exception as error:
            raise PackageError(f"{onnx.name}: {self.name} refuses it: {_line(error)}") from None

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Restore: (N, C, H, W) → (N, C', scale·H, scale·W)."""
        try:
            output: NDArray[np.float32] = self._model(batch)[0]
        except Exception as error:
            raise EngineError(_cannot_run(self.name, batch.shape, error)) from None
        return output


def usable_cores() -> int:
    """Cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


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


def _cannot_run(engine: str, shape: tuple[int, ...], error: Exception) -> str:
    return (
        f"{engine} cannot restore a tile of {'×'.join(map(str, shape[2:]))}: {_line(error)}; "
        "if memory is short, allow less with --memory"
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
