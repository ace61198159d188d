"""`restore --cpu-fast` against `restore`, which runs the direct graph."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from tests.inputs import checkpoint, image, noise
from w2s_export.cli import run
from w2s_export.package.archive import Packages, write_packages
from w2s_export.rdf.description import Description

pytestmark = pytest.mark.xdist_group("cpu-fast")

FILE = "cpu_fast.onnx"


@pytest.fixture(scope="module")
def fast(description: Description, tmp_path_factory: pytest.TempPathFactory) -> Packages:
    from w2s_export.formats import cpu_fast

    folder = tmp_path_factory.mktemp("fast")
    graph = cpu_fast.write(description.network, folder / "any.onnx")
    return write_packages(replace(description, artifacts=(*description.artifacts, graph)), folder)


def restored(folder: Path, pixels: np.ndarray, *arguments: str) -> np.ndarray:
    folder.mkdir()
    source = image(folder / "i.tif", pixels)
    assert run(["restore", source, "--output", str(folder / "o"), *arguments]) == 0
    return np.asarray(tifffile.imread(folder / "o" / "i.tif"))


@pytest.mark.parametrize("kind", ["bioimageio", "deepimagej"])
def test_both_packages_hold_it_and_say_so(fast: Packages, kind: str) -> None:
    with zipfile.ZipFile(getattr(fast, kind)) as archive:
        content, rdf = archive.read(FILE), yaml.safe_load(archive.read("rdf.yaml"))
    digest = sha256(content).hexdigest()
    assert rdf["config"]["w2s_export"]["cpu_fast"] == {"source": FILE, "sha256": digest}
    if kind == "deepimagej":
        assert FILE in rdf["attachments"]["files"]
    else:
        assert {"source": FILE, "sha256": digest} in rdf["attachments"]
    assert {entry["source"] for entry in rdf["weights"].values()} & {FILE} == set()


@pytest.mark.parametrize("option", ["--package", "--weights"])
def test_it_restores_the_same_at_an_odd_size(
    fast: Packages, tmp_path: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from w2s_export.runtime import onnx_runtime

    ran = []
    opened = onnx_runtime.OnnxRuntime.__init__

    def watched(self: object, onnx: Path, *arguments: object, **options: object) -> None:
        import onnx as library

        ran.append({node.op_type for node in library.load(onnx).graph.node})
        opened(self, onnx, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(onnx_runtime.OnnxRuntime, "__init__", watched)
    pixels, given = noise(91, 203), [option, str(fast.bioimageio), "--memory", "1GB"]
    direct = restored(tmp_path / "direct", pixels, *given)
    other = restored(tmp_path / "fast", pixels, *given, "--cpu-fast")
    assert "Gather" in ran[-1] - ran[0]
    assert not np.array_equal(other, direct)  # another graph rounds otherwise
    # measured: 1e-6 of the range; a wrong border or tap gives 1e-2 and more
    assert np.abs(other - direct).max() <= 1e-4 * np.ptp(direct)


def test_weights_are_converted_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = ["--weights", str(checkpoint(tmp_path / "w.npz")), "--memory", "1GB"]
    direct = restored(tmp_path / "direct", noise(45, 67), *weights)
    other = restored(tmp_path / "fast", noise(45, 67), *weights, "--cpu-fast")
    assert not np.array_equal(other, direct)
    assert np.abs(other - direct).max() <= 1e-4 * np.ptp(direct)


def test_a_graph_that_differs_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from w2s_export.errors import ConversionError
    from w2s_export.graph import winograd
    from w2s_export.package.network import read_weights

    bare = read_weights(checkpoint(tmp_path / "w.npz"), cpu_fast=True)
    monkeypatch.setattr(
        "w2s_export.graph.cpu_fast.output_matrix", lambda: 1.001 * winograd.output_matrix()
    )
    with pytest.raises(ConversionError, match="restore without --cpu-fast"):
        bare.open(tmp_path)


def test_another_graph_than_the_stated_one_is_refused(
    fast: Packages, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    changed = tmp_path / "changed.zip"
    with zipfile.ZipFile(fast.bioimageio) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            # one more byte after the protobuf message: an unknown field, the weights unharmed
            new.writestr(name, old.read(name) + (b"\xa0\x06\x01" if name == FILE else b""))
    arguments = ["restore", image(tmp_path / "i.tif", noise(45, 67)), "--output"]
    package = ["--package", str(changed)]
    assert run([*arguments, str(tmp_path / "o"), *package, "--cpu-fast"]) == 2
    assert f"'{FILE}' is not the file whose SHA-256" in " ".join(capfd.readouterr().err.split())
    assert not (tmp_path / "o").exists()
    assert run([*arguments, str(tmp_path / "o"), *package]) == 0


@pytest.mark.parametrize(
    ("more", "words"), [([], "export it again with --cpu-fast"), (["--engine", "cuda"], "on a CPU")]
)
def test_where_it_cannot_run(
    packages: Packages, tmp_path: Path, more: list[str], words: str,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    arguments = ["restore", image(tmp_path / "i.tif", noise(45, 67)), "--cpu-fast", *more]
    arguments += ["--output", str(tmp_path / "o"), "--package", str(packages.bioimageio)]
    assert run(arguments) == 2
    assert words in " ".join(capfd.readouterr().err.split())
    assert not (tmp_path / "o").exists()


def test_tiles_are_smaller_as_it_takes_more_memory(packages: Packages, tmp_path: Path) -> None:
    from w2s_export.io.source import Layout
    from w2s_export.package.network import read_package
    from w2s_export.restore.memory import largest_tile

    network = read_package(packages.bioimageio).open(tmp_path)
    layout = Layout((1, 1, 1), 1, 5000, 5000, np.dtype("u2"), (1, 5000))
    sides = [
        largest_tile(each, 600 << 20, layout, 2, 64)
        for each in (network, network.by_cpu_fast(network.onnx))
    ]
    assert sides[1] < sides[0]
