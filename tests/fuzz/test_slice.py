"""A slice of the fuzzing for every run of the tests; `python -m tests.fuzz` runs the whole."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("resource", reason="bounds are measured as POSIX does")

from tests.fuzz.subjects import attempt, chosen, damage, mutated, originals


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("subject", "count"), [("weights", 60), ("packages", 60), ("images", 90)])
def test_a_damaged_file_is_read_or_refused(subject: str, count: int, tmp_path: Path) -> None:
    files = originals(subject, tmp_path, slow=False)
    cases = tmp_path / "cases"
    cases.mkdir()
    for seed in range(count):
        file = chosen(files, seed)
        result = attempt(file, damage(file, seed, cases))
        assert not result.fault, (f"{file.path.name}, seed {seed}", result.fault)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("in_this_process", "core_unasked")
@pytest.mark.parametrize("subject", ["weights", "packages", "images"])
def test_undamaged_it_is_read(subject: str, tmp_path: Path) -> None:
    for file in originals(subject, tmp_path):
        result = attempt(file, file.path)
        assert result.kind == "read", (file.path.name, result, file.read(file.path))


def test_the_same_seed_makes_the_same_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 8
    assert mutated(data, 5) == mutated(data, 5) != mutated(data, 6)
    for file in originals("packages", tmp_path, slow=False):
        (tmp_path / "cases").mkdir(exist_ok=True)
        first, again = (damage(file, 3, tmp_path / "cases").read_bytes() for _ in range(2))
        assert first == again
