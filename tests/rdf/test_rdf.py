"""Both descriptions against the specification's own validator and against the clients' rules.

J: JDLL 0.6.1, the reader of DeepImageJ 3.1. D: DeepImageJ 2.1.16. Each rule names its reader.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.package.conftest import TINY, Describe
from w2s_export.config import FixedRangeNormalisation, GeneratorConfig, Provenance
from w2s_export.package.archive import write_packages
from w2s_export.rdf import description as files
from w2s_export.rdf.description import Description
from w2s_export.rdf.metadata import Metadata
from w2s_export.rdf.v04 import rdf_04
from w2s_export.rdf.v05 import rdf_05
from w2s_export.verify.clients.jdll import plan

FACTORS = [
    TINY,
    TINY.model_copy(update={"scale": 1}),
    TINY.model_copy(update={"scale": 4, "upsampling": "conv"}),
    TINY.model_copy(update={"scale": 2, "pixel_unshuffle": 2, "upsampling": "conv"}),
    TINY.model_copy(update={"scale": 1, "pixel_unshuffle": 4, "upsampling": "conv"}),
    TINY.model_copy(update={"in_nc": 3, "out_nc": 3}),
    TINY.model_copy(update={"in_nc": 3, "out_nc": 1}),
]


def identify(config: GeneratorConfig) -> str:
    return f"x{config.scale}-unshuffle{config.pixel_unshuffle}-{config.in_nc}to{config.out_nc}"


def rdfs(description: Description) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both, as a YAML reader sees them."""
    names = [value for key, value in vars(files).items() if key.isupper() and key != "RDF"]
    hashes = dict.fromkeys([*names, *description.weights], description.artifacts[0].sha256)
    if description.network.normalisation is None:
        del hashes[files.PREPROCESSING]
    new, old = (
        yaml.safe_load(yaml.safe_dump(rdf(description, hashes))) for rdf in (rdf_05, rdf_04)
    )
    return new, old


def findings(path: Path) -> list[str]:
    """Warnings and errors of the specification's validator, files and their hashes included."""
    from bioimageio.spec import InvalidDescr, load_description

    with warnings.catch_warnings():
        # bioimageio.spec 0.5.12 leaves the zip open until its reader is collected.
        warnings.simplefilter("ignore", ResourceWarning)
        loaded = load_description(path)
        summary = loaded.validation_summary
        assert not isinstance(loaded, InvalidDescr), summary.format()
        del loaded
        gc.collect()
    return [
        f"{entry.loc}: {entry.msg}"
        for detail in summary.details
        for entry in (*detail.errors, *detail.warnings)
    ]


@pytest.mark.parametrize("config", FACTORS, ids=identify)
def test_the_specification_accepts_both(
    describe: Describe, tmp_path: Path, config: GeneratorConfig
) -> None:
    given = Metadata.model_validate(
        {"authors": [{"name": "Ada", "github_user": "fynnbe"}], "version": "1.0.0"}
    )
    halo = 4 if config.pixel_unshuffle > 1 else 6
    packages = write_packages(describe(config, halo=halo, given=given), tmp_path)
    assert findings(packages.bioimageio) == []
    assert findings(packages.deepimagej) == []


def test_what_is_not_known_is_not_invented(describe: Describe, tmp_path: Path) -> None:
    plain = describe(how=None, halo=0, pixel_size_um=None, provenance=Provenance())
    new, old = rdfs(plain)
    write_packages(plain, tmp_path)
    assert "license" not in new
    assert "timestamp" not in new
    assert old["timestamp"] == "1980-01-01T00:00:00+00:00"
    assert new["inputs"][0]["preprocessing"] == []
    assert old["config"]["deepimagej"]["prediction"]["preprocess"] == [{"spec": None}]
    findings(tmp_path / "tiny test model.bioimageio.zip")
    findings(tmp_path / "tiny test model.deepimagej.zip")


