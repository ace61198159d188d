"""The models in `models/`: what their cards say, and that they do not lose to bicubic elsewhere."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

import numpy as np
import pytest

from w2s_export import resources
from w2s_export.cli import run
from w2s_export.data.normalise import normalise
from w2s_export.data.pairs import Pair, read_files
from w2s_export.data.split import assign
from w2s_export.evaluate.compare import evaluate
from w2s_export.formats import onnx
from w2s_export.metrics.scores import Scores, bicubic, score
from w2s_export.networks.layout import parameter_count
from w2s_export.networks.rrdbnet import build_generator, set_weights
from w2s_export.rdf.metadata import read_metadata
from w2s_export.simulation.fields import SimulationConfig, simulate_pair
from w2s_export.sources.load import load_network
from w2s_export.sources.npz_checkpoint import load_own
from w2s_export.training.config import read_training_config
from w2s_export.training.evaluate import score_fields

MODELS = Path(__file__).resolve().parents[1] / "models"
LARGE = "wf2sim-structures-l"
DATA = Path(os.environ.get("W2S_DATA", MODELS.parents[1] / "shared" / "data")) / "biosr_mt"
NAMES = ("wf2sim-microtubules-s", "wf2sim-microtubules-s-gan")
FIRST = {LARGE: (26.568, 0.7356), NAMES[0]: (26.406, 0.7399), NAMES[1]: (26.392, 0.8161)}
"""dB and SSIM of the first test field, as `evaluate` scored it."""
PART = (23.919, 0.7458)
"""The same of a part of it, restored by the large model."""
beside_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the BioSR pairs are not beside the repository"
)


def test_the_gan_is_what_its_card_and_configuration_say() -> None:
    folder = MODELS / NAMES[1]
    card = (folder / "card.md").read_text(encoding="utf-8")
    checkpoint = load_own(folder / "weights.npz")
    config = read_training_config(folder / "config.yaml")
    scores = checkpoint.provenance.scores
    assert checkpoint.provenance.name == config.name == NAMES[1]
    assert checkpoint.config == config.generator
    assert checkpoint.normalisation == config.normalisation
    assert f"| **{scores['psnr_db']:.2f}** | **{scores['ssim']:.3f}** |" in card
    assert f"| bicubic enlargement | {scores['psnr_bicubic_db']:.2f} |" in card
    assert scores["psnr_db"] >= 26.0
    pixel = load_own(MODELS / NAMES[0] / "weights.npz").provenance.scores
    assert scores["feature_distance"] < pixel["feature_distance"]
    assert scores["ssim"] >= pixel["ssim"]
    assert checkpoint.provenance.training["learning_rate_schedule"] == "cosine"
    assert checkpoint.provenance.license == "CC-BY-4.0"
    for words in ("VGG19", "hallucinates", "CC BY 4.0", "Chang Qiao and Dong Li"):
        assert words in card
    # The pixel model's split, or its test fields would have been trained on.
    assert config.data == read_training_config(MODELS / NAMES[0] / "config.yaml").data


def test_the_large_model_is_what_its_card_and_configuration_say() -> None:
    folder = MODELS / LARGE
    card = (folder / "card.md").read_text(encoding="utf-8")
    checkpoint = load_own(folder / "weights.npz")
    config = read_training_config(folder / "config.yaml")
    scores = checkpoint.provenance.scores
    assert checkpoint.provenance.name == config.name == LARGE
    assert checkpoint.provenance.model_copy(update={"name": "", "scores": {}}) == config.provenance
    assert checkpoint.config == config.generator
    assert parameter_count(checkpoint.config) == 16_621_825
    assert checkpoint.normalisation == config.normalisation
    assert f"| **{scores['psnr_db']:.2f}** | **{scores['ssim']:.3f}** |" in card
    assert scores["psnr_db"] - scores["psnr_bicubic_db"] > 4
    assert scores["validation_psnr_aligned_db"] > 28
    # Fields of the test train neither model, or the comparison in the card would be unfair.
    assert config.data == read_training_config(MODELS / NAMES[0] / "config.yaml").data
    for words in ("H100", "CC BY 4.0", "Chang Qiao and Dong Li", "clathrin"):
        assert words in card
    cited = {one.doi for one in read_metadata(folder / "metadata.yaml").cite}
    assert {"10.6084/m9.figshare.13264793", "10.1038/s41592-020-01048-5"} <= cited


def assert_scores(found: Scores, enlarged: Scores, expected: tuple[float, float]) -> None:
    assert found["psnr_db"] == pytest.approx(expected[0], abs=0.02)
    assert found["ssim"] == pytest.approx(expected[1], abs=0.001)
    assert found["psnr_db"] > enlarged["psnr_db"] + 2


@beside_data
@pytest.mark.parametrize("name", [pytest.param(LARGE, marks=pytest.mark.thorough), *NAMES])
def test_a_model_restores_an_unseen_region_as_evaluate_scored_it(name: str) -> None:
    """One of the 19 fields; of the large model it takes half a minute."""
    config = read_training_config(MODELS / name / "config.yaml")
    files = assign(config.data, DATA)["test"][:1]
    scored = evaluate([MODELS / name / "weights.npz"], files)
    (enlarged,), (found,) = scored.of("bicubic"), scored.of("weights")
    assert found.image == "019.tif"
    assert_scores(found.scores, enlarged.scores, FIRST[name])


@beside_data
def test_the_large_model_restores_a_part_of_an_unseen_region(tmp_path: Path) -> None:
    """By its ONNX file, which takes seconds."""
    network = load_network(MODELS / LARGE / "weights.npz")
    runtime = onnx.load(onnx.write(network, tmp_path / onnx.FILE).path)
    config = read_training_config(MODELS / LARGE / "config.yaml")
    files = assign(config.data, DATA)["test"][:1]
    (field,) = read_files(files, 2, config.normalisation, config.target_normalisation)
    part = Pair(field.name, field.low[40:80, 40:80], field.high[80:160, 80:160])

    def restore(x: np.ndarray) -> np.ndarray:
        return runtime(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)

    (found,) = score_fields(restore, [part])
    assert_scores(found.restored, found.bicubic, PART)


@beside_data
@pytest.mark.thorough
def test_the_gan_restores_unseen_regions_as_it_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All 19 fields, by the command of the README for this model alone."""
    folder = MODELS / NAMES[1]
    options = ["--data", str(DATA), "--config", str(folder / "config.yaml")]
    options += ["--output", str(tmp_path / "scores")]
    assert run(["evaluate", str(folder / "weights.npz"), *options]) == 0
    assert "Means over 19 images" in capsys.readouterr().out
    with (tmp_path / "scores" / "summary.csv").open(newline="") as stream:
        bicubic, restored = csv.DictReader(stream)
    recorded = load_own(folder / "weights.npz").provenance.scores
    for row, psnr, ssim in (
        (restored, "psnr_db", "ssim"),
        (bicubic, "psnr_bicubic_db", "ssim_bicubic"),
    ):
        assert float(row["psnr_db"]) == pytest.approx(recorded[psnr], abs=0.01)
        assert float(row["ssim"]) == pytest.approx(recorded[ssim], abs=0.001)


