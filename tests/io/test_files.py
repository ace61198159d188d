"""Whole files: only regular ones are read, and the longest name leaves room for one beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from w2s_export.errors import ImageError
from w2s_export.io.files import hidden, regular_size, write_atomically


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127])
def test_the_longest_name_can_be_written(name: str, tmp_path: Path) -> None:
    write_atomically(tmp_path / name, b"x")
    assert (tmp_path / name).read_bytes() == b"x"
    assert len(list(tmp_path.iterdir())) == 1


def test_names_beside_differ(tmp_path: Path) -> None:
    assert hidden(tmp_path / "a.tif", ".part").name == ".a.tif.part"
    one, other = (hidden(tmp_path / (letter * 255), ".part") for letter in "ab")
    assert one != other
    assert len(os.fsencode(one.name)) <= 255


def test_a_folder_and_a_missing_file_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder, and only files are read"):
        regular_size(tmp_path, ImageError)
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        regular_size(tmp_path / "x", ImageError)
    (tmp_path / "x").write_bytes(b"123")
    assert regular_size(tmp_path / "x", ImageError) == 3
