"""`restore --precision 16`: measured on every image, stated in it, refused where it is too far."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.inputs import image, noise
from w2s_export.cli import run
from w2s_export.package.archive import Packages
from w2s_export.runtime import choose, precision

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Rounded:
    """float32 inference, rounded to so many bits of the mantissa: stands in for a processor."""

    def __init__(self, onnx: Path, bits: int) -> None:
        from w2s_export.runtime.onnx_runtime import OnnxRuntime

        self.name, self._exact, self._mask = "rounded", OnnxRuntime(onnx), 0xFFFFFFFF << (23 - bits)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        bits = self._exact(batch).view(np.uint32) & np.uint32(self._mask & 0xFFFFFFFF)
        return bits.view(np.float32)


def rounding_to(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    real = choose.open_engine

    def opened(
        engine: choose.Engine, onnx: Path, threads: int | None, of: int = 32, **where: int | None
    ) -> object:
        return Rounded(onnx, bits) if of == 16 else real(engine, onnx, threads, **where)

    monkeypatch.setattr("w2s_export.restore.engines.open_engine", opened)


@pytest.mark.parametrize("form", ["tiff", "ome-tiff", "ome-zarr"])
def test_the_error_is_told_and_stated_in_the_output(
    packages: Packages,
    tmp_path: Path,
    form: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rounding_to(monkeypatch, 11)
    source = image(tmp_path / "i.tif", noise(91, 77))
    common = [source, "--package", str(packages.bioimageio), "--format", form]
    given = ["restore", *common, "--output", str(tmp_path / "o"), "--precision", "16", "--json"]
    assert run(given) == 0
    (told,) = json.loads(capsys.readouterr().out)["images"]
    error = told["precision_error"]
    assert 55 < error["decibels"] < 90
    assert 0 < error["rms"] < error["largest"] < 1e-2
    target = Path(told["output"])
    if form == "ome-zarr":
        stated = json.loads((target / "zarr.json").read_text())["attributes"]["w2s_export"]
        assert stated["precision_error"] == error
        assert stated["record"]["precision"] == 16
    else:
        with tifffile.TiffFile(target) as tif:
            text = (tif.imagej_metadata or {}).get("Info") or tif.ome_metadata
        line = re.search(r"precision_error: (\{.*?\})", text.replace("&quot;", '"'))
        assert json.loads(line[1]) == error
    assert run(["restore", *common, "--output", str(tmp_path / "exact")]) == 0
    if form != "ome-zarr":  # against what float32 restores
        got, expected = (
            tifffile.imread(folder / target.name) for folder in (tmp_path / "o", tmp_path / "exact")
        )
        assert precision.precision_error(got, expected).decibels == pytest.approx(
            error["decibels"], abs=6
        )
    capsys.readouterr()
    assert run(given) == 0  # measured values do not make it another result
    assert json.loads(capsys.readouterr().out)["images"][0]["status"] == "skipped"
    assert run([*given[:-3], "--json"]) == 1
    assert "another precision" in json.loads(capsys.readouterr().out)["images"][0]["reason"]


def test_too_far_is_refused_and_leaves_nothing(
    packages: Packages,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rounding_to(monkeypatch, 4)
    source = image(tmp_path / "i.tif", noise(91, 77))
    given = ["restore", source, "--package", str(packages.bioimageio), "--precision", "16"]
    for form in ("tiff", "ome-zarr"):
        output = tmp_path / form
        assert run([*given, "--output", str(output), "--format", form, "--json"]) == 1
        (told,) = json.loads(capsys.readouterr().out)["images"]
        assert "too far" in told["reason"]
        assert not any(output.iterdir())


def test_cpu_fast_has_no_16_bits(packages: Packages, tmp_path: Path) -> None:
    given = ["restore", "x.tif", "--output", str(tmp_path), "--cpu-fast", "--precision", "16"]
    assert run(given) == 2
