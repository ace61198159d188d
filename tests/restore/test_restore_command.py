"""`w2s-export restore`, from packages and weights to files, seen from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.inputs import checkpoint, image, noise
from w2s_export.cli import run
from w2s_export.config import Normalisation, PercentileNormalisation, ZeroMeanNormalisation
from w2s_export.package.archive import Packages
from w2s_export.sources.npz_checkpoint import load_own, save_checkpoint


@pytest.fixture
def picture(tmp_path: Path) -> str:
    return image(tmp_path / "i.tif", noise(90, 110))


def onnx_of(package: Path, folder: Path) -> Path:
    with zipfile.ZipFile(package) as archive:
        return Path(archive.extract("weights.onnx", folder))


def expected(onnx: Path, pixels: np.ndarray, halo: int) -> np.ndarray:
    """The whole image at once, mirrored and cropped, in ONNX Runtime as it comes."""
    import onnxruntime

    low, high = np.percentile(pixels.astype(np.float64), [1, 99.8])
    x = ((pixels - low) / (high - low + 1e-6)).astype(np.float32)
    x = np.pad(x, halo, mode="symmetric")[None, None]
    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"input": x})[0]
    return result[0, 0, 2 * halo : -2 * halo, 2 * halo : -2 * halo]


@pytest.mark.parametrize("kind", ["bioimageio", "deepimagej"])
@pytest.mark.parametrize("option", ["--package", "--weights"])
def test_a_package_restores_what_its_network_does(
    packages: Packages, picture: str, tmp_path: Path, kind: str, option: str,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    package = getattr(packages, kind)
    arguments = ["restore", picture, "--output", str(tmp_path / "o"), option, str(package)]
    assert run([*arguments, "--json", "--engine", "cpu"]) == 0
    (entry,) = json.loads(capfd.readouterr().out)["images"]
    assert entry["status"] == "restored"
    assert entry["shape"] == [1, 1, 1, 180, 220]
    assert entry["percentile_ranges"][0] == pytest.approx(
        [np.percentile(noise(90, 110), 1), np.ptp(np.percentile(noise(90, 110), [1, 99.8]))]
    )
    got = tifffile.imread(entry["output"])
    whole = expected(onnx_of(package, tmp_path), noise(90, 110), halo=7)
    extent = whole.max() - whole.min()
    # one tile, the same graph and program: float32 rounding alone
    assert np.abs(got - whole).max() < 1e-6 * extent
    assert run([*arguments, "--engine", "cpu"]) == 0
    assert "0 restored, 1 finished before, 0 failed" in capfd.readouterr().out


def test_weights_are_converted_and_their_halo_measured(
    picture: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = checkpoint(tmp_path / "w.npz")
    arguments = ["restore", picture, "--output", str(tmp_path / "o"), "--weights", str(weights)]
    assert run([*arguments, "--memory", "1GB", "--threads", "1"]) == 0
    assert "1 restored" in capfd.readouterr().out
    assert tifffile.imread(tmp_path / "o" / "i.tif").shape == (180, 220)


@pytest.mark.parametrize(
    ("how", "said"), [(ZeroMeanNormalisation(), False), (PercentileNormalisation(), True)]
)
def test_values_lie_between_percentiles_where_there_are_any(
    picture: str, tmp_path: Path, how: Normalisation, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    made = load_own(checkpoint(tmp_path / "made.npz"))
    weights = save_checkpoint(replace(made, normalisation=how), tmp_path / "w.npz")
    options = ["--weights", str(weights), "--output", str(tmp_path / "o")]
    assert run(["restore", picture, *options]) == 0
    assert ("between the percentiles" in capsys.readouterr().out) is said


def test_a_package_whose_onnx_was_changed_is_refused(
    packages: Packages, picture: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    changed = tmp_path / "changed.zip"
    with zipfile.ZipFile(packages.bioimageio) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            # one more byte after the protobuf message: an unknown field, the weights unharmed
            new.writestr(name, old.read(name) + (b"\xa0\x06\x01" if name.endswith("onnx") else b""))
    arguments = ["restore", picture, "--output", str(tmp_path / "o"), "--package", str(changed)]
    assert run(arguments) == 2
    assert "SHA-256" in capfd.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.tif"], "is not there"),
        (["i.tif", "--memory", "lots"], "write an amount"),
        (["i.tif", "--memory", "1MB"], "allow more"),
        (["i.tif", "--workers", "0"], "give 1 or more"),
        (["i.tif", "--threads", "0"], "give 1 or more"),
        (["i.tif", "--threads", "99999999999"], "give 1024 or fewer"),
        (["i.tif", "--workers", "2"], "--format ome-zarr"),
        (["i.tif", "--workers", "2", "--scheduler", "tcp://h:1"], "exclude each other"),
        (["i.tif", "--scale", "2"], "--package has weights"),
        (["i.tif", "--engine", "tpu"], "tpu"),
        (["i.tif", "--output", "i.tif"], "is a file"),
    ],
)
def test_bad_requests(
    packages: Packages, picture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str], arguments: list[str], words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    package = ["--package", str(packages.bioimageio)]
    output = [] if "--output" in arguments else ["--output", "o"]
    assert run(["restore", *arguments, *output, *package]) == 2
    said = capfd.readouterr()
    assert words in " ".join((said.out + said.err).split())
    assert "Traceback" not in said.out + said.err
    assert not list(tmp_path.glob("o/**/*.tif"))


def test_one_bad_file_exits_with_1(
    packages: Packages, picture: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.tif").write_bytes(b"II*\0")
    arguments = ["restore", str(tmp_path), "--output", str(tmp_path / "o")]
    assert run([*arguments, "--package", str(packages.bioimageio)]) == 1
    said = capfd.readouterr()
    assert "bad.tif" in said.err
    assert "1 restored, 0 finished before, 1 failed" in said.out
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["i.tif"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file size limits")
@pytest.mark.parametrize(("limit", "code"), [(400_000, 1), (4_000, 2)])
def test_a_file_that_the_system_will_not_let_grow(
    packages: Packages, tmp_path: Path, limit: int, code: int
) -> None:
    """The kernel refuses to write the output, or the unpacked network, as a full disk would."""
    image(tmp_path / "i.tif", noise(250, 250))
    script = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
        "from w2s_export.cli import run; sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, "restore", "i.tif", "--output", "o"]
    command += ["--package", str(packages.bioimageio)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.glob("o/*")) == list(tmp_path.glob("o/.*")) == []


def run_it(*arguments: str, folder: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-m", "w2s_export", "restore", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=environment, check=False
    )


def test_guesses_are_said_as_export_says_them(
    picture: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from w2s_export.sources.checkpoint import Checkpoint
    from w2s_export.sources.load import load_checkpoint
    from w2s_export.sources.npz_checkpoint import save_checkpoint

    known = load_checkpoint(checkpoint(tmp_path / "w.npz"))
    bare = Checkpoint(known.config, known.weights, None, known.provenance)
    path = save_checkpoint(bare, tmp_path / "bare.npz")
    arguments = ["restore", picture, "--output", str(tmp_path / "o"), "--weights", str(path)]
    assert run(arguments) == 0
    assert "bare.npz: does not record how its images were normalised" in caplog.text
    caplog.clear()
    assert run([*arguments, "--normalisation", "range:0:900", "--overwrite"]) == 0
    assert "normalised" not in caplog.text


def test_a_second_run_measures_no_halo(picture: str, tmp_path: Path) -> None:
    weights = checkpoint(tmp_path / "w.npz")
    for output in ("a", "b"):
        done = run_it("i.tif", "--output", output, "--weights", str(weights), folder=tmp_path,
                      cache=tmp_path / "cache")  # fmt: skip
        assert done.returncode == 0
        assert done.stderr == ""  # no word of TensorFlow
    (kept,) = (tmp_path / "cache" / "w2s-export" / "halos").iterdir()
    assert {*json.loads(kept.read_text())} == {"halo", "minimum", "visible"}
    kept.write_text('{"halo": -3, "minimum": "x"}')
    again = run_it("i.tif", "--output", "c", "--weights", str(weights), folder=tmp_path,
                   cache=tmp_path / "cache")  # fmt: skip
    assert again.returncode == 0
    read = [tifffile.imread(tmp_path / name / "i.tif") for name in "abc"]
    for other in read[1:]:
        np.testing.assert_array_equal(other, read[0])


def test_a_small_number_is_no_amount_of_memory(
    picture: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["restore", picture, "--output", str(tmp_path / "o"), "--memory", "2"]) == 2
    assert "write 2GB" in capfd.readouterr().err


def test_an_interruption_says_what_is_kept(
    picture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from w2s_export.restore import batch

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "restore_files", interrupted)
    assert run(["restore", picture, "--output", str(tmp_path / "o")]) == 130
    assert "What is finished is kept" in capfd.readouterr().err


def test_a_damaged_file_is_named_once(
    packages: Packages, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image(tmp_path / "i.tif", noise(90, 110))
    xml = '<OME><Image ID="Image:0"><Pixels SizeX="no"/></Image></OME>'
    tifffile.imwrite(tmp_path / "bad.ome.tif", noise(9, 9), description=xml, metadata=None)
    arguments = ["restore", str(tmp_path), "--output", str(tmp_path / "o")]
    assert run([*arguments, "--package", str(packages.bioimageio)]) == 1
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert line.startswith("failed: ")
    assert "bad.ome.tif" in line
