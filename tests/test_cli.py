"""Bad input: a clear message, exit code 2, no traceback, and an untouched output folder."""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.inputs import checkpoint, image, noise
from w2s_export.cli import run
from w2s_export.config import Provenance
from w2s_export.sources.npz_checkpoint import load_own, save_checkpoint

Arrange = Callable[[Path], list[str]]


def _missing(tmp: Path) -> list[str]:
    return ["--weights", str(tmp / "none.npz")]


def _truncated(tmp: Path) -> list[str]:
    path = checkpoint(tmp / "w.npz")
    path.write_bytes(path.read_bytes()[:-2000])
    return ["--weights", str(path)]


def _no_checkpoint(tmp: Path) -> list[str]:
    (tmp / "w.npz").write_bytes(b"hello")
    return ["--weights", str(tmp / "w.npz")]


def _another_architecture(tmp: Path) -> list[str]:
    tensor = {"dtype": "F32", "shape": [8, 3, 3, 3], "data_offsets": [0, 864]}
    header = json.dumps({"head.0.weight": tensor}).encode()
    path = tmp / "edsr.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(864))
    return ["--weights", str(path)]


def _nan_weights(tmp: Path) -> list[str]:
    path = checkpoint(tmp / "w.npz")
    members = dict(np.load(path))
    members["conv_hr/kernel"][0, 0, 0, 0] = np.nan
    np.savez(path, **members)
    return ["--weights", str(path)]


def _rgb_sample(tmp: Path) -> list[str]:
    tifffile.imwrite(tmp / "rgb.tif", noise(64, 64, 3).astype(np.uint8), photometric="rgb")
    return ["--weights", str(checkpoint(tmp / "w.npz")), "--sample", str(tmp / "rgb.tif")]


def _constant_sample(tmp: Path) -> list[str]:
    return ["--sample", image(tmp / "flat.tif", np.full((64, 64), 7, np.uint16))]


def _tiny_sample(tmp: Path) -> list[str]:
    return ["--sample", image(tmp / "tiny.tif", noise(9, 64))]


def _nan_sample(tmp: Path) -> list[str]:
    pixels = noise(64, 64).astype(np.float32)
    pixels[3, 4] = np.nan
    return ["--sample", image(tmp / "nan.tif", pixels)]


def _stack_sample(tmp: Path) -> list[str]:
    path = tmp / "stack.tif"
    tifffile.imwrite(path, noise(5, 64, 64), imagej=True, metadata={"axes": "ZYX"})
    return ["--sample", str(path)]


def _plane_out_of_range(tmp: Path) -> list[str]:
    return [*_stack_sample(tmp), "--plane", "5"]


def _grey_sample_for_colour(tmp: Path) -> list[str]:
    path = checkpoint(tmp / "w.npz", in_nc=3, out_nc=3)
    return ["--weights", str(path), "--sample", image(tmp / "grey.tif", noise(64, 64))]


def _bad_name(tmp: Path) -> list[str]:
    return ["--name", "a/b"]


def _bad_metadata(tmp: Path) -> list[str]:
    (tmp / "m.yaml").write_text("authors: [{nam: Ada}]\n")
    return ["--metadata", str(tmp / "m.yaml")]


def _bad_normalisation(tmp: Path) -> list[str]:
    return ["--normalisation", "zscore"]


def _reversed_normalisation(tmp: Path) -> list[str]:
    return ["--normalisation", "percentile:99:2"]


def _infinite_normalisation(tmp: Path) -> list[str]:
    return ["--normalisation", "range:0:inf"]


def _nan_normalisation(tmp: Path) -> list[str]:
    return ["--normalisation", "range:nan:255"]


def _short_file_name(tmp: Path) -> list[str]:
    checkpoint(tmp / "w.npz")
    named = load_own(tmp / "w.npz")
    unnamed = dataclasses.replace(named, provenance=Provenance())
    return ["--weights", str(save_checkpoint(unnamed, tmp / "net.npz"))]


def _unknown_option(tmp: Path) -> list[str]:
    return ["--wieghts", "x"]


FAULTS: list[tuple[Arrange, str]] = [
    (_missing, "none.npz"),
    (_truncated, "w.npz"),
    (_no_checkpoint, "w.npz"),
    (_another_architecture, "head.0"),
    (_nan_weights, "NaN or infinity"),
    (_rgb_sample, "has 3 channels, the network takes 1"),
    (_constant_sample, "every pixel is 7"),
    (_tiny_sample, "is 9×64 pixels"),
    (_nan_sample, "NaN or infinite pixels"),
    (_stack_sample, "--plane 0…4"),
    (_plane_out_of_range, "got --plane 5"),
    (_grey_sample_for_colour, "--repeat-channels"),
    (_bad_name, "'a/b'"),
    (_bad_metadata, "nam"),
    (_bad_normalisation, "percentile:LOW:HIGH"),
    (_reversed_normalisation, "must be below"),
    (_infinite_normalisation, "finite"),
    (_nan_normalisation, "finite"),
    (_short_file_name, '-network"'),
    (_unknown_option, "wieghts"),
]


