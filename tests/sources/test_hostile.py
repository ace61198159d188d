"""Weights that are made to hang, to grow or to reach out: each is named, within bounds."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from w2s_export.errors import CheckpointError
from w2s_export.sources.load import load_checkpoint


def torch_file(path: Path, program: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/version", "3")
    return path


def doubling(levels: int, container: Callable[[Any], Any]) -> Any:
    inner: Any = container([1])
    for _ in range(levels):
        inner = container([inner, inner])
    return inner


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"state_dict": x}, lambda x: [x]])
def test_a_shared_structure_is_not_walked_without_end(wrap: Any, tmp_path: Path) -> None:
    content = wrap({"a": doubling(60, list)})
    with pytest.raises(CheckpointError, match="holds no state dict|more than a network's tensors"):
        load_checkpoint(torch_file(tmp_path / "w.pth", pickle.dumps(content, 2)))


def test_a_key_that_takes_for_ever_to_hash(tmp_path: Path) -> None:
    # (((1, 1), (1, 1)), …) as the key of a mapping, written by hand: Python would hash it.
    program = b"\x80\x02}K\x01q\x000" + b"h\x00h\x00\x86q\x000" * 60 + b"h\x00K\x01s."
    with pytest.raises(CheckpointError, match="holds no state dict"):
        load_checkpoint(torch_file(tmp_path / "w.pth", program))


@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_of_a_pickle_is_called(protocol: int, tmp_path: Path) -> None:
    target = tmp_path / "made"
    program = pickle.dumps({"w": Evil(target)}, protocol)
    with pytest.raises(CheckpointError, match=r"never unpickled \(posix\.mkdir\)|nt\.mkdir"):
        load_checkpoint(torch_file(tmp_path / "w.pth", program))
    assert not target.exists()


@pytest.mark.parametrize(
    "program",
    [b"", b"\x80\x02", b"\x80\x02.", b"\x80\x02}q", b"\x80\x02(((u.", b"\x80\x02h\x00.", b"Pabc\n.",
     b"\x80\x02}" + b"K\x01" * 10 + b"Q.", b"\x80\x02ctorch\nload\n)R.", b"\x80\x02}}b" * 9 + b"."],
)  # fmt: skip
def test_programs_that_are_none(program: bytes, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        load_checkpoint(torch_file(tmp_path / "w.pth", program))


def test_tensors_beyond_their_storage(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.zeros(4)}, tmp_path / "w.pth")
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as old,
        zipfile.ZipFile(tmp_path / "x.pth", "w") as new,
    ):
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("data.pkl"):
                assert data.count(b"K\x04") == 2  # the storage's length, the tensor's
                first, middle, last = data.split(b"K\x04")
                data = first + b"K\x04" + middle + b"K\x05" + last
            new.writestr(name, data)
    with pytest.raises(CheckpointError, match="beyond its storage"):
        load_checkpoint(tmp_path / "x.pth")


def test_hdf5_of_names_alone(tmp_path: Path) -> None:
    """Each of 3,000 names of layers lists 3,000 weights: nine million of one group."""
    with h5py.File(tmp_path / "w.h5", "w") as file:
        group = file.create_group("a")
        file.attrs["layer_names"] = np.array(["a"] * 3000, "S1")
        group.attrs["weight_names"] = np.array(["w"] * 3000, "S1")
        group["w"] = np.zeros(1, np.float32)
    with pytest.raises(CheckpointError, match="holds more than 20000 tensors"):
        load_checkpoint(tmp_path / "w.h5")


@pytest.mark.parametrize("link", ["external", "soft", "dataset"])
def test_hdf5_that_leads_into_another_file(link: str, tmp_path: Path) -> None:
    """Where the other file is a pipe, libhdf5 would wait for ever."""
    other = tmp_path / "other"
    if hasattr(os, "mkfifo"):
        os.mkfifo(other)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"] = np.array(["a"], "S1")
        if link == "external":
            file["a"] = h5py.ExternalLink(str(other), "/")
        elif link == "soft":
            file["b"] = h5py.ExternalLink(str(other), "/")
            file["a"] = h5py.SoftLink("/b")
        else:
            group = file.create_group("a")
            group.attrs["weight_names"] = np.array(["w"], "S1")
            group.create_dataset("w", (4,), np.float32, external=[(str(other), 0, 16)])
    with pytest.raises(CheckpointError, match="points into another file"):
        load_checkpoint(tmp_path / "w.h5")


def test_a_small_zip_that_unpacks_to_much(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w2s_export.json.npy", b"")
        archive.writestr("w.npy", bytes(200 << 20))
    with pytest.raises(CheckpointError, match=r"whose members claim 209715200"):
        load_checkpoint(tmp_path / "w.npz")


def safetensors(path: Path, header: Any) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(64))
    return path


@pytest.mark.parametrize(
    "shape", [[1 << 60] * 5000, [10**4000] * 4, [-1], [1] * 9, [1.5], ["1"], None, [[1]]]
)
def test_shapes_that_are_none(shape: Any, tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}
    with pytest.raises(CheckpointError):
        load_checkpoint(safetensors(tmp_path / "w.safetensors", {"w": entry}))


def test_names_without_end(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    with pytest.raises(CheckpointError, match="letters' name") as caught:
        load_checkpoint(safetensors(tmp_path / "w.safetensors", {"conv_first" * 100_000: entry}))
    assert len(str(caught.value)) < 1000
    many = {f"t{index}": entry for index in range(20_001)}
    with pytest.raises(CheckpointError, match="holds 20001 tensors"):
        load_checkpoint(safetensors(tmp_path / "w.safetensors", many))


def test_deep_headers(tmp_path: Path) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(CheckpointError):
        load_checkpoint(safetensors(tmp_path / "w.safetensors", b'{"w":' + deep + b"}"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes with names")
@pytest.mark.parametrize("kind", ["a pipe", "a device", "a socket"])
def test_only_files_are_read(kind: str, tmp_path: Path) -> None:
    import socket

    path = tmp_path / "w.pth"
    with socket.socket(socket.AF_UNIX) as server:
        if kind == "a pipe":
            os.mkfifo(path)
        elif kind == "a device":
            path.symlink_to("/dev/zero")
        else:
            server.bind(str(path))
        with pytest.raises(CheckpointError, match=f"is {kind}, and only files are read"):
            load_checkpoint(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes with names")
def test_parts_of_a_checkpoint_are_files(tmp_path: Path) -> None:
    (tmp_path / "variables").mkdir()
    os.mkfifo(tmp_path / "variables" / "variables.index")
    with pytest.raises(CheckpointError, match="is a pipe"):
        load_checkpoint(tmp_path)


def test_header_of_our_own_that_nests(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.array("[" * 100_000))
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("w2s_export.json.npy", stream.getvalue())
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "w.npz")
