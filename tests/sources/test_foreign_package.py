"""Packages of others: descriptions as CAREamics, ZeroCostDL4Mic and the zoo write them."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tifffile
import yaml
from numpy.typing import NDArray

from tests.graph.test_lower import CONV, PLAIN, model, n, plain, run
from w2s_export.config import (
    FixedMeanNormalisation,
    FixedRangeNormalisation,
    NoNormalisation,
    Normalisation,
    PercentileNormalisation,
    ZeroMeanNormalisation,
)
from w2s_export.data.normalise import normalise
from w2s_export.errors import CheckpointError, PackageError
from w2s_export.graph.facts import read_facts
from w2s_export.graph.lower import lower
from w2s_export.network import Network
from w2s_export.package.foreign_metadata import differs_from_test, read_others
from w2s_export.package.reexport import Recorded
from w2s_export.sources.adapted_network import of_counts
from w2s_export.sources.foreign_package import normalisation_of
from w2s_export.sources.inspect import inspect_checkpoint
from w2s_export.sources.load import load_network

RNG = np.random.default_rng(6)

# n2v and CARE of ZeroCostDL4Mic (0.3, 0.4), CAREamics and the zoo's U-Nets (0.5).
PROCESSING: list[tuple[list[dict[str, Any]], Normalisation]] = [
    ([], NoNormalisation()),
    (
        [{"name": "scale_range", "kwargs": {"mode": "per_sample", "axes": "xyc",
                                             "min_percentile": 1, "max_percentile": 99.8}}],
        PercentileNormalisation(low=1, high=99.8),
    ),
    (
        [{"name": "scale_linear", "kwargs": {"axes": "xy", "gain": 0.00392156862745098,
                                              "offset": 0.0}}],
        FixedRangeNormalisation(low=0, high=255),
    ),
    (
        [{"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": [120.5], "std": [31.25]}}],
        FixedMeanNormalisation(mean=120.5, std=31.25),
    ),
    (
        [{"name": "zero_mean_unit_variance", "kwargs": {"mode": "per_sample", "axes": "yx"}}],
        ZeroMeanNormalisation(),
    ),
    (
        [
            {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
            {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", "y", "x"]}},
            {"id": "clip", "kwargs": {"min": -3, "max": 3}},
        ],
        ZeroMeanNormalisation(clip=(-3, 3)),
    ),
]  # fmt: skip


PERCENTILES = PROCESSING[1][1]


@pytest.mark.parametrize(("steps", "how"), PROCESSING, ids=lambda value: str(value)[:40])
def test_processing_becomes_a_normalisation(
    steps: list[dict[str, Any]], how: Normalisation
) -> None:
    found = normalisation_of({"axes": "byxc", "shape": [1, 64, 64, 1], "preprocessing": steps})
    assert (found.kind, found.clip) == (how.kind, how.clip)
    numbers = [value for value in how.model_dump().values() if isinstance(value, float)]
    made = [value for value in found.model_dump().values() if isinstance(value, float)]
    assert made == pytest.approx(numbers)


@pytest.mark.parametrize(
    "step",
    [
        {"id": "scale_linear", "kwargs": {"gain": [0.5, 0.25, 0.125], "offset": -1}},
        {
            "name": "zero_mean_unit_variance",
            "kwargs": {"mode": "fixed", "mean": [2, 4, 8], "std": [2, 4, 8], "axes": "yx"},
        },
        {
            "id": "fixed_zero_mean_unit_variance",
            "kwargs": {"mean": [2, 4, 8], "std": [2, 4, 8], "axis": "channel"},
        },
    ],
    ids=lambda step: str(step.get("id", step.get("name"))),
)
def test_numbers_for_each_channel_become_part_of_the_network(step: dict[str, Any]) -> None:
    found = normalisation_of({"axes": "bcyx", "shape": [1, 3, 64, 64], "preprocessing": [step]})
    assert found == FixedMeanNormalisation(mean=(2.0, 4.0, 8.0), std=(2.0, 4.0, 8.0))
    image = (RNG.random((1, 3, 20, 24)) * 9).astype(np.float32)
    numbers = np.reshape([2, 4, 8], (3, 1, 1)).astype(np.float32)
    np.testing.assert_allclose(normalise(image[0], found), (image[0] - numbers) / numbers, 1e-5)
    proto = model(PLAIN, plain(3), size=("n", 3, "h", "w"), made=("n", 3, "h", "w"))
    network = Network(
        lower(proto).graph, "", 3, 3, 1, read_facts(lower(proto).graph),
        lambda: Original(proto), normalisation=found,
    )  # fmt: skip
    inside = of_counts(network)
    assert inside.normalisation == NoNormalisation()
    expected = run(proto, (image - numbers) / numbers)
    np.testing.assert_allclose(run(inside.graph, image), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"name": "binarize", "kwargs": {"threshold": 3}}], "'binarize'"),
        (
            [{"id": "scale_linear", "kwargs": {"gain": [1, 2, 3], "offset": [0, 1]}}],
            "with numbers for 3 and for 2 channels",
        ),
        (
            [{"name": "scale_range", "kwargs": {"mode": "per_dataset"}}],
            "'scale_range' over a data set",
        ),
        (
            [{"name": "zero_mean_unit_variance", "kwargs": {"axes": "yx"}}],
            "of each channel apart",
        ),
    ],
)
def test_processing_that_is_not_known_is_named(steps: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        normalisation_of({"axes": "bcyx", "shape": [1, 3, 64, 64], "preprocessing": steps})


def package(path: Path, proto: onnx.ModelProto, **changes: Any) -> Path:
    image = RNG.integers(0, 4000, (1, 1, 40, 48)).astype(np.uint16)
    stream = BytesIO()
    np.save(stream, image)
    axes = [
        {"type": "batch"},
        {"type": "channel", "channel_names": ["raw"]},
        {"type": "space", "id": "y", "size": {"min": 16, "step": 1}},
        {"type": "space", "id": "x", "size": {"min": 16, "step": 1}},
    ]
    rdf = {
        "format_version": "0.5.4",
        "type": "model",
        "name": "N2V of somebody",
        "description": "Denoises.",
        "authors": [{"name": "A. Body", "orcid": "0000-0002-1825-0097"}],
        "cite": [{"text": "Krull et al.", "doi": "https://doi.org/10.1109/CVPR.2019.00223"}],
        "license": "BSD-3-Clause",
        "tags": ["denoising"],
        "inputs": [
            {
                "id": "raw",
                "axes": axes,
                "test_tensor": {"source": "in.npy"},
                "preprocessing": PROCESSING[3][0],
            }
        ],
        "outputs": [
            {
                "id": "clean",
                "axes": axes,
                "postprocessing": [
                    {"id": "scale_linear", "kwargs": {"gain": [31.25], "offset": [120.5]}}
                ],
            }
        ],
        "weights": {
            "torchscript": {"source": "weights.pt"},
            "onnx": {"source": "weights.onnx", "opset_version": 17},
        },
        **changes,
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rdf.yaml", yaml.safe_dump(rdf))
        archive.writestr("in.npy", stream.getvalue())
        archive.writestr("weights.onnx", proto.SerializeToString())
        archive.writestr("weights.pt", b"PK never opened")
    return path


def test_a_package_of_others_is_taken_over(tmp_path: Path) -> None:
    proto = model(PLAIN, plain())
    path = package(tmp_path / "theirs.zip", proto)
    network = load_network(path)
    assert network.normalisation == FixedMeanNormalisation(mean=120.5, std=31.25)
    assert dict(inspect_checkpoint(path).details)["postprocessing"] == "`y · 31.25 + 120.5`"
    batch = RNG.random((2, 1, 24, 32)).astype(np.float32)
    expected = run(proto, batch) * 31.25 + 120.5
    np.testing.assert_allclose(run(network.graph, batch), expected, rtol=1e-5)
    np.testing.assert_allclose(network.reference()(batch), expected, rtol=1e-5)
    recorded = read_others(path, 1)
    assert recorded.sample.pixels.shape == (1, 40, 48)
    assert recorded.metadata.name == "N2V of somebody"
    assert recorded.metadata.license == "BSD-3-Clause"
    assert recorded.metadata.cite[0].doi == "10.1109/CVPR.2019.00223"
    assert recorded.metadata.authors[0].orcid == "0000-0002-1825-0097"


def test_several_outputs_are_refused_by_name(tmp_path: Path) -> None:
    outputs = [{"id": "prob"}, {"id": "dist"}]
    path = package(tmp_path / "stardist.zip", model(PLAIN, plain()), outputs=outputs)
    with pytest.raises(CheckpointError, match=r"describes 2 outputs \(prob, dist\)"):
        load_network(path)


def test_code_is_never_run(tmp_path: Path) -> None:
    weights = {"torchscript": {"source": "weights.pt"}}
    path = package(tmp_path / "theirs.zip", model(PLAIN, plain()), weights=weights)
    with pytest.raises(CheckpointError, match="TorchScript, a program with its weights, is never"):
        load_network(path)


MEANS, STDS = [1000.0, 150.0], [40.0, 80.0]
# Inputs and outputs of public descriptions, shortened; the networks are made here.
# bacteria: bioimage-io/spec-bioimage-io, example_descriptions/models/unet2d_keras_tf2 (pydeepimagej
# in ZeroCostDL4Mic). torch-em: the same, unet2d_fixed_shape (ilastik). CARE: format 0.3 as
# ZeroCostDL4Mic wrote it. CAREamics: several channels, in two ways of scaling back; the second is
# that of its model_description.py, whose numbers undo the 1e-6 that core adds to a deviation.
CHANNELS_3 = ["a", "b", "c"]
DESCRIBED: dict[str, tuple[dict[str, Any], int]] = {
    "bacteria": (
        {
            "format_version": "0.4.8",
            "inputs": [{
                "name": "input", "axes": "bxyc", "shape": [1, 256, 256, 1],
                "preprocessing": [{"name": "scale_range", "kwargs": {
                    "axes": "xyc", "max_percentile": 99.8, "min_percentile": 1.0,
                    "mode": "per_sample"}}],
            }],
            "outputs": [{"name": "output", "axes": "bxyc", "shape": {
                "offset": [0.0] * 4, "reference_tensor": "input", "scale": [1.0, 1.0, 1.0, 3.0]}}],
        },
        1,
    ),
    "torch-em": (
        {
            "format_version": "0.4.9",
            "inputs": [{
                "name": "input", "axes": "bcyx", "shape": [1, 1, 256, 256],
                "preprocessing": [{"name": "zero_mean_unit_variance",
                                   "kwargs": {"axes": "cyx", "mode": "per_sample"}}],
            }],
            "outputs": [{
                "name": "output", "axes": "bcyx", "halo": [0, 0, 8, 8], "shape": [1, 1, 256, 256],
                "postprocessing": [{"name": "sigmoid"},
                                   {"name": "clip", "kwargs": {"min": 0.4, "max": 0.6}}],
            }],
        },
        1,
    ),
    "CARE": (
        {
            "format_version": "0.3.2",
            "inputs": [{
                "name": "raw", "axes": "byxc",
                "shape": {"min": [1, 32, 32, 1], "step": [0, 8, 8, 0]},
                "preprocessing": [{"name": "scale_linear", "kwargs": {
                    "axes": "yx", "gain": [0.02], "offset": [-2.0]}}],
            }],
            "outputs": [{"name": "restored", "axes": "byxc", "postprocessing": [
                {"name": "scale_linear", "kwargs": {"gain": 50.0, "offset": 100.0}}]}],
        },
        1,
    ),
    "CAREamics": (
        {
            "format_version": "0.5.4",
            "inputs": [{
                "id": "input",
                "axes": [
                    {"type": "batch"}, {"type": "channel", "channel_names": CHANNELS_3},
                    {"type": "space", "id": "y", "size": {"min": 8, "step": 8}},
                    {"type": "space", "id": "x", "size": {"min": 8, "step": 8}},
                ],
                "preprocessing": [{"id": "fixed_zero_mean_unit_variance", "kwargs": {
                    "mean": [100.0, 150.0, 90.0], "std": [40.0, 80.0, 120.0],
                    "axis": "channel"}}],
            }],
            "outputs": [{
                "id": "prediction", "axes": [],
                "postprocessing": [{"id": "scale_linear", "kwargs": {
                    "gain": [40.0, 80.0, 120.0], "offset": [100.0, 150.0, 90.0],
                    "axis": "channel"}}],
            }],
        },
        3,
    ),
    "CAREamics, inverse": (
        {
            "format_version": "0.5.4",
            "inputs": [{
                "id": "input",
                "axes": [
                    {"type": "batch"}, {"type": "channel", "channel_names": ["a", "b"]},
                    {"type": "space", "id": "y", "size": 24},
                    {"type": "space", "id": "x", "size": 40},
                ],
                "preprocessing": [{"id": "fixed_zero_mean_unit_variance", "kwargs": {
                    "mean": MEANS, "std": STDS, "axis": "channel"}}],
            }],
            "outputs": [{
                "id": "prediction", "axes": [],
                "postprocessing": [{"id": "fixed_zero_mean_unit_variance", "kwargs": {
                    "mean": [-m / (s + 1e-6) for m, s in zip(MEANS, STDS, strict=True)],
                    "std": [1 / (s + 1e-6) - 1e-6 for s in STDS], "axis": "channel"}}],
            }],
        },
        2,
    ),
}  # fmt: skip


class Original:
    """A file in ONNX Runtime as it is."""

    name = "ONNX Runtime"

    def __init__(self, proto: onnx.ModelProto, last: bool = False) -> None:
        self.proto, self.last = proto, last

    def __call__(self, batch: Any) -> Any:
        made = run(self.proto, batch.transpose(0, 2, 3, 1) if self.last else batch)
        return made.transpose(0, 3, 1, 2) if self.last else made


@pytest.fixture
def opened_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX files opened in this process, not in a worker of their own."""

    def opened(path: Path, **_: Any) -> Network:
        proto = onnx.load(path)
        made = lower(proto)
        return Network(
            made.graph, "", made.channels_in, made.channels_out, made.scale,
            read_facts(made.graph), lambda: Original(proto, made.channels_last),
        )  # fmt: skip

    monkeypatch.setattr("w2s_export.sources.load.load_network", opened)