@pytest.mark.parametrize(("arrange", "words"), FAULTS, ids=[a.__name__[1:] for a, _ in FAULTS])
def test_bad_input(
    arrange: Arrange, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "parent" / "output"
    assert run([*arrange(tmp_path), "--output", str(output)]) == 2
    said = capfd.readouterr()
    assert words in " ".join((said.out + said.err).split())
    assert "Traceback" not in said.out + said.err
    assert not output.parent.exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["restroe", "x.tif"], "did you mean restore?"),
        (["network.pth"], "--weights FILE"),
        (["[bold]x[/bold]"], "[bold]x[/bold]: is no command"),
        (["restore", "x.tif"], "--output is missing; w2s-export restore --help"),
        (["restore", "x.tif", "--output"], "--output has no value"),
        (["verify", "a.zip", "b.zip"], "b.zip: is one argument too many"),
        (["simulate", "--output", "s", "--fields", "x"], "must be a whole number, got 'x'"),
        (["--scale", "2.5"], "must be a whole number, got '2.5'"),
        (["restore", "x.tif", "--output", "o", "--precision", "16.5"], "whole number"),
        (["restore", "x.tif", "--outptu", "o"], "--output?"),
        (["verify", "https://zenodo.org/x.zip"], "https://zenodo.org/x.zip is an address"),
        (["restore", "a.tif", "s3://b/c.zarr", "--output", "o"], "s3://b/c.zarr is an address"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(
    command: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(command) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("Error: ")
    assert said.err.count("\n") == 1
    assert words in said.err
    assert list(tmp_path.iterdir()) == []


def test_help_is_shown_to_the_quiet_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--quiet", "--version"]) == 0
    assert capsys.readouterr().out.strip()


@pytest.fixture
def small(tmp_path: Path) -> list[str]:
    weights = checkpoint(tmp_path / "w.npz")
    return ["--weights", str(weights), "--sample", image(tmp_path / "s.tif", noise(64, 64))]


def test_an_existing_export_is_kept_without_overwrite(
    small: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "output"
    output.mkdir()
    taken = output / "tiny-model.deepimagej.zip"
    taken.write_text("mine")
    assert run([*small, "--output", str(output)]) == 2
    assert "--overwrite" in capfd.readouterr().err
    assert [p.name for p in output.iterdir()] == [taken.name]
    assert taken.read_text() == "mine"


def test_an_output_that_is_a_file_is_refused(
    small: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "output").write_text("mine")
    assert run([*small, "--output", str(tmp_path / "output")]) == 2
    assert "cannot be written" in capfd.readouterr().err
    assert (tmp_path / "output").read_text() == "mine"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes anywhere")
def test_an_unwritable_output_is_refused(small: list[str], tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert run([*small, "--output", str(locked / "output")]) == 2


def test_a_failure_on_the_way_leaves_nothing(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from w2s_export.errors import PackageError
    from w2s_export.package import archive

    def fail(*_: object) -> None:
        raise PackageError("no")

    monkeypatch.setattr(archive, "write_card", fail)
    assert run([*small, "--output", str(tmp_path / "a" / "b")]) == 2
    assert not (tmp_path / "a").exists()


def test_help_names_every_command_and_the_module_runs_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "w2s_export", "--help"], capture_output=True, text=True, check=True
    )
    for word in ("train", "inspect", "--weights", "--sample", "--output", "--overwrite"):
        assert word in done.stdout


def test_the_checkpoint_survives_a_round_trip(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "w.npz")
    loaded = load_own(path)
    again = save_checkpoint(loaded, tmp_path / "again.npz")
    assert path.read_bytes() == again.read_bytes()
    assert dataclasses.replace(loaded, weights={}) == dataclasses.replace(
        load_own(again), weights={}
    )


INTERRUPTING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run in the background

class Finder:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
from w2s_export.cli import main
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("module", ["cyclopts", "w2s_export.options", "numpy"])
def test_an_interruption_while_modules_are_imported_is_one_line(
    module: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTING.format(module=module), "inspect", "none.npz"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
def test_an_output_that_nobody_reads_is_no_traceback(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    (tmp_path / "no_image.tif").write_bytes(b"no image")
    command = ["restore", str(tmp_path / "no_image.tif"), "--output", str(tmp_path), "--json"]
    with os.fdopen(writing, "wb") as closed:
        ended = subprocess.run(
            [sys.executable, "-m", "w2s_export", *command],
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (ended.returncode, b"BrokenPipe" in ended.stderr) == (141, False)
