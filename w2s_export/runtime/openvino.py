"""OpenVINO: another engine for the same ONNX file, on the CPU, with 32-bit or 16-bit arithmetic."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import ConfigError, MissingExtraError
from w2s_export.runtime.protocol import load_error, run_error
from w2s_export.runtime.threads import usable_cores

_TELEMETRY = "openvino_telemetry"


class OpenVinoRuntime:
    """An ONNX file in OpenVINO, compiled anew for a size of tiles that comes twice in a row.

    Measured on AVX-512, one thread: what is compiled for one size takes 0.91 to 0.94 of the time of
    what is compiled for all, in bfloat16 0.75 to 0.93.

    Args:
        path: the file.
        threads: None for the cores this process may use.
        precision: 32 for float32 arithmetic; 16 for bfloat16, on processors that multiply it.

    Raises:
        ConfigError: 16 bit on a processor without it.
        MissingExtraError: OpenVINO is not installed.
        PackageError: OpenVINO refuses the file.
    """

    def __init__(
        self, path: Path, threads: int | None = None, precision: Literal[32, 16] = 32
    ) -> None:
        openvino = import_without_telemetry()
        core = openvino.Core()
        self.name = f"OpenVINO {openvino.__version__.split('-')[0]}"
        if precision == 16:
            self.name += " (bfloat16)"
            if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
                raise ConfigError(
                    "--precision 16: this processor has neither AMX nor AVX512-BF16, without which "
                    "16 bits are no faster; restore without it"
                )
        options = {
            "INFERENCE_NUM_THREADS": threads or usable_cores(),
            # Said always: by itself OpenVINO takes bfloat16 on the processors that have it.
            "INFERENCE_PRECISION_HINT": "bf16" if precision == 16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            self._source = core.read_model(str(path))
            self._core, self._options = core, options
            self._single = self._source.input(0).partial_shape[0].to_string() == "1"
            self._any_size = core.compile_model(self._source, "CPU", options)
        except Exception as error:  # OpenVINO's errors are RuntimeError, and not all of them
            raise load_error(path, self.name, error) from None
        self._last: tuple[int, ...] = ()
        self._one_size: Any = None

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Restore: (N, C, H, W) → (N, C', scale·H, scale·W).

        Raises:
            EngineError: OpenVINO fails, for lack of memory for example.
        """
        if self._single and len(batch) > 1:
            return np.concatenate([self(image[np.newaxis]) for image in batch])
        try:
            output: NDArray[np.float32] = self._compiled_for(batch.shape)(batch)[0]
        except Exception as error:
            raise run_error(self.name, batch, error) from None
        return output

    def _compiled_for(self, shape: tuple[int, ...]) -> Any:
        if shape != self._last:
            self._last, self._one_size = shape, None
            return self._any_size
        if self._one_size is None:
            self._source.reshape(list(shape))
            self._one_size = self._core.compile_model(self._source, "CPU", self._options)
        return self._one_size


def import_without_telemetry() -> Any:
    """The module. Its import sends an event to Google Analytics unless this package is missing.

    So it is missing for as long as the import takes; OpenVINO then takes its own stand-in.

    Raises:
        MissingExtraError: OpenVINO is not installed.
    """
    hidden = _TELEMETRY not in sys.modules
    if hidden:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError:
        raise MissingExtraError(
            "--engine openvino needs OpenVINO: python -m pip install openvino"
        ) from None
    finally:
        if hidden:
            del sys.modules[_TELEMETRY]
    return openvino
