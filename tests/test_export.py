"""The main job, whole: weights in, two packages out, verified; and what a fault does to it."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from tests.inputs import checkpoint, image, noise
from w2s_export.cli import run

pytestmark = pytest.mark.xdist_group("export")

ZIPS = ("tiny-model.bioimageio.zip", "tiny-model.deepimagej.zip")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    weights = checkpoint(folder / "w.npz")
    sample = folder / "cell.tif"
    tifffile.imwrite(
        sample, noise(48, 64), imagej=True, resolution=(10, 10), metadata={"unit": "micron"}
    )
    output = folder / "output"
    arguments = ["--weights", str(weights), "--sample", str(sample), "--output", str(output)]
    assert run(arguments) == 0
    return output


def test_four_files_and_nothing_else(exported: Path) -> None:
    reports = ["report.json", "report.html"]
    assert sorted(p.name for p in exported.iterdir()) == sorted([*ZIPS, *reports])


@pytest.mark.parametrize("name", ZIPS)
def test_zips_are_flat_and_hold_everything(exported: Path, name: str) -> None:
    with zipfile.ZipFile(exported / name) as archive:
        names = archive.namelist()
        rdf = yaml.safe_load(archive.read("rdf.yaml"))
    assert not [n for n in names if "/" in n]
    assert {
        "rdf.yaml", "weights.onnx", "tensorflow_saved_model_bundle.zip", "test_input.npy",
        "test_output.npy", "sample_input.tif", "sample_output.tif", "preprocessing.ijm",
        "postprocessing.ijm", "README.md", "cover.png",
    } == set(names)  # fmt: skip
    assert rdf["name"] == "tiny-model"
    assert rdf["format_version"] == {"b": "0.5.10", "d": "0.4.10"}[name.split(".")[1][0]]


def test_the_sample_output_has_half_the_pixel_size(exported: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(exported / ZIPS[1]) as archive:
        archive.extractall(tmp_path)
    sizes = {}
    for name in ("sample_input.tif", "sample_output.tif"):
        with tifffile.TiffFile(tmp_path / name) as tiff:
            pixels, unit = tiff.pages[0].tags["XResolution"].value
            sizes[name] = (tiff.series[0].shape, unit / pixels, tiff.imagej_metadata["unit"])
    assert sizes["sample_input.tif"][0] == (48, 64)
    assert sizes["sample_output.tif"][0] == (96, 128)
    assert sizes["sample_input.tif"][1] == pytest.approx(0.1)
    assert sizes["sample_output.tif"][1] == pytest.approx(0.05)
    assert {s[2] for s in sizes.values()} == {"micron"}


def test_the_report_says_what_was_proven(exported: Path) -> None:
    report = json.loads((exported / "report.json").read_text(encoding="utf-8"))
    assert report["passed"] is True
    assert [f for f in report["findings"] if f["severity"] == "error"] == []
    compared = {(row["subject"].split()[0], row["case"].split(",")[0]) for row in report["parity"]}
    for runtime in ("ONNX", "TensorFlow"):
        assert {case for subject, case in compared if subject == runtime} >= {"sample", "noise"}
    batches = [row["shape"][0] for row in report["parity"] if len(row["shape"]) == 4]
    assert 2 in batches
    odd = [row["shape"] for row in report["parity"] if "odd" in row["case"]]
    assert odd
    assert max(row["max_relative"] for row in report["parity"]) < 1e-3
    assert len(report["bioimageio_core"]) == 4
    assert {test["result"] for test in report["bioimageio_core"]} == {"passed"}
    assert report["halo"]["minimum"] >= 2 * report["halo"]["input_pixels"] + 1


@pytest.mark.usefixtures("core_unasked")
@pytest.mark.parametrize("name", ZIPS)
def test_a_package_exported_again_is_the_same_package(
    name: str, exported: Path, tmp_path: Path
) -> None:
    assert run(["--weights", str(exported / name), "--output", str(tmp_path)]) == 0
    for zipped in ZIPS:
        assert (tmp_path / zipped).read_bytes() == (exported / zipped).read_bytes()


@pytest.mark.usefixtures("core_unasked")
def test_a_colour_package_exported_again_is_the_same_package(tmp_path: Path) -> None:
    """Authors, citations, notes and a colour sample come back too."""
    weights = checkpoint(tmp_path / "w.npz", in_nc=3, out_nc=3, scale=4, upsampling="conv")
    tifffile.imwrite(tmp_path / "s.tif", noise(40, 36, 3).astype(np.uint8), photometric="rgb")
    (tmp_path / "m.yaml").write_text(
        "authors: [{name: Ada Lovelace}]\ncite: [{text: A paper, doi: 10.1234/abc}]\n"
        "license: MIT\nnotes: One note.\ntimestamp: 2026-01-02T03:04:05\n"
    )
    once = ["--weights", str(weights), "--sample", str(tmp_path / "s.tif")]
    once += ["--metadata", str(tmp_path / "m.yaml"), "--output", str(tmp_path / "once")]
    assert run(once) == 0
    twice = ["--weights", str(tmp_path / "once" / ZIPS[0]), "--output", str(tmp_path / "twice")]
    assert run(twice) == 0
    for zipped in ZIPS:
        again = (tmp_path / "twice" / zipped).read_bytes()
        assert again == (tmp_path / "once" / zipped).read_bytes()


def test_the_page_shows_the_sample_and_every_format(exported: Path) -> None:
    page = (exported / "report.html").read_text(encoding="utf-8")
    assert "<h1>tiny-model</h1>" in page
    assert page.count('src="data:image/png;base64,') == 4  # input, output, a map of each format
    for words in (
        "Verified: every format",
        "Sample: cell. Input 64×48 pixels of 100 nm",
        "Converting to",
    ):
        assert words in page


@pytest.mark.usefixtures("core_unasked")
def test_overwrite_replaces_and_the_same_input_gives_the_same_bytes(
    exported: Path, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    output.mkdir()
    (output / ZIPS[0]).write_text("old")
    (output / "notes.txt").write_text("mine")
    source = exported.parent
    arguments = ["--weights", str(source / "w.npz"), "--sample", str(source / "cell.tif")]
    assert run([*arguments, "--output", str(output), "--overwrite"]) == 0
    for name in ZIPS:
        assert (output / name).read_bytes() == (exported / name).read_bytes()
    assert (output / "notes.txt").read_text() == "mine"


def test_a_failed_check_exits_with_1_and_is_named(
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from w2s_export.formats import onnx

    write = onnx.write

    def wrong(network, path):
        graph = type(network.graph)()
        graph.CopyFrom(network.graph)
        for weight in graph.graph.initializer:
            if weight.name.startswith("conv_last/bias"):
                shifted = np.frombuffer(weight.raw_data, np.float32) + 0.5
                weight.raw_data = shifted.astype(np.float32).tobytes()
        return write(dataclasses.replace(network, graph=graph), path)

    monkeypatch.setattr(onnx, "write", wrong)
    source = exported.parent
    arguments = ["--weights", str(source / "w.npz"), "--sample", str(source / "cell.tif")]
    assert run([*arguments, "--output", str(tmp_path / "output")]) == 1
    report = json.loads((tmp_path / "output" / "report.json").read_text(encoding="utf-8"))
    assert report["passed"] is False
    codes = {f["code"] for f in report["findings"] if f["severity"] == "error"}
    assert {"output-differs", "core-test-failed"} <= codes
    said = capsys.readouterr().out
    assert "output-differs" in said
    assert f"{tmp_path / 'output' / 'report.html'}\n" in said


@pytest.mark.usefixtures("core_unasked")
@pytest.mark.parametrize("shape", [(300, 300), (501, 161)], ids=["square", "strip"])
def test_the_sample_is_as_large_as_the_halo_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
) -> None:
    """Of a large image a small part would travel, smaller than the smallest image that tiles."""
    from w2s_export.package import sample

    monkeypatch.setattr(sample, "_WORK", 1)
    weights = checkpoint(tmp_path / "w.npz", strength=0.3, nb=2)
    cell = image(tmp_path / "cell.tif", noise(*shape))
    output = tmp_path / "output"
    assert run(["--weights", str(weights), "--sample", cell, "--output", str(output)]) == 0
    with zipfile.ZipFile(output / ZIPS[0]) as archive:
        rdf = yaml.safe_load(archive.read("rdf.yaml"))
        archive.extract("sample_input.tif", tmp_path)
    smaller, larger = sorted(tifffile.imread(tmp_path / "sample_input.tif").shape)
    minimum = rdf["inputs"][0]["axes"][2]["size"]["min"]
    assert sample.SMALLEST < minimum <= smaller <= larger < max(shape)


def test_an_image_smaller_than_the_network_needs_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = checkpoint(tmp_path / "w.npz", strength=0.3, nb=2)
    cell = image(tmp_path / "cell.tif", noise(33, 400))
    output = tmp_path / "output"
    assert run(["--weights", str(weights), "--sample", cell, "--output", str(output)]) == 2
    assert "give a larger one" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.usefixtures("core_unasked")
def test_a_colour_network_takes_a_repeated_grey_sample(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path / "rgb.npz", in_nc=3, out_nc=3)
    arguments = ["--weights", str(weights), "--sample", image(tmp_path / "s.tif", noise(48, 48))]
    output = tmp_path / "output"
    assert run([*arguments, "--repeat-channels", "--output", str(output)]) == 0
    with zipfile.ZipFile(output / ZIPS[0]) as archive:
        rdf = yaml.safe_load(archive.read("rdf.yaml"))
    assert len(rdf["inputs"][0]["axes"][1]["channel_names"]) == 3