@pytest.mark.parametrize(("low", "high", "steps"), [(0.0, 1.0, 0), (100.0, 4195.0, 1)])
def test_fixed_ranges(
    describe: Describe, tmp_path: Path, low: float, high: float, steps: int
) -> None:
    # The specification refuses gain 1 and offset 0; core 0.11 runs no 0.4 scale_linear with axes.
    ranged = describe(how=FixedRangeNormalisation(low=low, high=high))
    new, old = rdfs(ranged)
    write_packages(ranged, tmp_path)
    for step in (*new["inputs"][0].get("preprocessing", ()), *old["inputs"][0]["preprocessing"]):
        assert step["kwargs"] == {
            "gain": pytest.approx(1 / (high - low)),
            "offset": pytest.approx(-low / (high - low)),
        }
    assert len(old["inputs"][0]["preprocessing"]) == steps
    findings(tmp_path / "tiny test model.bioimageio.zip")
    findings(tmp_path / "tiny test model.deepimagej.zip")


@pytest.mark.parametrize("config", FACTORS, ids=identify)
def test_specification_and_jdll_agree_on_the_output_size(
    describe: Describe, config: GeneratorConfig
) -> None:
    halo = 4 if config.pixel_unshuffle > 1 else 6
    new, old = rdfs(describe(config, halo=halo))
    for place in (2, 3):
        given, made = new["inputs"][0]["axes"][place], new["outputs"][0]["axes"][place]
        assert made["size"] == {"tensor_id": "input", "axis_id": given["id"]}
        assert given["scale"] / made["scale"] == config.scale  # specification 0.5
        assert made["scale"] == config.scale  # J multiplies by the output's scale
        assert "unit" not in given
        assert "unit" not in made
        assert made["halo"] % config.scale == 0
        assert given["size"]["min"] % given["size"]["step"] == 0
        assert given["size"]["min"] * config.scale - 2 * made["halo"] >= 1
    shape = old["outputs"][0]["shape"]
    assert set(shape) == {"reference_tensor", "scale", "offset"}  # J drops it without all three
    assert shape["scale"][2:] == [config.scale] * 2
    assert round(config.in_nc * shape["scale"][1]) == config.out_nc
    assert shape["offset"] == [0, 0, 0, 0]
    assert old["outputs"][0]["halo"] == [0, 0, halo * config.scale, halo * config.scale]
    least, step = old["inputs"][0]["shape"]["min"], old["inputs"][0]["shape"]["step"]
    assert step == [0, 0, config.pixel_unshuffle, config.pixel_unshuffle]
    assert least[0] == 1
    assert least[1] == config.in_nc
    assert least[2] % step[2] == least[3] % step[3] == 0  # J


def test_a_network_of_one_size_says_so_and_is_planned_in_its_tiles(
    describe: Describe, tmp_path: Path
) -> None:
    free = describe(halo=6)
    height, width = free.sample.image.shape[1:]
    fixed = replace(free, network=replace(free.network, fixed=(height, width)))
    new, old = rdfs(fixed)
    assert [axis["size"] for axis in new["inputs"][0]["axes"][2:]] == [height, width]
    assert old["inputs"][0]["shape"] == [1, 1, height, width]
    for rdf in (new, old):  # J: DeepImageJ 3.1 cuts tiles of that size, and crops the halo
        planned = plan(rdf, (1, 1, 3 * height + 5, 2 * width))
        assert [axis.tile for axis in planned.input] == [1, 1, height, width]
        assert planned.output_shape == (1, 1, 2 * (3 * height + 5), 4 * width)
        assert [axis.kept for axis in planned.input[2:]] == [height - 12, width - 12]
    write_packages(fixed, tmp_path)
    findings(tmp_path / "tiny test model.bioimageio.zip")
    findings(tmp_path / "tiny test model.deepimagej.zip")


