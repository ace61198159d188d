"""Whole files: only regular ones are read, and the longest name leaves room for one beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from w2s_export.errors import ImageError
from w2s_export.io.files import hidden_beside, regular_size, write_atomically


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127])
def test_the_longest_name_can_be_written(name: str, tmp_path: Path) -> None:
    write_atomically(tmp_path / name, b"x")
    assert (tmp_path / name).read_bytes() == b"x"
    assert len(list(tmp_path.iterdir())) == 1


def test_names_beside_differ(tmp_path: Path) -> None:
    assert hidden_beside(tmp_path / "a.tif", ".part").name == ".a.tif.part"
    one, other = (hidden_beside(tmp_path / (letter * 255), ".part") for letter in "ab")
    assert one != other
    assert len(os.fsencode(one.name)) <= 255


def test_a_folder_and_a_missing_file_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder, and only files are read"):
        regular_size(tmp_path, ImageError)
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        regular_size(tmp_path / "x", ImageError)
    (tmp_path / "x").write_bytes(b"123")
    assert regular_size(tmp_path / "x", ImageError) == 3


@pytest.mark.skipif(os.name == "nt", reason="Windows has names of characters, not of bytes")
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_a_name_is_the_same_text_in_every_locale(encoding: str) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom w2s_export.io.files import name_of\n"
        "print(ascii(name_of(Path(os.fsdecode(b'/a/caf\\xc3\\xa9\\xff.tif')))))\n"
    )
    locales = {"utf-8": "C.UTF-8", "ascii": "C", "latin-1": "de_DE.ISO-8859-1"}
    strict = {"LC_ALL": locales[encoding], "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **strict},
        capture_output=True,
        check=True,
    )
    assert done.stdout.strip() == rb"'caf\xe9\\xff.tif'"
