"""Publishing: at any moment, after a kill too, a reader sees the files of one run."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from w2s_export.errors import OutputError
from w2s_export.publish import publish, staging

FILES = ("a.zip", "b.zip", "report.html", "report.json")

_KILLED = """
import os, signal, sys
from pathlib import Path
from w2s_export.publish import publish, staging

files, output, fatal = {files!r}, Path({output!r}), {fatal}
replace, count = Path.replace, 0

def counted(self, target):
    global count
    if count == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    count += 1
    return replace(self, target)

Path.replace = counted
with staging(output, files, overwrite=True) as folder:
    for name in files:
        (folder / name).write_text("new")
    publish(folder, output, files)
"""


def _write(folder: Path, text: str) -> None:
    for name in FILES:
        (folder / name).write_text(text)


def _visible(output: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in output.iterdir() if not p.name.startswith(".")}


def test_new_files_replace_old_ones_and_leave_the_rest(tmp_path: Path) -> None:
    _write(tmp_path, "old")
    (tmp_path / "notes.txt").write_text("mine")
    with staging(tmp_path, FILES, overwrite=True) as folder:
        _write(folder, "new")
        publish(folder, tmp_path, FILES)
    assert _visible(tmp_path) == dict.fromkeys(FILES, "new") | {"notes.txt": "mine"}
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills as POSIX does")
@pytest.mark.parametrize("fatal", range(8))
def test_killed_at_any_rename_one_run_is_seen_and_the_next_export_completes_it(
    tmp_path: Path, fatal: int
) -> None:
    _write(tmp_path, "old")
    program = _KILLED.format(files=FILES, output=str(tmp_path), fatal=fatal)
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -signal.SIGKILL
    seen = _visible(tmp_path)
    assert len(set(seen.values())) <= 1
    assert "report.json" not in seen or len(seen) == 4
    with (
        pytest.raises(OutputError, match="exists already"),
        staging(tmp_path, FILES, overwrite=False),
    ):
        pass
    assert _visible(tmp_path) == dict.fromkeys(FILES, "new")
    assert not list(tmp_path.glob(".*"))


def test_what_was_not_published_yet_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".w2s-export-dead"
    left.mkdir()
    _write(left, "new")
    with staging(tmp_path, FILES, overwrite=False):
        assert not left.exists()
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_replaced_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, "old")
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if self.name == "b.zip" and self.parent.name.startswith(".w2s-export-"):
            raise PermissionError(13, "in use", str(self), None, str(target))
        return replace(self, target)

    with staging(tmp_path, FILES, overwrite=True) as folder:
        _write(folder, "new")
        monkeypatch.setattr(Path, "replace", refuse)
        with pytest.raises(OutputError, match=r"b\.zip: cannot be replaced: in use"):
            publish(folder, tmp_path, FILES)
    assert _visible(tmp_path) == dict.fromkeys(FILES, "old")


def test_of_two_exports_at_once_one_is_refused(tmp_path: Path) -> None:
    messages = []

    def second() -> None:
        try:
            with staging(tmp_path, FILES, overwrite=True):
                pass
        except OutputError as error:
            messages.append(str(error))

    with staging(tmp_path, FILES, overwrite=True) as folder:
        _write(folder, "first")
        other = threading.Thread(target=second)
        other.start()
        other.join()
        publish(folder, tmp_path, FILES)
    assert "another export is writing into it" in messages[0]
    assert _visible(tmp_path) == dict.fromkeys(FILES, "first")
