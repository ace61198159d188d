"""TensorFlow's words while it is loaded: none that a user could act on."""

from __future__ import annotations

import faulthandler
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from tempfile import TemporaryFile
from types import ModuleType

_CHATTER = re.compile(rb"WARNING: All log messages before absl|[IW]\d{4} \d\d:\d\d:")
"""What absl logs as information or warning. No variable silences it before TensorFlow runs."""


class _Quietly(MetaPathFinder):
    """Loads TensorFlow as always, but for its chatter."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def quietly(module: ModuleType) -> None:
            with _without_chatter():
                execute(module)

        spec.loader.exec_module = quietly  # type: ignore[method-assign]
        return spec


def load_tensorflow_quietly() -> None:
    """Let whatever imports TensorFlow first, in this process, import it without its chatter."""
    if "tensorflow" not in sys.modules and not any(isinstance(f, _Quietly) for f in sys.meta_path):
        sys.meta_path.insert(0, _Quietly())


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Keep what is written to descriptor 2, and hand on what is no chatter."""
    stream, error = sys.__stderr__, 2
    if stream is None:
        yield
        return
    stream.flush()
    kept = os.dup(error)
    crashes = faulthandler.is_enabled()
    with TemporaryFile() as aside:
        os.dup2(aside.fileno(), error)
        faulthandler.enable(kept)  # of a processor that TensorFlow was not built for
        try:
            yield
        finally:
            faulthandler.enable(error) if crashes else faulthandler.disable()
            stream.flush()
            os.dup2(kept, error)
            os.close(kept)
            aside.seek(0)
            for line in aside:
                if not _CHATTER.match(line):
                    os.write(error, line)
