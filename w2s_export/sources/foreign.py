"""Networks of anybody's: opened in a worker by their own framework, which stays as the witness."""

from __future__ import annotations

import json
import time
import weakref
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from w2s_export import errors
from w2s_export.errors import CheckpointError, W2SExportError, WorkerError
from w2s_export.io.temporary import temporary_folder
from w2s_export.io.worker import Limits, memory_limit, worker

if TYPE_CHECKING:
    import onnx

    from w2s_export.io.worker import Worker

_SECONDS = 900.0
"""From the start to the converted network, or to an answer."""
_ANSWER = 0.002  # seconds between two looks for an answer


class Witness:
    """The framework the weights came from, running them in its worker: float32 NCHW in and out."""

    def __init__(self, kind: str, path: Path, options: dict[str, Any]) -> None:
        """Open a file in its framework, and bring its network into the house's form.

        Args:
            kind: module of this package that opens it: `onnx_network`, `keras_network`,
                `saved_model_network` or `torch_network`.
            path: the file or folder.
            options: `dynamic`, let go of sizes that the file fixes; `signature` of a SavedModel.

        Raises:
            CheckpointError: no image-to-image network that can be exported; says why.
            MissingExtraError: its framework is not installed.
        """
        self.name = kind
        self._count = 0
        with ExitStack() as stack:
            temporary = stack.enter_context(temporary_folder())
            self._folder = temporary
            beside = path.parent if kind == "onnx_network" else path
            arguments = [str(self._folder), kind, str(path.absolute()), json.dumps(options)]
            program = f"{__package__}.foreign_program"
            limits = Limits(_SECONDS, memory_limit())
            self._worker: Worker = stack.enter_context(
                worker(program, arguments, self._folder, limits, reads=[beside])
            )
            self.opened = self._opened()
            """What `foreign_program` tells of the network."""
            self.name = str(self.opened["runtime"])
            self.close = weakref.finalize(self, stack.pop_all().close)

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Restore: (N, C, H, W) → (N, C', scale·H, scale·W).

        Raises:
            CheckpointError: the framework refuses the image, or the worker ended.
        """
        self._count += 1
        number = self._count
        np.save(self._folder / f"in-{number}.npy", np.ascontiguousarray(batch, np.float32))
        self._worker.clock_from_now()
        self._worker.tell(str(number).encode())
        made = self._answer(f"out-{number}.npy", f"out-{number}.json")
        try:
            if made.suffix == ".json":
                reason = json.loads(made.read_bytes())["refused"]
                raise CheckpointError(f"{self.name} cannot run it: {reason}")
            output: NDArray[np.float32] = np.load(made, allow_pickle=False)
            return output
        finally:
            made.unlink()
            (self._folder / f"in-{number}.npy").unlink()

    def graph(self) -> onnx.ModelProto:
        """The lowered network."""
        import onnx

        return onnx.load_model_from_string((self._folder / "network.onnx").read_bytes())

    def _opened(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._answer("opened.json").read_bytes())
        if "refused" in found:
            kind = getattr(errors, str(found["class"]), CheckpointError)
            raise (kind if issubclass(kind, W2SExportError) else CheckpointError)(found["refused"])
        return found

    def _answer(self, *names: str) -> Path:
        """Wait for a file.

        Raises:
            CheckpointError: the worker ended without one.
        """
        paths = [self._folder / name for name in names]
        while True:
            ended = self._worker.ended
            found = next((path for path in paths if path.exists()), None)
            if found is not None:
                return found
            if ended:
                try:
                    self._worker.wait()
                    reason = "ended without an answer"
                except WorkerError as error:
                    reason = str(error)
                raise CheckpointError(f"its framework {reason}")
            time.sleep(_ANSWER)
