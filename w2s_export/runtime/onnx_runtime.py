"""ONNX Runtime: the one session that export, verification and restoration run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import ConfigError, PackageError
from w2s_export.runtime.protocol import cannot_run, refused
from w2s_export.runtime.threads import usable_cores

CPU = "CPUExecutionProvider"

_PROVIDER_OPTIONS: dict[str, dict[str, Any]] = {
    "CUDAExecutionProvider": {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": 0},
}


@dataclass(frozen=True, slots=True)
class OnnxOptions:
    """How ONNX Runtime runs a file."""

    threads: int | None = None
    """None: the cores this process may use."""
    provider: str = CPU
    """What computes; operations it has not are computed on the CPU."""
    half: bool = False
    """float16 arithmetic, of a GPU: the file is rewritten for it, its input and output stay."""


class OnnxRuntime:
    """An ONNX file in ONNX Runtime, with the options that measured best.

    - The memory pattern off: it plans one large block for each input shape, 3700 bytes a pixel
      where 2150 suffice with the default model, and gains no time.
    - The arena on: without it every layer maps fresh pages (7.7 s against 4.0 s on 512², and 3000
      bytes a pixel). Giving it back after each tile costs 8 % and half as much memory again; tiles
      of other sizes find room in it.
    - Constants not folded: all 36 frequencies of the fast graph's kernels would stay in memory,
      twice (775 MB loaded against 200 with 23 blocks); transforming the 9 taps for each image
      takes 2 % longer. The direct graph has nothing to fold.

    A file that declares a batch of one is given one image at a time.

    Args:
        path: the file, or its content.
        options: how to run it.

    Raises:
        ConfigError: the provider cannot start on this machine.
        PackageError: ONNX Runtime refuses the file, or it has not one input.
    """

    def __init__(self, path: Path | bytes, options: OnnxOptions = OnnxOptions()) -> None:
        import onnxruntime

        where = path if isinstance(path, Path) else Path("the ONNX graph")
        self.name = f"ONNX Runtime {onnxruntime.__version__}"
        if options.provider != CPU:
            device = options.provider.removesuffix("ExecutionProvider")
            self.name += f" ({device}, float16)" if options.half else f" ({device})"
        session = onnxruntime.SessionOptions()
        session.log_severity_level = 4  # errors are raised; printed, they hold raw names of nodes
        session.enable_mem_pattern = False
        session.intra_op_num_threads = options.threads or usable_cores()
        providers = dict.fromkeys((options.provider, CPU))
        try:
            self._session = onnxruntime.InferenceSession(
                in_half(path) if options.half else path,
                session,
                providers=[(name, _PROVIDER_OPTIONS.get(name, {})) for name in providers],
                disabled_optimizers=["ConstantFolding"],
            )
        except Exception as error:  # ONNX Runtime's errors share no other class
            raise refused(where, self.name, error) from None
        if options.provider not in self._session.get_providers():  # it fell back to the CPU
            raise ConfigError(f"{self.name} cannot start: a driver or library of it is missing")
        if len(inputs := self._session.get_inputs()) != 1:
            raise PackageError(f"{where}: has {len(inputs)} inputs, a restoration model has one")
        self._input = inputs[0].name
        self._run = onnxruntime.RunOptions()
        self._single = inputs[0].shape[:1] == [1]

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Restore: (N, C, H, W) → (N, C', scale·H, scale·W).

        Raises:
            EngineError: ONNX Runtime fails, for lack of memory for example.
        """
        if self._single and len(batch) > 1:
            return np.concatenate([self(image[np.newaxis]) for image in batch])
        try:
            output: NDArray[np.float32] = self._session.run(None, {self._input: batch}, self._run)[
                0
            ]
        except Exception as error:
            raise cannot_run(self.name, batch, error) from None
        return output

    def stop(self) -> None:
        """Give up the batch at work after the operation at work: the call fails."""
        self._run.terminate = True


def in_half(model: Path | bytes) -> bytes:
    """The graph with float16 weights and arithmetic; its input and output stay float32.

    Raises:
        PackageError: not an ONNX file.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    try:
        content = model if isinstance(model, bytes) else model.read_bytes()
        half = convert_float_to_float16(onnx.load_from_string(content), keep_io_types=True)
    except Exception as error:
        where = Path("the ONNX graph") if isinstance(model, bytes) else model
        raise refused(where, "the conversion to float16", error) from None
    converted: bytes = half.SerializeToString()
    return converted
