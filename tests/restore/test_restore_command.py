"""`w2s-export restore`, from packages and weights to files, seen from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.inputs import checkpoint, image, noise
from w2s_export.cli import run
from w2s_export.package.archive import Packages


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
        (["i.tif", "--workers", "2"], "--format ome-zarr"),
        (["i.tif", "--workers", "2", "--scheduler", "tcp://h:1"], "exclude each other"),
        (["i.tif", "--scale", "2"], "--package has weights"),
        (["i.tif", "--engine", "tpu"], "tpu"),
    ],
)
def test_bad_requests(
    packages: Packages, picture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str], arguments: list[str], words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    package = ["--package", str(packages.bioimageio)]
    assert run(["restore", *arguments, "--output", "o", *package]) == 2
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
