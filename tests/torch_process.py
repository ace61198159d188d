"""The program that opens PyTorch's files, in processes forked from one that has PyTorch loaded."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


@cache
def _with_torch() -> Any:
    """Its processes begin with everything imported, for ten seconds; none has TensorFlow."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["spandrel", "onnx", "w2s_export.sources.torch_network"])
    return context


def call_with_torch(function: Callable[[Path], None], folder: Path) -> None:
    """Call a function of a module there."""
    process = _with_torch().Process(target=function, args=(folder,))
    process.start()
    process.join()
    assert process.exitcode == 0


def _serve(module: str, arguments: list[str], questions: Connection) -> None:
    def lines() -> Iterator[bytes]:
        with suppress(EOFError):
            while True:
                yield questions.recv_bytes()

    import_module(module).main(arguments, lines())


class TorchProcess:
    """Stands in for a worker (`w2s_export.io.worker.Worker`)."""

    def __init__(self, module: str, arguments: Sequence[str], folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        context = _with_torch()
        reading, self._questions = context.Pipe(duplex=False)
        given = (module, list(arguments), reading)
        self._process = context.Process(target=_serve, args=given, daemon=True)
        self._process.start()
        reading.close()

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    @property
    def ended(self) -> bool:
        return not self._process.is_alive()

    def clock_from_now(self, seconds: float | None = None) -> None:
        pass

    def tell(self, line: bytes) -> None:
        self._questions.send_bytes(line)

    def wait(self) -> None:
        self._process.join()

    def end(self) -> None:
        self._questions.close()
        self._process.kill()
        self._process.join()