def step(image: Any, tensor: dict[str, Any]) -> Any:
    """One image (N, C, H, W) through a description's steps, as the specification words them."""
    where = "postprocessing" if "postprocessing" in tensor else "preprocessing"
    for one in tensor.get(where, []):
        name, how = one.get("id") or one["name"], one.get("kwargs", {})

        def numbers(key: str, how: dict[str, Any] = how) -> Any:
            return np.reshape(how[key], (-1, 1, 1))

        if name == "scale_range":
            low, high = np.percentile(image, (how["min_percentile"], how["max_percentile"]))
            image = (image - low) / (high - low + 1e-6)
        elif name == "zero_mean_unit_variance":
            image = (image - image.mean()) / (image.std() + 1e-6)
        elif name == "fixed_zero_mean_unit_variance":
            image = (image - numbers("mean")) / (numbers("std") + 1e-6)
        elif name == "scale_linear":
            image = image * numbers("gain") + numbers("offset")
        elif name == "sigmoid":
            image = 1 / (1 + np.exp(-image.astype(np.float64)))
        else:
            image = image.clip(how["min"], how["max"])
    return image.astype(np.float32)


@pytest.mark.parametrize("name", DESCRIBED)
@pytest.mark.usefixtures("opened_here")
def test_public_descriptions_give_the_image_they_describe(name: str, tmp_path: Path) -> None:
    rdf, channels = DESCRIBED[name]
    axes = rdf["inputs"][0]["axes"]
    size: tuple[Any, ...] = ("n", channels, "h", "w")
    nodes, last = PLAIN, isinstance(axes, str) and axes.endswith("c")
    if last:
        size = ("n", "h", "w", channels)
        nodes = [
            n("Transpose", "x", "t", perm=[0, 3, 1, 2]), n("Conv", "t k b", "a", **CONV),
            n("Relu", "a", "c"), n("Conv", "c l", "d", **CONV),
            n("Transpose", "d", "y", perm=[0, 2, 3, 1]),
        ]  # fmt: skip
    proto = model(nodes, plain(channels), size=size, made=size)
    path = package(tmp_path / "theirs.zip", proto, **rdf)
    network = of_counts(load_network(path))
    image = (RNG.random((1, channels, 24, 40)) * 300).astype(np.float32)

    given = step(image, rdf["inputs"][0])
    turn = (0, 3, 2, 1) if axes == "bxyc" else (0, 2, 3, 1) if last else (0, 1, 2, 3)
    back = (0, 3, 2, 1) if axes == "bxyc" else (0, 3, 1, 2) if last else (0, 1, 2, 3)
    made = run(proto, np.ascontiguousarray(given.transpose(turn))).transpose(back)
    expected = step(made, rdf["outputs"][0])

    normalised = normalise(image[0], network.normalisation)[np.newaxis]
    for result in (run(network.graph, normalised), network.reference()(normalised)):
        assert np.abs(result - expected).max() <= 2e-6 * max(1, np.abs(expected).max())


