"""bioimageio.core's own test of a package, inside the worker.

What of core is replaced while it runs is `PATCHED`, which reports repeat.
"""

from __future__ import annotations

import gc
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from w2s_export.errors import PackageError
from w2s_export.io.files import sha256_of
from w2s_export.package.opening import open_package
from w2s_export.rdf.reading import ONNX, SAVED_MODEL, weights_file
from w2s_export.verify.worker.guard import check_saved_model, checked_onnx
from w2s_export.verify.worker.keras_guard import check_keras

PATCHED = (
    "httpx.HTTPTransport.handle_request: every request times out, so core asks no server for a "
    "sign of life of maintainers and cited addresses",
    "tf.saved_model.load: loads a SavedModel once per process, where core loads it four to eight "
    "times a test",
)

_CONTROL = """\
format_version: 0.5.4
type: model
name: control
description: Gives its input back.
authors: [{name: w2s-export}]
cite: [{text: none, url: "https://bioimage.io"}]
license: MIT
documentation: README.md
inputs:
- id: input
  axes:
  - {type: batch}
  - {type: channel, channel_names: [signal]}
  - {type: space, id: y, size: {min: 8, step: 1}}
  - {type: space, id: x, size: {min: 8, step: 1}}
  test_tensor: {source: test.npy}
outputs:
- id: output
  axes:
  - {type: batch}
  - {type: channel, channel_names: [signal]}
  - {type: space, id: y, size: {tensor_id: input, axis_id: y}}
  - {type: space, id: x, size: {tensor_id: input, axis_id: x}}
  test_tensor: {source: test.npy}
weights: {onnx: {source: weights.onnx, opset_version: 17}}
"""


def prepare(formats: Sequence[str], saved_model: Path | None = None) -> None:
    """Import core and what it runs formats with; load a SavedModel that packages will hold."""
    _import(ONNX in formats, any(name != ONNX for name in formats))
    if saved_model is not None and SAVED_MODEL in formats:
        import tensorflow as tf

        from w2s_export.runtime.saved_model import saved_model_folder

        with saved_model_folder(saved_model) as folder:
            tf.saved_model.load(str(folder))


def test(path: Path, weights_format: str) -> dict[str, Any]:
    """Test one weights format of a package, at core's default tolerances and with its I/O checks.

    Returns:
        `passed`, `errors`, `seconds`, or `unavailable`: why core cannot test anything here.

    Raises:
        PackageError: weights that are not given to core, because what they do is not known.
    """
    with _inside(Path(path.stem)):
        _check(path, weights_format)
    try:
        prepare([weights_format])
    except ModuleNotFoundError as error:
        name = error.name
        return {"unavailable": f"{name} is not installed here: python -m pip install {name}"}
    except Exception as error:  # any at all, of any library that core imports
        return {"unavailable": f"cannot be imported: {_line(error)}"}
    start = time.perf_counter()
    with _inside(Path(path.stem)):
        errors = _errors(path, weights_format)
    if errors and (broken := why_core_refuses_everything()):
        return {"unavailable": broken}
    seconds = round(time.perf_counter() - start, 2)
    return {"passed": not errors, "errors": errors[:20], "seconds": seconds}


def _errors(path: Path, weights_format: str) -> list[str]:
    from bioimageio.core import test_description

    try:
        summary = test_description(path, weight_format=weights_format)
    except Exception as error:  # core stumbles over what it should refuse
        return [f"{type(error).__name__}: {_line(error)}"]
    found = [
        " ".join(f"{detail.name}: {error.msg}".split())[:1000]
        for detail in summary.details
        for error in detail.errors
    ]
    return found or ([] if summary.status == "passed" else [f"status {summary.status}"])


@cache
def why_core_refuses_everything() -> str:
    """Its reason to refuse a package that is right; empty where it takes that.

    Its test depends on dozens of libraries. What fails with all packages says nothing of one.
    """
    folder = Path("control").absolute()
    folder.mkdir(exist_ok=True)
    with _inside(folder):
        errors = _errors(write_control(folder), ONNX)
    return f"refuses a package known to be right: {errors[0][:300]}" if errors else ""


def _check(path: Path, weights_format: str) -> None:
    """Look at the weights before core loads them.

    Raises:
        PackageError: they hold something that could do more than compute.
    """
    package = open_package(path)
    name = weights_file(package.rdf, weights_format)
    if name is None:
        raise PackageError("names no weights file")
    package.extract(Path.cwd(), name)
    guards: dict[str, Callable[[Path], object]]
    guards = {ONNX: checked_onnx, SAVED_MODEL: check_saved_model}
    guards.get(weights_format, check_keras)(Path(name))


@cache
def _import(onnx: bool, tensorflow: bool) -> None:
    _stay_offline()
    if onnx:  # core imports what runs a model when it first does
        import onnxruntime  # noqa: F401
    if tensorflow:
        import keras  # noqa: F401

        _load_each_saved_model_once()
    import bioimageio.core  # noqa: F401

    # Core collects garbage after each model: half a second to look through what was just imported.
    gc.freeze()


def _stay_offline() -> None:
    """Answer every request of core with a timeout, which it takes for a warning.

    It asks GitHub for each maintainer and every cited address for a sign of life. That says nothing
    about the package, would send names into the world, and without a network is an error.
    """
    import httpx

    def refuse(*_: object) -> httpx.Response:
        raise httpx.ConnectTimeout("verification works offline")

    setattr(httpx.HTTPTransport, "handle_request", refuse)  # noqa: B010 - mypy forbids the dot


def _load_each_saved_model_once() -> None:
    """Keep what `tf.saved_model.load` returns for a folder's content.

    Core loads the same SavedModel four to eight times a test, which is most of its time: 13 of
    16 s for a network of a million parameters.
    """
    import tensorflow as tf

    load, loaded = tf.saved_model.load, {}

    def once(path: str, **options: Any) -> Any:
        files = sorted(file for file in Path(path).rglob("*") if file.is_file())
        content = tuple((str(file.relative_to(path)), sha256_of(file)) for file in files)
        if content not in loaded:
            loaded[content] = load(path, **options)
        return loaded[content]

    tf.saved_model.load = once


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in the folder: two packages name their weights alike, and core unzips them by name."""
    folder.mkdir(exist_ok=True)
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def write_control(folder: Path) -> Path:
    """Write `control.zip`, a package that is right: format 0.5, ONNX, one identity."""
    from onnx import TensorProto, helper

    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 1, "y", "x"])
        for name in ("input", "output")
    ]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["input"], ["output"])], "control", values[:1], values[1:]
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    path = folder / "control.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rdf.yaml", _CONTROL)
        archive.writestr("README.md", "# Validation\n")
        archive.writestr("weights.onnx", model.SerializeToString())
        with archive.open("test.npy", "w") as stream:
            image = np.linspace(0, 1, 96, dtype=np.float32).reshape(1, 1, 8, 12)
            np.lib.format.write_array(stream, image)
    return path