def nulls(value: object, place: str = "") -> list[str]:
    if isinstance(value, Mapping):
        return [found for key, part in value.items() for found in nulls(part, f"{place}.{key}")]
    if isinstance(value, list):
        return [found for i, part in enumerate(value) for found in nulls(part, f"{place}[{i}]")]
    return [place] if value is None else []


def test_the_zoo_package_says_what_jdll_needs(description: Description) -> None:
    new, _ = rdfs(description)
    assert new["format_version"] == "0.5.10"  # core 0.10.4 reads no later one
    assert (new["documentation"], new["covers"]) == ("README.md", ["cover.png"])  # J: strings
    assert new["config"]["bioimageio"]["nickname"] == "tiny-test-model"  # J drops it without
    assert "id" not in new  # the zoo gives it
    assert "run_mode" not in new
    assert nulls(new) == []  # J calls methods on what a key holds
    for tensor in (*new["inputs"], *new["outputs"]):
        kinds = [axis["type"] for axis in tensor["axes"]]
        assert kinds == ["batch", "channel", "space", "space"]
        assert tensor["axes"][1]["channel_names"] == ["channel0"]  # J drops it without


def test_the_deepimagej_package_says_what_deepimagej_casts(description: Description) -> None:
    _, old = rdfs(description)
    assert old["format_version"] == "0.4.10"
    assert old["weights"]["tensorflow_saved_model_bundle"]["tensorflow_version"] == "2.7.0"
    assert old["config"]["bioimageio"]["nickname"] == "tiny-test-model"
    assert nulls(old) == [".config.deepimagej.model_keys"]
    config = old["config"]["deepimagej"]
    assert config["pyramidal_model"] is False
    assert config["allow_tiling"] is True
    assert config["prediction"] == {
        "preprocess": [{"spec": "ij.IJ::runMacroFile", "kwargs": "preprocessing.ijm"}],
        "postprocess": [{"spec": "ij.IJ::runMacroFile", "kwargs": "postprocessing.ijm"}],
    }
    tested = config["test_information"]
    assert len(tested["inputs"]) == len(old["inputs"])
    assert len(tested["outputs"]) == len(old["outputs"])
    assert tested["inputs"][0]["size"] == "64 x 48 x 1 x 1"  # width first
    assert tested["outputs"][0]["size"] == "128 x 96 x 1 x 1"
    assert tested["outputs"][0]["type"] == "image"
    assert set(tested["inputs"][0]["pixel_size"]) == {"x", "y", "z"}
    assert isinstance(tested["memory_peak"], str)
    assert isinstance(tested["runtime"], str)


@pytest.mark.parametrize("index", [0, 1], ids=["0.5", "0.4"])
def test_rules_of_both(description: Description, index: int) -> None:
    rdf = rdfs(description)[index]
    weights = rdf["weights"]
    assert set(weights) == {"onnx", "tensorflow_saved_model_bundle"}
    assert sum("parent" not in entry for entry in weights.values()) == 1
    assert weights["onnx"]["opset_version"] == 17
    for entry in weights.values():
        assert entry["sha256"] == description.artifact("onnx").sha256
    for step in rdf["inputs"][0]["preprocessing"]:
        assert step.get("id", step.get("name")) in {"scale_range", "scale_linear"}  # J has those


@pytest.mark.parametrize(
    ("name", "nickname"),
    [
        ("wf2sim-microtubules-s", "wf2sim-microtubules-s"),
        ("A (b) + C_d", "a-b-c-d"),
        ("+++++", "model"),
    ],
)
def test_nicknames(description: Description, name: str, nickname: str) -> None:
    assert replace(description, name=name).nickname == nickname


def test_the_generator_can_be_rebuilt_from_the_rdf(description: Description) -> None:
    for rdf in rdfs(description):
        kept = rdf["config"]["w2s_export"]
        assert GeneratorConfig.model_validate(kept["generator"]) == TINY
        assert kept["normalisation"]["kind"] == "percentile"
        assert Provenance.model_validate(kept["provenance"]) == description.network.provenance
