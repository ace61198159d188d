"""ONNX Runtime: the one session that export, verification and restoration run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.counting import counted
from w2s_export.errors import ConfigError, PackageError
from w2s_export.runtime.protocol import one_line, run_error
from w2s_export.runtime.threads import usable_cores

CPU = "CPUExecutionProvider"

_PROVIDER_OPTIONS: dict[str, dict[str, Any]] = {
    "CUDAExecutionProvider": {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": 0},
}
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(uint16)": np.uint16,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
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


class OnnxSession:
    """An ONNX file in ONNX Runtime, with the options that measured best.

    - The memory pattern off: it plans one large block for each input shape, 3700 bytes a pixel
      where 2150 suffice with the default model, and gains no time.
    - The arena on: without it every layer maps fresh pages (7.7 s against 4.0 s on 512², and 3000
      bytes a pixel). Giving it back after each tile costs 8 % and half as much memory again; tiles
      of other sizes find room in it.
    - Constants not folded: all 36 frequencies of the fast graph's kernels would stay in memory,
      twice (775 MB loaded against 200 with 23 blocks); transforming the 9 taps for each image
      takes 2 % longer. The direct graph has nothing to fold.

    Args:
        model: the file, or its content.
        options: how to run it.

    Raises:
        ConfigError: the provider cannot start on this machine.
        PackageError: ONNX Runtime refuses the file.
    """

    def __init__(self, model: Path | bytes, options: OnnxOptions = OnnxOptions()) -> None:
        import onnxruntime

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
                in_half(model) if options.half else model,
                session,
                providers=[(name, _PROVIDER_OPTIONS.get(name, {})) for name in providers],
                disabled_optimizers=["ConstantFolding"],
            )
        except PackageError:
            raise
        except Exception as error:  # ONNX Runtime's errors share no other class
            raise PackageError(f"{self.name} refuses it: {one_line(error)}") from None
        if options.provider not in self._session.get_providers():  # it fell back to the CPU
            raise ConfigError(f"{self.name} cannot start: a driver or library of it is missing")
        self._inputs = self._session.get_inputs()
        self._run = onnxruntime.RunOptions()

    @property
    def input_shapes(self) -> list[list[int | str | None]]:
        """Of each input, as declared: a number, or the name of a dimension that is free."""
        return [tensor.shape for tensor in self._inputs]

    def run(self, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Every output, of one array per input, each converted to its input's type.

        Raises:
            PackageError: another number of arrays than inputs.
            Exception: ONNX Runtime fails, with an error of any class.
        """
        if len(arrays) != len(self._inputs):
            raise PackageError(f"has {counted(len(self._inputs), 'input')}, given: {len(arrays)}")
        feeds: dict[str, NDArray[Any]] = {
            tensor.name: array.astype(_TYPES.get(tensor.type, np.float32), copy=False)
            for tensor, array in zip(self._inputs, arrays, strict=True)
        }
        outputs: list[NDArray[Any]] = self._session.run(None, feeds, self._run)
        return outputs

    def stop(self) -> None:
        """Give up the run at work after the operation at work: it fails."""
        self._run.terminate = True


class OnnxRuntime:
    """An ONNX file of one input and one output as a runtime.

    A file that declares a batch of one is given one image at a time.

    Args:
        path: the file, or its content.
        options: how to run it.

    Raises:
        ConfigError: the provider cannot start on this machine.
        PackageError: ONNX Runtime refuses the file, or it has not one input.
    """

    def __init__(self, path: Path | bytes, options: OnnxOptions = OnnxOptions()) -> None:
        where = path if isinstance(path, Path) else Path("the ONNX graph")
        try:
            self._session = OnnxSession(path, options)
        except PackageError as error:
            raise PackageError(f"{where}: {error}") from None
        self.name = self._session.name
        shapes = self._session.input_shapes
        if len(shapes) != 1:
            raise PackageError(
                f"{where}: has {counted(len(shapes), 'input')}, a restoration model has one"
            )
        self._single = shapes[0][:1] == [1]

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Restore: (N, C, H, W) → (N, C', scale·H, scale·W).

        Raises:
            EngineError: ONNX Runtime fails, for lack of memory for example.
        """
        if self._single and len(batch) > 1:
            return np.concatenate([self(image[np.newaxis]) for image in batch])
        try:
            return self._session.run([batch])[0]
        except Exception as error:
            raise run_error(self.name, batch, error) from None

    def stop(self) -> None:
        """Give up the batch at work after the operation at work: the call fails."""
        self._session.stop()


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
        raise PackageError(f"the conversion to float16 refuses it: {one_line(error)}") from None
    converted: bytes = half.SerializeToString()
    return converted
