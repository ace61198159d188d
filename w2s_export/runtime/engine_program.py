"""The worker that runs an ONNX file of others by an engine.

    engine_program FOLDER FILE OPTIONS

It opens FILE, then serves (`runtime.in_worker`).
"""

from __future__ import annotations

import json
from pathlib import Path

from w2s_export.errors import W2SExportError
from w2s_export.runtime.choose import open_engine
from w2s_export.runtime.in_worker import refuse, serve


def main(arguments: list[str]) -> None:
    """Open the file, then serve."""
    folder = Path(arguments[0])
    try:
        runtime = open_engine(onnx=Path(arguments[1]), **json.loads(arguments[2]))
    except W2SExportError as error:
        refuse(folder, error)
        return
    serve(folder, {"runtime": runtime.name}, runtime)
