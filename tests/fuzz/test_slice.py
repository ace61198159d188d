"""A slice of the fuzzing for every run of the tests; `python -m tests.fuzz` runs the whole."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("resource", reason="bounds are measured as POSIX does")

from tests.fuzz.subjects import attempt, mutated, originals


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("subject", "count"), [("weights", 60), ("packages", 40), ("images", 60)])
def test_a_damaged_file_is_read_or_refused(subject: str, count: int, tmp_path: Path) -> None:
    files = originals(subject, tmp_path)
    # What a worker reads takes a second each.
    quick = [file for file in files if file.suffix != ".h5"]
    for seed in range(count):
        file = quick[seed % len(quick)]
        path = tmp_path / f"case{file.suffix}"
        path.write_bytes(mutated(file.read_bytes(), seed))
        result = attempt(subject, path)
        assert not result.fault, f"python -m tests.fuzz {subject}, {file.name}, seed {seed}"


@pytest.mark.parametrize("subject", ["weights", "packages", "images"])
def test_undamaged_it_is_read(subject: str, tmp_path: Path) -> None:
    for file in originals(subject, tmp_path):
        result = attempt(subject, file)
        assert result.kind == "read", (file.name, result)


def test_the_same_seed_makes_the_same_file() -> None:
    data = bytes(range(256)) * 8
    assert mutated(data, 5) == mutated(data, 5) != mutated(data, 6)