# What is beside the tensors in public descriptions, shortened: StarDist's and the nuclei U-Net of
# bioimage-io/spec-bioimage-io, napari-n2v's build_modelzoo, DEFCoN of DeepImageJ's tests (0.3).
SAID: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "StarDist": (
        {
            "format_version": "0.4.0",
            "cite": [
                {"text": "Star-Convex Polygons", "url": "10.1007/978-3-030-00934-2_30"},
                {"text": "Star-convex Polyhedra", "url": "10.1109/WACV45572.2020.9093435"},
            ],
            "authors": [{"name": "Uwe Schmidt"}, {"name": "M. Weigert", "github_user": "mw"}],
            "license": "CC-BY-NC-4.0",
        },
        {
            "cite": ["10.1007/978-3-030-00934-2_30", "10.1109/WACV45572.2020.9093435"],
            "authors": ["Uwe Schmidt", "M. Weigert"],
            "license": "CC-BY-NC-4.0",
        },
        "",
    ),
    "nuclei": (
        {
            "documentation": {"source": "README.md"},
            "authors": [{"name": "C. Pape;@bioimage-io", "orcid": "0000-0001-6562-7188",
                         "affiliation": "EMBL"}],
            "cite": [{"text": "U-net", "doi": "10.1007/978-3-319-24574-4_28"},
                     {"text": "Data Science Bowl", "url": "https://example.com/"}],
            "maintainers": [{"name": "C. Pape", "github_user": "constantinpape"}, {"name": "F."}],
            "license": "MIT",
        },
        {
            "cite": ["10.1007/978-3-319-24574-4_28", "https://example.com/"],
            "authors": ["C. Pape;@bioimage-io"],
            "license": "MIT",
        },
        "its check digit is wrong",
    ),
    "DEFCoN": (
        {
            "format_version": "0.3.0",
            "authors": ["Baptiste Ottino", "Kyle M. Douglass"],
            "cite": [{"text": "DEFCoN was written by Baptiste Ottino as a Master's thesis"}],
            "git_repo": "https://github.com/LEB-EPFL/DEFCoN-ImageJ",
            "license": "BSD 3",
        },
        {
            "cite": ["https://github.com/LEB-EPFL/DEFCoN-ImageJ"],
            "authors": ["Baptiste Ottino", "Kyle M. Douglass"],
            "license": None,
        },
        "no SPDX licence identifier",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
def test_people_citations_and_licence_are_kept_one_by_one(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rdf, expected, warned = SAID[name]
    found = read_others(package(tmp_path / "theirs.zip", model(PLAIN, plain()), **rdf), 1).metadata
    assert [entry.doi or entry.url for entry in found.cite] == expected["cite"]
    assert [person.name for person in found.authors] == expected["authors"]
    assert found.license == expected["license"]
    assert warned in caplog.text
    assert bool(warned) == ("left out" in caplog.text)
    if name == "nuclei":
        assert (found.authors[0].orcid, found.authors[0].affiliation) == (None, "EMBL")
        assert [person.github_user for person in found.maintainers] == ["constantinpape"]


def a_package_and_an_image(
    folder: Path,
) -> tuple[Path, dict[str, Any], NDArray[np.uint16], bytes]:
    """A package, its description, an image, and that image as a TIFF."""
    path = package(folder / "theirs.zip", model(PLAIN, plain()))
    image = RNG.integers(0, 4000, (48, 64)).astype(np.uint16)
    stream = BytesIO()
    tifffile.imwrite(stream, image)
    with zipfile.ZipFile(path) as archive:
        rdf = yaml.safe_load(archive.read("rdf.yaml"))
    return path, rdf, image, stream.getvalue()


def test_the_sample_image_serves_where_no_test_image_fits(tmp_path: Path) -> None:
    path, rdf, image, tiff = a_package_and_an_image(tmp_path)
    rdf["inputs"][0] |= {"test_tensor": {"source": "none.npy"}}
    assert with_files(path, rdf).sample is None
    rdf["inputs"][0] |= {"sample_tensor": {"source": "sample.tif"}}
    sample = with_files(path, rdf, {"sample.tif": tiff}).sample
    assert sample is not None
    np.testing.assert_array_equal(sample.pixels[0], image)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_test_image_may_be_a_tiff(damaged: bool, tmp_path: Path) -> None:
    """N2V and CSBDeep write `test_input.tif`."""
    path, rdf, image, tiff = a_package_and_an_image(tmp_path)
    rdf["inputs"][0] |= {"test_tensor": {"source": "test_input.tif"}}
    files = {"test_input.tif": tiff[: 100 if damaged else None]}
    if damaged:
        with pytest.raises(PackageError, match="test image 'test_input.tif' is damaged"):
            with_files(path, rdf, files)
        return
    sample = with_files(path, rdf, files).sample
    assert sample is not None
    np.testing.assert_array_equal(sample.pixels[0], image)


def with_files(path: Path, rdf: dict[str, Any], files: dict[str, bytes] | None = None) -> Recorded:
    changed = path.with_name("changed.zip")
    with zipfile.ZipFile(changed, "w") as archive:
        for name, content in {"rdf.yaml": yaml.safe_dump(rdf), **(files or {})}.items():
            archive.writestr(name, content)
    return read_others(changed, 1)


@pytest.mark.usefixtures("opened_here")
def test_the_user_says_what_a_description_cannot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """napari-n2v normalises over the training data, whose numbers its package does not hold."""
    step = {"name": "zero_mean_unit_variance", "kwargs": {"axes": "yx", "mode": "per_dataset"}}
    source = {"name": "i", "axes": "byxc", "shape": [1, 64, 64, 1], "preprocessing": [step]}
    rdf = {"format_version": "0.4.9", "inputs": [source], "outputs": [{"name": "o"}]}
    path = package(tmp_path / "n2v.zip", model(PLAIN, plain()), **rdf)
    with pytest.raises(CheckpointError, match="over a data set.*or say --normalisation"):
        load_network(path)
    given = FixedMeanNormalisation(mean=120, std=30)
    assert load_network(path, normalisation=given).normalisation == given
    assert "over a data set" in caplog.text


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.usefixtures("opened_here")
def test_the_test_output_of_a_package_is_compared(right: bool, tmp_path: Path) -> None:
    proto = model(PLAIN, plain())
    path = package(tmp_path / "theirs.zip", proto)
    with zipfile.ZipFile(path) as archive:
        rdf = yaml.safe_load(archive.read("rdf.yaml"))
        image = np.load(BytesIO(archive.read("in.npy"))).astype(np.float32)
    output = run(proto, (image - np.float32(120.5)) / np.float32(31.25)) * 31.25 + 120.5
    stream = BytesIO()
    np.save(stream, output if right else output.transpose(0, 1, 3, 2)[..., :40, :48])
    rdf["outputs"][0]["test_tensor"] = {"source": "out.npy"}
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("out.npy", stream.getvalue())
    changed = tmp_path / "changed.zip"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            text = yaml.safe_dump(rdf) if name == "rdf.yaml" else old.read(name)
            new.writestr(name, text)
    difference = differs_from_test(changed, load_network(changed))
    assert difference is not None
    assert (difference < 1e-5) == right


@pytest.mark.usefixtures("opened_here")
def test_what_a_macro_does_is_not_taken_for_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """pydeepimagej's first packages describe no processing and name macros that do it."""
    run_macro = {"spec": "ij.IJ::runMacroFile"}
    steps = {
        "preprocess": [{**run_macro, "kwargs": "scale.ijm"}],
        "postprocess": [{**run_macro, "kwargs": "mask.ijm"}],
    }
    proto = model(PLAIN, plain())
    rdf: dict[str, Any] = {
        "format_version": "0.3.0",
        "inputs": [{"name": "input", "axes": "bcyx"}],
        "outputs": [{"name": "output", "axes": "bcyx"}],
        "config": {"deepimagej": {"prediction": steps}},
    }
    path = package(tmp_path / "theirs.zip", proto, **rdf)
    with pytest.raises(CheckpointError, match=r"'scale\.ijm', which is never run.*--normalisation"):
        load_network(path)
    given = PercentileNormalisation(low=1, high=99)
    assert load_network(path, normalisation=given).normalisation == given
    assert "'mask.ijm', which DeepImageJ runs on the result" in caplog.text
    # A description that says what its macro does, as later ones do; and one that names none.
    rdf["inputs"][0]["preprocessing"] = PROCESSING[1][0]
    found = load_network(package(tmp_path / "later.zip", proto, **rdf))
    assert found.normalisation == PERCENTILES
    del rdf["inputs"][0]["preprocessing"]
    rdf["config"]["deepimagej"]["prediction"] = {"preprocess": [{"spec": None}]}
    assert load_network(package(tmp_path / "none.zip", proto, **rdf)).normalisation == (
        NoNormalisation()
    )


@pytest.mark.parametrize("source", ["./variables/variables", "./", "bundle", "bundle/variables"])
def test_a_saved_model_may_lie_unpacked_in_a_package(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N2V and CSBDeep put their description into the SavedModel's own zip (0.2.0-csbdeep)."""
    numbers = {"kwargs": {"mean": [120.5], "stdDev": [31.25]}}
    rdf = {
        "format_version": "0.2.0-csbdeep",
        "name": "N2V: blobs, 2D.",
        "authors": ["A. Body"],
        "test_input": "testinput.tif",
        "inputs": [{"name": "input", "axes": "byxc", "shape": {"min": [1, 4, 4, 1]}}],
        "outputs": [{"name": "activation_11/Identity:0", "axes": "byxc"}],
        "prediction": {
            "weights": {"source": source},
            "preprocess": [numbers],
            "postprocess": [numbers],
        },
    }
    folder = "bundle/" if source.startswith("bundle") else ""
    files = {"saved_model.pb": b"graph", "variables/variables.index": b"1"}
    image = RNG.integers(0, 4000, (40, 48)).astype(np.uint16)
    stream = BytesIO()
    tifffile.imwrite(stream, image)
    path = tmp_path / "theirs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.yaml", yaml.safe_dump(rdf))
        archive.writestr("testinput.tif", stream.getvalue())
        for name, content in files.items():
            archive.writestr(f"{folder}{name}", content)
    proto = model(PLAIN, plain())
    seen = {}

    def opened(file: Path, **_: Any) -> Network:
        with zipfile.ZipFile(file) as archive:
            seen.update({name: archive.read(name) for name in archive.namelist()})
        graph = lower(proto).graph
        return Network(graph, "", 1, 1, 1, read_facts(graph), lambda: Original(proto))

    monkeypatch.setattr("w2s_export.sources.load.load_network", opened)
    network = load_network(path)
    assert seen == files
    assert network.normalisation == FixedMeanNormalisation(mean=120.5, std=31.25)
    batch = RNG.random((1, 1, 24, 32)).astype(np.float32)
    expected = run(proto, batch) * 31.25 + 120.5
    np.testing.assert_allclose(run(network.graph, batch), expected, rtol=1e-5)
    recorded = read_others(path, 1)
    assert recorded.sample is not None
    np.testing.assert_array_equal(recorded.sample.pixels[0], image)
    assert recorded.metadata.name == "N2V blobs 2D"
