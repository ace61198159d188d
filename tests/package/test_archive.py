from __future__ import annotations

import io
import os
import shutil
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from w2s_export.errors import ConfigError, OutputError, PackageError
from w2s_export.package import archive
from w2s_export.package.archive import open_package, write_packages
from w2s_export.rdf.description import Description, Sample

EXPECTED = {
    "README.md",
    "cover.png",
    "postprocessing.ijm",
    "preprocessing.ijm",
    "rdf.yaml",
    "sample_input.tif",
    "sample_output.tif",
    "tensorflow_saved_model_bundle.zip",
    "test_input.npy",
    "test_output.npy",
    "weights.onnx",
}


def test_both_zips_are_flat_and_complete(description: Description, tmp_path: Path) -> None:
    packages = write_packages(description, tmp_path / "new" / "folder")
    assert packages.bioimageio.name == "tiny test model.bioimageio.zip"
    assert packages.deepimagej.name == "tiny test model.deepimagej.zip"
    for path in (packages.bioimageio, packages.deepimagej):
        with zipfile.ZipFile(path) as zipped:
            assert set(zipped.namelist()) == EXPECTED
            assert zipped.testzip() is None
    assert {path.name for path in packages.bioimageio.parent.iterdir()} == {
        packages.bioimageio.name,
        packages.deepimagej.name,
    }


def test_the_same_model_gives_the_same_bytes_anywhere_and_anytime(
    description: Description, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_packages(description, tmp_path / "one")
    moved = tmp_path / "elsewhere"
    shutil.copy(description.artifacts[0].path, moved)
    elsewhere = tuple(replace(artifact, path=moved) for artifact in description.artifacts)
    other = replace(description, artifacts=elsewhere)
    later = time.time() + 1e8
    monkeypatch.setattr(time, "time", lambda: later)
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    monkeypatch.chdir(tmp_path)
    mask = os.umask(0o077)
    try:
        second = write_packages(other, Path("two"))
    finally:
        os.umask(mask)
    assert first.bioimageio.read_bytes() == second.bioimageio.read_bytes()
    assert first.deepimagej.read_bytes() == second.deepimagej.read_bytes()


def test_members_carry_no_date_and_no_owner(description: Description, tmp_path: Path) -> None:
    with zipfile.ZipFile(write_packages(description, tmp_path).deepimagej) as zipped:
        names = zipped.namelist()
        assert names == sorted(names)
        for member in zipped.infolist():
            assert member.date_time == (1980, 1, 1, 0, 0, 0)
            assert member.external_attr >> 16 == 0o100644
            assert member.extra == b""


def test_rdf_text_is_plain_ascii_without_aliases(description: Description, tmp_path: Path) -> None:
    # DeepImageJ 2.1 reads it in the platform's encoding.
    text = open_package(write_packages(description, tmp_path).deepimagej).read("rdf.yaml")
    assert text.isascii()
    assert b"&id" not in text


def test_test_tensors_are_counts_and_the_source_output(
    description: Description, tmp_path: Path
) -> None:
    package = open_package(write_packages(description, tmp_path).bioimageio)
    given = np.load(io.BytesIO(package.read("test_input.npy")))
    expected = np.load(io.BytesIO(package.read("test_output.npy")))
    assert (given.dtype, given.shape) == (np.float32, (1, 1, 48, 64))
    assert (expected.dtype, expected.shape) == (np.float32, (1, 1, 96, 128))
    np.testing.assert_array_equal(given[0], description.sample.image)
    np.testing.assert_array_equal(expected[0], description.sample.restored)


def test_samples_keep_their_type_and_pixel_size(description: Description, tmp_path: Path) -> None:
    package = open_package(write_packages(description, tmp_path).deepimagej)
    package.extract(tmp_path, "sample_input.tif", "sample_output.tif")
    for name, dtype, side in (("input", np.uint16, 0.0626), ("output", np.float32, 0.0313)):
        with tifffile.TiffFile(tmp_path / f"sample_{name}.tif") as tif:
            assert tif.is_imagej
            assert tif.asarray().dtype == dtype
            count, length = tif.pages[0].tags["XResolution"].value
            assert length / count == pytest.approx(side, rel=1e-6)


def test_types_imagej_lacks_become_what_the_network_sees(
    description: Description, tmp_path: Path
) -> None:
    sample = replace(description.sample, image=description.sample.image.astype(np.int32) - 100)
    package = open_package(write_packages(replace(description, sample=sample), tmp_path).deepimagej)
    package.extract(tmp_path, "sample_input.tif")
    stored = tifffile.imread(tmp_path / "sample_input.tif")
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored, sample.image[0])


def test_changed_weights_are_refused_and_leave_nothing(
    description: Description, tmp_path: Path
) -> None:
    first, *others = description.artifacts
    stale = replace(description, artifacts=(replace(first, sha256="0" * 64), *others))
    with pytest.raises(PackageError, match="is not the file that was converted"):
        write_packages(stale, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failure_leaves_the_old_packages(
    description: Description, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = write_packages(description, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive, "write_zip", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_packages(description, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert old.bioimageio.is_file()


def test_an_unusable_folder_is_named(description: Description, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        write_packages(description, tmp_path / "file" / "out")


@pytest.mark.parametrize("name", ["a/b/c", "../escape", "four", "naïve"])
def test_a_name_outside_the_rule_makes_no_description(description: Description, name: str) -> None:
    with pytest.raises(ConfigError, match="5 to 128"):
        replace(description, name=name)


@pytest.mark.parametrize(
    ("image", "restored", "words"),
    [
        ((3, 48, 64), (1, 96, 128), "the network takes"),
        ((48, 64), (1, 96, 128), "the network takes"),
        ((1, 48, 64), (1, 48, 64), "the network makes"),
        ((1, 12, 64), (1, 24, 128), "smallest image is 13×13"),
    ],
)
def test_a_sample_that_does_not_fit_makes_no_description(
    description: Description,
    image: tuple[int, ...],
    restored: tuple[int, ...],
    words: str,
) -> None:
    sample = Sample(np.zeros(image, np.uint8), np.zeros(restored, np.float32), None, "zeros")
    with pytest.raises(PackageError, match=words):
        replace(description, sample=sample)
