"""The program that runs foreign data, inside `io.worker`: nothing else here touches any.

It takes jobs from standard input, a line of JSON each, until `{}` or its end; FOLDER gains
NUMBER.json for each. A job that cannot be done has the reason under `refused` (the file is at
fault), `withheld` (it is not run here), `full` (the disk is at fault) or `unavailable` (this
environment is).
"""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import OutputError, PackageError, WithheldError
from w2s_export.io.files import write_atomically
from w2s_export.io.memory import release_freed_memory
from w2s_export.rdf.reading import ONNX, SAVED_MODEL
from w2s_export.runtime.onnx_runtime import OnnxSession
from w2s_export.verify.worker.guard import checked_onnx, output_values

MOST_OUTPUT = 1 << 30
"""Bytes of all outputs of a job."""

Run = Callable[[list[NDArray[Any]]], list[NDArray[Any]]]
Job = dict[str, Any]


def main(arguments: list[str]) -> None:
    """Do every job; what goes wrong with one becomes its result."""
    folder = Path(arguments[0])
    doing: dict[str, Callable[[Job], dict[str, Any]]] = {
        "prepare": _prepare,
        "run": lambda job: _run(job, folder),
        "test": _test,
    }
    for line in sys.stdin:
        job = json.loads(line)
        if not job:
            break
        write_atomically(folder / f"{job['number']}.json", json.dumps(_do(doing, job)).encode())
        release_freed_memory()


def _do(doing: dict[str, Callable[[Job], dict[str, Any]]], job: Job) -> dict[str, Any]:
    try:
        return doing[job["do"]](job)
    except WithheldError as error:
        return {"withheld": str(error)}
    except PackageError as error:
        return {"refused": str(error)}
    except OutputError as error:
        return {"full": str(error)}
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return {"full": str(error)}
        return {"refused": f"cannot be run: {_line(error)}"}
    except Exception as error:  # whatever a runtime raises: the file is at fault
        return {"refused": f"cannot be run: {_line(error)}"}


def _prepare(job: Job) -> dict[str, Any]:
    """Import what a later job needs, and load a SavedModel that packages will hold."""
    from w2s_export.verify.clients import core_program

    with suppress(Exception):  # whatever is wrong with it, the test will say
        core_program.prepare(job["formats"], Path(job["path"]) if job.get("path") else None)
    return {}


def _test(job: Job) -> dict[str, Any]:
    from w2s_export.verify.clients import core_program

    _require(job["format"])
    return core_program.test(Path(job["package"]), job["format"])


def _require(weights_format: str) -> None:
    """Tell a library that is missing here from weights that are at fault."""
    needed = "onnxruntime" if weights_format == ONNX else "tensorflow"
    if find_spec(needed) is None:
        raise WithheldError(
            f"{needed} is not installed here, without which nothing is known of them: "
            f"python -m pip install {needed}"
        )


def _run(job: Job, folder: Path) -> dict[str, Any]:
    _require(job["format"])
    with np.load(folder / job["inputs"], allow_pickle=False) as archive:
        cases = [
            [archive[f"{case}-{index}"] for index in range(count)]
            for case, count in enumerate(job["cases"])
        ]
    path = Path(job["path"])
    if job["format"] == ONNX:
        name, run = _onnx(path, cases)
    elif job["format"] == SAVED_MODEL:
        from w2s_export.runtime.saved_model_graph import load_saved_model

        name, run = load_saved_model(path, job["input_ids"], job["output_ids"])
    else:
        raise PackageError(f"has no runtime for {job['format']}")
    kept: dict[str, NDArray[Any]] = {}
    counts, left = [], MOST_OUTPUT
    for case, inputs in enumerate(cases):
        outputs = run(inputs)
        left -= sum(array.nbytes for array in outputs)
        if left < 0:
            raise WithheldError(f"its outputs have more than {MOST_OUTPUT} bytes")
        counts.append(len(outputs))
        kept |= {f"{case}-{index}": np.asarray(array) for index, array in enumerate(outputs)}
    file = f"{job['number']}.npz"
    np.savez(folder / file, **kept)  # type: ignore[arg-type]
    return {"runtime": name, "counts": counts, "outputs": file}


def _onnx(path: Path, cases: list[list[NDArray[Any]]]) -> tuple[str, Run]:
    model = checked_onnx(path)
    for inputs in cases:
        values = output_values(model, [array.shape for array in inputs])
        if values * 4 > MOST_OUTPUT:
            raise WithheldError(f"would give {values} values; at most {MOST_OUTPUT} bytes are kept")
    # What was checked is what is run: the bytes are written anew.
    session = OnnxSession(model.SerializeToString())
    return session.name, session.run


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
