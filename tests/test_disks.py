"""Disks that are full, read-only or others than the temporary one: named, and nothing is lost.

They are real ones, in memory, which takes a Linux on which the tests may mount.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from tests.core_unasked import leave_core_out
from tests.inputs import checkpoint, noise
from w2s_export.cli import run

pytestmark = pytest.mark.xdist_group("disks")
Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Makes a disk of a size; further calls resize it or make it read-only."""
    place = tmp_path / "disk"
    place.mkdir()

    def mounted(options: str) -> Path:
        again = "remount," if os.path.ismount(place) else ""
        command = ["mount", "-t", "tmpfs", "-o", again + options, "w2s-export", str(place)]
        if shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
            pytest.skip("this user may not mount")
        return place

    yield mounted
    if os.path.ismount(place):
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights, an image and an export of both."""
    folder = tmp_path_factory.mktemp("exported")
    tifffile.imwrite(folder / "cell.tif", noise(48, 64))
    with pytest.MonkeyPatch.context() as patch:
        leave_core_out(patch)
        assert run(_export(folder, checkpoint(folder / "w.npz"), folder / "o")) == 0
    return folder


def _export(folder: Path, weights: Path, output: Path) -> list[str]:
    sample = str(folder / "cell.tif")
    return ["--weights", str(weights), "--sample", sample, "--output", str(output)]


def _package(exported: Path) -> str:
    return str(next((exported / "o").glob("*.bioimageio.zip")))


def _contents(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _temporary(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))


def _fill(disk: Path, left: int) -> None:
    free = shutil.disk_usage(disk).free
    with (disk / "filler").open("wb") as stream:
        stream.write(bytes(max(0, free - left)))


FULL = r"disk of .+ is full|No space left on device|disk has .* left"


def _refused_for(capsys: pytest.CaptureFixture[str], pattern: str) -> None:
    import re

    said = " ".join("".join(capsys.readouterr()).split())
    assert re.search(pattern, said), said


@pytest.mark.usefixtures("core_unasked")
def test_an_export_that_does_not_fit_leaves_the_earlier_one(
    mount: Mount, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = mount("size=8m")
    output = disk / "o"
    shutil.copytree(exported / "o", output)
    _fill(disk, 700_000)  # less than both packages together
    before = _contents(output)
    weights = checkpoint(exported / "other.npz", strength=0.2)
    assert run([*_export(exported, weights, output), "--overwrite"]) == 2
    _refused_for(capsys, FULL)
    assert _contents(output) == before
    assert run(_export(exported, weights, disk / "new")) == 2
    assert not (disk / "new").exists()


def test_a_full_temporary_disk_blames_no_package(
    mount: Mount,
    exported: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = mount("size=300k")
    _temporary(monkeypatch, disk)
    before = _contents(exported / "o")
    weights = exported / "w.npz"
    assert run([*_export(exported, weights, exported / "o"), "--overwrite"]) == 2
    _refused_for(capsys, FULL)
    assert _contents(exported / "o") == before
    assert run(["verify", _package(exported)]) == 2
    _refused_for(capsys, "disk-full")
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize("form", ["tiff", "ome-tiff", "ome-zarr"])
@pytest.mark.parametrize("left", [4096, 120_000])
def test_restored_images_that_do_not_fit_are_not_left_in_part(
    mount: Mount, exported: Path, capsys: pytest.CaptureFixture[str], form: str, left: int
) -> None:
    disk = mount("size=1m")
    images = exported / "images"
    images.mkdir(exist_ok=True)
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(images / name, noise(100, 120))
    output = disk / "r"
    output.mkdir()
    (output / "mine.txt").write_text("mine")
    _fill(disk, left)
    command = ["restore", str(images), "--package", _package(exported), "--output", str(output)]
    assert run([*command, "--format", form, "--engine", "cpu"]) in (1, 2)
    _refused_for(capsys, FULL)
    assert [path.name for path in output.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("left", [20_000, 200_000])
def test_a_training_that_does_not_fit_says_so(
    mount: Mount, tmp_path: Path, capsys: pytest.CaptureFixture[str], left: int
) -> None:
    data, rng = tmp_path / "data", np.random.default_rng(0)
    for name in "abcd":
        low = rng.integers(0, 4000, (16, 20)).astype(np.uint16)
        for place, pixels in (("lr", low), ("hr", low.repeat(2, 0).repeat(2, 1))):
            (data / place).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(data / place / f"{name}.tif", pixels)
    values = {
        "name": "tiny-model",
        "data": {"validation": ["c.tif"], "test": ["d.tif"]},
        "generator": {"nf": 4, "gc": 2, "nb": 1},
        "patch": 8,
        "batch": 4,
        "steps": 400,
        "validate_every": 5,
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    disk = mount("size=1m")
    _fill(disk, left)
    command = ["train", str(tmp_path / "c.yaml"), "--data", str(data)]
    assert run([*command, "--output", str(disk / "run")]) == 2
    _refused_for(capsys, FULL)


def test_a_read_only_disk_is_named(
    mount: Mount, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = mount("size=8m")
    shutil.copytree(exported / "o", disk / "o")
    mount("ro")
    before = _contents(disk)
    weights = exported / "w.npz"
    cell = str(exported / "cell.tif")
    for command in (
        [*_export(exported, weights, disk / "o"), "--overwrite"],
        _export(exported, weights, disk / "new"),
        ["restore", cell, "--package", _package(exported), "--output", str(disk / "r")],
        ["restore", cell, "--package", _package(exported), "--output", str(disk / "r.ome.zarr")],
        ["verify", _package(exported), "--rules-only", "--page", str(disk / "p.html")],
        ["simulate", "--output", str(disk / "s"), "--fields", "1", "--size", "32"],
    ):
        assert run(command) == 2, command
        _refused_for(capsys, "Read-only file system")
    assert _contents(disk) == before


def test_output_may_lie_on_another_disk_than_temporary_files(mount: Mount, exported: Path) -> None:
    disk = mount("size=64m")
    assert run(_export(exported, exported / "w.npz", disk / "o")) == 0
    ours, there = _contents(exported / "o"), _contents(disk / "o")
    assert ours.keys() == there.keys()
    for name in ours:
        if name.endswith(".zip"):
            assert ours[name] == there[name]
    cell = str(exported / "cell.tif")
    for output in (disk / "r", exported / "r"):
        command = ["restore", cell, "--package", _package(exported), "--output", str(output)]
        assert run([*command, "--engine", "cpu"]) == 0
    assert _contents(disk / "r") == _contents(exported / "r")
