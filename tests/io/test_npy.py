"""Planes that numpy saved, and files that only look like them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from w2s_export.errors import ImageError
from w2s_export.io import memory
from w2s_export.io.images import read_image


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "uint16"])
def test_a_plane_is_read(tmp_path: Path, dtype: str) -> None:
    plane = np.arange(12).reshape(3, 4).astype(dtype)
    np.save(tmp_path / "001_0.npy", plane)
    image = read_image(tmp_path / "001_0.npy")
    assert image.pixels.shape == (1, 1, 3, 4)
    assert image.pixels.dtype.isnative
    assert image.name == "001_0"
    np.testing.assert_array_equal(image.pixels[0, 0], np.arange(12).reshape(3, 4))


class Bomb:
    """Would leave a file behind if it were ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    bomb = np.array([[Bomb(tmp_path / "exploded")]], dtype=object)
    np.save(tmp_path / "bomb.npy", bomb, allow_pickle=True)
    with pytest.raises(ImageError, match="object"):
        read_image(tmp_path / "bomb.npy")
    assert not (tmp_path / "exploded").exists()


def saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (saved(np.zeros((2, 3, 4))), r"shape is \(2, 3, 4\)"),
        (saved(np.zeros((8, 8)))[:-1], "damaged"),
        (saved(np.zeros((8, 8)))[:30], "damaged"),
        (saved(np.zeros((8, 8), complex)), "only integers and real numbers"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
    ],
    ids=["stack", "cut short", "header cut", "complex", "Git LFS pointer"],
)
def test_others_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ImageError, match=words):
        read_image(tmp_path / "a.npy")


def test_a_claim_beyond_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "large.npy", np.zeros((100, 100)))
    monkeypatch.setattr(memory, "MAX_BYTES", 79_999)
    with pytest.raises(ImageError, match="more than fits in memory"):
        read_image(tmp_path / "large.npy")
