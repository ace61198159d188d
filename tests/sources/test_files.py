"""Files that are not what they seem: damaged, oversized by claim, or of another kind."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from w2s_export.config import GeneratorConfig
from w2s_export.errors import CheckpointError, W2SExportError
from w2s_export.sources.load import load_checkpoint

torch = pytest.importorskip("torch")

CONFIG = GeneratorConfig(nf=8, gc=4, nb=2, in_nc=3, out_nc=3, scale=4, upsampling="conv")
GIGABYTES_5 = 5 << 30


def _safetensors(header: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _forged_zip(member: str) -> bytes:
    """A zip whose directory claims that its member unpacks to almost 4 GiB, twice."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(member, b"{}")
        archive.writestr("second", b"{}")
    data = bytearray(buffer.getvalue())
    place = -1
    while (place := data.find(b"PK\x01\x02", place + 1)) >= 0:
        data[place + 24 : place + 28] = struct.pack("<I", 0xFFFFFF00)
    return bytes(data)


def _hdf5(fill: Callable[[Any], Any]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        fill(file)
    return buffer.getvalue()


def _npy_claiming(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
    buffer = io.BytesIO()
    header = json.dumps({"generator": {"nf": 8, "gc": 4, "nb": 1}})
    np.savez(buffer, **{"w2s_export.json": np.array(header)})
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("conv_first/kernel.npy", member)
    return buffer.getvalue()


def _zip_of(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"0")
    return buffer.getvalue()


F32 = {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}
FILES: dict[str, tuple[str, bytes, str]] = {
    "empty": ("net.pth", b"", "is empty"),
    "png": ("net.pth", b"\x89PNG\r\n\x1a\n" + b"0" * 64, "is a PNG image"),
    "tiff": ("net.h5", b"II*\0" + b"0" * 64, "is a TIFF image"),
    "jpeg": ("net.onnx", b"\xff\xd8\xff\xe0" + b"0" * 64, "is a JPEG image"),
    "lfs": ("net.pth", b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    "web_page": ("net.pth", b"<!DOCTYPE html><html>", "is a web page"),
    "gzip": ("net.pth", b"\x1f\x8b" + b"0" * 64, "is a gzip archive"),
    "npy": ("net.npz", b"\x93NUMPY\x01\x00" + b"0" * 64, "is a single NumPy array"),
    "text": ("net.h5", b"# weights\n", "is of no known format"),
    "one_byte": ("net.h5", b"\x08", "is of no known format"),
    "random": ("net.pth", bytes(range(200, 256)) * 9, "is of no known format"),
    "tflite": ("net.tflite", b"\x1c\0\0\0TFL3" + b"0" * 64, "is a TensorFlow Lite model"),
    "pickle": ("net.pkl", pickle.dumps({"a": 1}), "is a Python pickle"),
    "saved_model_pb": ("saved_model.pb", b"\x08\x01\x12\x08" + b"0" * 64, "the whole folder"),
    "broken_zip": ("net.pth", b"PK\x03\x04" + b"0" * 64, "truncated or damaged zip"),
    "broken_hdf5": ("net.h5", b"\x89HDF\r\n\x1a\n" + b"0" * 64, "truncated or damaged HDF5"),
    "legacy_torch_cut": (
        "net.pth",
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + b"\x80\x02M",
        "truncated or damaged",
    ),
    "other_zip": ("net.zip", b"", "is a zip of"),
    "zip_of_checkpoints": (
        "nets.zip",
        _zip_of("netG_A2B.pth", "netG_B2A.pth"),
        "is a zip around other files ('netG_A2B.pth', 'netG_B2A.pth')",
    ),
    "nested_package": ("net.zip", b"", "zip its files flat"),
    "zip_of_5_gigabytes": ("net.npz", _forged_zip("w2s_export.json.npy"), "members claim 8.0 GiB"),
    "npz_of_5_gigabytes": ("net.npz", _npy_claiming("(3, 3, 1, 149130808)"), "claim 5.0 GiB"),
    "npz_too_short": ("net.npz", _npy_claiming("(3, 3, 1, 8)"), "lacks 37 weights"),
    "hdf5_of_5_gigabytes": (
        "net.weights.h5",
        _hdf5(lambda f: f.create_dataset("layers/conv2d/vars/0", (3, 3, 1, 149130808), "f4")),
        "its tensors claim 5.0 GiB",
    ),
    "hdf5_of_nothing": ("net.h5", _hdf5(lambda f: None), "holds no weights"),
    "hdf5_of_images": (
        "net.h5",
        _hdf5(lambda f: f.create_dataset("images", data=np.zeros((4, 4), "f4"))),
        "holds another network (1 tensor, first 'images' (4, 4))",
    ),
    "hdf5_of_words": (
        "net.h5",
        _hdf5(lambda f: f.create_dataset("layers/conv2d/vars/0", data=["a", "b"])),
        "holds object numbers",
    ),
    "safetensors_of_5_gigabytes": (
        "net.safetensors",
        _safetensors(
            {"a": {"dtype": "F32", "shape": [GIGABYTES_5 // 4], "data_offsets": [0, GIGABYTES_5]}}
        ),
        "is truncated",
    ),
    "safetensors_header_too_long": (
        "net.safetensors",
        struct.pack("<Q", 900) + b"{" + b" " * 20,
        "is of no known format",
    ),
    "safetensors_not_json": (
        "net.safetensors",
        struct.pack("<Q", 20) + b"{" + b" " * 30,
        "has a damaged header",
    ),
    "safetensors_cut": ("net.safetensors", _safetensors({"a": F32}, b"0" * 31), "is truncated"),
    "safetensors_lying": (
        "net.safetensors",
        _safetensors({"a": {**F32, "shape": [9]}}, b"0" * 32),
        "claims (9,) float32 but has 32 bytes",
    ),
    "safetensors_negative": (
        "net.safetensors",
        _safetensors({"a": {**F32, "shape": [-2, -4]}}, b"0" * 32),
        "has shape (-2, -4)",
    ),
    "safetensors_int8": (
        "net.safetensors",
        _safetensors({"a": {"dtype": "I8", "shape": [32], "data_offsets": [0, 32]}}, b"0" * 32),
        "holds int8 numbers",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_file(name: str, tmp_path: Path) -> None:
    filename, content, message = FILES[name]
    path = tmp_path / filename
    if content or name == "empty":
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("folder/rdf.yaml" if name == "nested_package" else "readme.txt", "x")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(tmp_path / "absent.pth")


def test_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"folder without saved_model\.pb"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["zip.pth", "legacy.pth", "h5", "safetensors", "npz"])
def test_truncated(kind: str, keep: float, tmp_path: Path, golden: Path, reference: Any) -> None:
    from w2s_export.sources.npz_checkpoint import save_checkpoint

    state = reference.state(CONFIG, 1)
    path = tmp_path / f"net.{kind}"
    if kind.endswith("pth"):
        zipped = kind.startswith("zip")
        tensors = {key: torch.from_numpy(value) for key, value in state.items()}
        torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
    elif kind == "h5":
        path.write_bytes((golden / "generator.h5").read_bytes())
    elif kind == "npz":
        save_checkpoint(load_checkpoint(golden / "generator.h5"), path)
    else:
        entry = {"dtype": "F32", "shape": [8192], "data_offsets": [0, 32768]}
        path.write_bytes(_safetensors({"conv_first.weight": entry}, b"0" * 32768))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(W2SExportError) as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
