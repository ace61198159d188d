from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from w2s_export.errors import PackageError
from w2s_export.runtime import saved_model
from w2s_export.runtime.keras import KerasRuntime
from w2s_export.runtime.onnx_runtime import OnnxRuntime
from w2s_export.runtime.saved_model import SavedModelRuntime
from w2s_export.runtime.saved_model_graph import COMPUTING


def test_names_carry_versions(plain: Any) -> None:
    import keras
    import onnxruntime
    import tensorflow as tf

    names = [
        KerasRuntime(plain.model).name,
        OnnxRuntime(plain.onnx.path).name,
        SavedModelRuntime(plain.saved_model.path).name,
    ]
    assert names == [
        f"Keras {keras.__version__}",
        f"ONNX Runtime {onnxruntime.__version__}",
        f"TensorFlow {tf.__version__}",
    ]


def test_saved_model_runs_from_its_folder(plain: Any, tmp_path: Path) -> None:
    with zipfile.ZipFile(plain.saved_model.path) as archive:
        archive.extractall(tmp_path)
    batch = np.random.default_rng(0).random((1, 1, 10, 12), np.float32)
    from_zip = SavedModelRuntime(plain.saved_model.path)(batch)
    np.testing.assert_array_equal(SavedModelRuntime(tmp_path)(batch), from_zip)


def test_nothing_is_left_in_the_temporary_folder(
    plain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    runtime = SavedModelRuntime(plain.saved_model.path)
    assert not list(tmp_path.iterdir())
    assert runtime(np.zeros((1, 1, 8, 8), np.float32)).shape == (1, 1, 16, 16)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08\x12\x00"])
def test_onnx_runtime_refuses_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.onnx"
    path.write_bytes(content)
    with pytest.raises(PackageError, match=r"weights\.onnx.*refuses"):
        OnnxRuntime(path)


def _zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _graph(good: Path) -> bytes:
    with zipfile.ZipFile(good) as archive:
        return archive.read("saved_model.pb")


def _truncated(good: Path, path: Path) -> None:
    path.write_bytes(good.read_bytes()[:-100])


def _damaged_graph(good: Path, path: Path) -> None:
    _zip(path, {"saved_model.pb": b"\xff" * 100})


def _nested(good: Path, path: Path) -> None:
    _zip(path, {"model/saved_model.pb": _graph(good)})


def _climbing(good: Path, path: Path) -> None:
    _zip(path, {"saved_model.pb": _graph(good), "../escaped": b"x"})


def _absolute(good: Path, path: Path) -> None:
    _zip(path, {"saved_model.pb": _graph(good), "/escaped": b"x"})


def _backslashed(good: Path, path: Path) -> None:
    _zip(path, {"saved_model.pb": _graph(good), "a\\..\\..\\escaped": b"x"})


def _crowded(good: Path, path: Path) -> None:
    _zip(path, {f"{index}": b"" for index in range(2000)})


def _corrupt_member(good: Path, path: Path) -> None:
    _zip(path, {"saved_model.pb": bytes(1000) + _graph(good)})
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)


def _edited(good: Path, path: Path, edit: Callable[[Any], None]) -> None:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    proto = SavedModel.FromString(_graph(good))
    edit(proto.meta_graphs[0])
    _zip(path, {"saved_model.pb": proto.SerializeToString(), "variables/": b""})


def _writes_files(good: Path, path: Path) -> None:
    _edited(good, path, lambda graph: graph.graph_def.node.add(name="w", op="WriteFile"))


def _writes_files_in_a_function(good: Path, path: Path) -> None:
    def edit(graph: Any) -> None:
        graph.graph_def.library.function.add().node_def.add(name="w", op="WriteFile")

    _edited(good, path, edit)


def _without_signature(good: Path, path: Path) -> None:
    _edited(good, path, lambda graph: graph.signature_def.clear())


def _unknown_operation(good: Path, path: Path) -> None:
    _edited(good, path, lambda graph: graph.graph_def.node.add(name="w", op="NoSuchOperation"))


def _matrix_product(good: Path, path: Path) -> None:
    """Harmless, but nothing this tool writes: the list says what may run, not what may not."""
    _edited(good, path, lambda graph: graph.graph_def.node.add(name="m", op="MatMul"))


def _exploding(good: Path, path: Path) -> None:
    _zip(path, {"saved_model.pb": _graph(good), "variables/v": bytes(65 << 20)})


@pytest.mark.parametrize(
    ("inflict", "message"),
    [
        (_truncated, "not a readable zip"),
        (_corrupt_member, "not a readable zip"),
        (_damaged_graph, "damaged"),
        (_nested, "at its root"),
        (_climbing, "leaves the folder"),
        (_absolute, "leaves the folder"),
        (_backslashed, "leaves the folder"),
        (_crowded, "claims 2000 files"),
        (_writes_files, "WriteFile"),
        (_writes_files_in_a_function, "WriteFile"),
        (_without_signature, "refuses"),
        (_unknown_operation, "NoSuchOperation"),
        (_matrix_product, "MatMul"),
        (_exploding, "more than real"),
    ],
)
def test_an_unsafe_or_broken_saved_model_is_refused(
    plain: Any, tmp_path: Path, inflict: Callable[[Path, Path], None], message: str
) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    path = folder / "weights.zip"
    inflict(plain.saved_model.path, path)
    with pytest.raises(PackageError, match=message):
        SavedModelRuntime(path)
    assert sorted(item.name for item in tmp_path.rglob("*")) == ["a", "b", "weights.zip"]


def test_a_zip_that_claims_too_much_is_not_unpacked(
    plain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_model, "MOST_BYTES", 1000)
    with pytest.raises(PackageError, match="claims 2 files"):
        SavedModelRuntime(plain.saved_model.path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "absent", ignore_errors=True)
    with pytest.raises(PackageError, match="absent"):
        SavedModelRuntime(tmp_path / "absent")
    with pytest.raises(PackageError, match="absent"):
        OnnxRuntime(tmp_path / "absent")


def test_what_an_export_writes_strangers_files_may_hold_too() -> None:
    """A package of ours comes back as anybody's: `verify` runs it, and so does another export."""
    assert saved_model.OPERATIONS <= COMPUTING
