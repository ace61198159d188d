"""OpenVINO: another engine for the same ONNX file, on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import MissingExtraError
from w2s_export.runtime.protocol import cannot_run, refused
from w2s_export.runtime.threads import usable_cores


class OpenVinoRuntime:
    """An ONNX file in OpenVINO, with float32 arithmetic.

    Args:
        path: the file.
        threads: None for the cores this process may use.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        PackageError: OpenVINO refuses the file.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
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
            self._model = openvino.Core().compile_model(str(path), "CPU", options)
        except Exception as error:
            raise refused(path, self.name, error) from None

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Restore: (N, C, H, W) → (N, C', scale·H, scale·W).

        Raises:
            EngineError: OpenVINO fails, for lack of memory for example.
        """
        try:
            output: NDArray[np.float32] = self._model(batch)[0]
        except Exception as error:
            raise cannot_run(self.name, batch, error) from None
        return output