def test_weights_that_are_too_large_stay_out_of_the_wheel() -> None:
    """All else of models/ is in it: a file that is added must be named in pyproject.toml."""
    text = (MODELS.parent / "pyproject.toml").read_text(encoding="utf-8")
    included = re.findall(r'^"(models/[^"]+)" = "w2s_export/_assets/(.+)"', text, re.M)
    assert {source for source, _ in included} == {target for _, target in included}
    for path in MODELS.rglob("*"):
        if path.is_file():
            name = path.relative_to(MODELS.parent).as_posix()
            inside = any(name == source or name.startswith(f"{source}/") for source, _ in included)
            assert inside == (path.stat().st_size <= 8_000_000), name


def test_models_are_listed_and_taken_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["--model", "list"]) == 0
    said = capsys.readouterr().out
    for name in (*NAMES, LARGE):
        assert name in said
    assert run(["--model", "unet", "--output", str(tmp_path)]) == 2
    assert f"there are {', '.join(sorted((*NAMES, LARGE)))}" in " ".join(
        capsys.readouterr().err.split()
    )
    assert run(["--model", LARGE, "--weights", "x.npz"]) == 2
    # As in a wheel, which has everything but the weights.
    (tmp_path / "models" / LARGE).mkdir(parents=True)
    (tmp_path / "models" / LARGE / "config.yaml").write_text("name: x")
    monkeypatch.setattr(resources, "asset", lambda relative: tmp_path / relative)
    assert run(["--model", LARGE, "--output", str(tmp_path)]) == 2
    assert f"models/{LARGE}/weights.npz" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("structure", ["vesicles", "mitochondria"])
def test_other_structures_do_not_lose_to_bicubic(name: str, structure: str) -> None:
    checkpoint = load_own(MODELS / name / "weights.npz")
    assert checkpoint.normalisation is not None
    model = build_generator(checkpoint.config)
    set_weights(model, checkpoint.config, checkpoint.weights)
    for seed in (200, 201):
        image, target = simulate_pair(SimulationConfig(structure=structure), seed)
        low = normalise(image[..., None], checkpoint.normalisation)
        restored = score(np.asarray(model(low[None]))[0, ..., 0], target)
        enlarged = score(bicubic(image, 2), target)
        # 1.5 dB and 0.15 or more were gained on each of eight fields.
        assert restored["psnr_db"] > enlarged["psnr_db"]
        assert restored["ssim"] > enlarged["ssim"]
