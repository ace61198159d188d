"""The embedded default: what its card says is what it does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from w2s_export.export import default_weights
from w2s_export.networks.layout import parameter_count
from w2s_export.networks.rrdbnet import build_generator, set_weights
from w2s_export.resources import DEFAULT_MODEL
from w2s_export.sources.npz_checkpoint import load_own
from w2s_export.training.config import read_training_config
from w2s_export.training.evaluate import mean_scores, score_fields
from w2s_export.training.run import read_split
from w2s_export.verify import run_weights
from w2s_export.verify.verify import verify

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "models" / "wf2sim-microtubules-s"
DATA = Path(os.environ.get("W2S_DATA", ROOT.parent / "shared" / "data")) / "biosr_mt"


def test_it_is_small_and_says_where_it_comes_from() -> None:
    checkpoint = load_own(default_weights())
    assert parameter_count(checkpoint.config) <= 1_200_000
    assert default_weights().stat().st_size <= 5_000_000
    origin = checkpoint.provenance
    assert origin.license == "CC-BY-4.0"
    assert "10.6084/m9.figshare.13264793" in origin.attribution
    config = read_training_config(FOLDER / "config.yaml")
    assert checkpoint.config == config.generator
    assert checkpoint.normalisation == config.normalisation


@pytest.mark.xdist_group("default-model")
def test_its_packages_have_no_finding_for_their_clients(
    first_package: tuple[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the README's first command exports it, each weights format run by `verify`.

    Both packages hold the same files of weights; the tutorial of the zoo runs those of the other.
    """
    folder = first_package[0] / "first"
    exported = json.loads((folder / "report.json").read_text("utf-8"))
    assert exported["passed"] is True
    assert exported["findings"] == []
    assert {test["result"] for test in exported["bioimageio_core"]} == {"passed"}
    monkeypatch.setattr(run_weights, "TESTED", ())  # core has just tested both
    for kind, clients in (("bioimageio", 3), ("deepimagej", 5)):
        package = folder / f"{DEFAULT_MODEL}.{kind}.zip"
        report = verify(package, rules_only=kind == "bioimageio")
        meant = {verdict.client: verdict.findings for verdict in report.verdicts if verdict.meant}
        assert len(meant) == clients
        assert set(meant.values()) == {()}


def test_the_card_gives_the_checkpoints_numbers() -> None:
    card = (FOLDER / "card.md").read_text(encoding="utf-8")
    scores = load_own(default_weights()).provenance.scores
    assert f"| bicubic enlargement | {scores['psnr_bicubic_db']:.2f} |" in card
    assert f"| **{scores['psnr_db']:.2f}** | **{scores['ssim']:.3f}** |" in card
    assert scores["psnr_db"] - scores["psnr_bicubic_db"] >= 3.5
    assert "559,105" in card
    assert parameter_count(load_own(default_weights()).config) == 559_105


@pytest.mark.thorough
@pytest.mark.skipif(not DATA.is_dir(), reason="the BioSR pairs are not beside the repository")
def test_unseen_regions_gain_what_the_card_says() -> None:
    """All 19 of them; `test_models.py` has one."""
    checkpoint = load_own(default_weights())
    model = build_generator(checkpoint.config)
    set_weights(model, checkpoint.config, checkpoint.weights)
    split = read_split(read_training_config(FOLDER / "config.yaml"), DATA)
    fields = score_fields(lambda x: model(x).numpy(), split.test)
    assert len(fields) == 19
    scores, recorded = mean_scores(fields), checkpoint.provenance.scores
    # The same weights and fields: only the machine's arithmetic may differ.
    for key, tolerance in (("psnr_db", 0.01), ("ssim", 0.001), ("psnr_bicubic_db", 0.01)):
        assert scores[key] == pytest.approx(recorded[key], abs=tolerance)
    assert scores["psnr_db"] - scores["psnr_bicubic_db"] >= 3.5


@pytest.mark.skipif(not DATA.is_dir(), reason="the BioSR pairs are not beside the repository")
def test_the_split_keeps_regions_apart() -> None:
    import csv

    with (DATA / "index.csv").open(newline="") as stream:
        region = {row["file"]: int(row["region"]) for row in csv.DictReader(stream)}
    split = read_split(read_training_config(FOLDER / "config.yaml"), DATA)
    groups = [
        {region[pair.name] for pair in pairs}
        for pairs in (split.training, split.validation, split.test)
    ]
    assert [len(g) for g in groups] == [63, 8, 19]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]


def test_it_restores_the_simulated_sample_better_than_bicubic() -> None:
    from w2s_export.data.normalise import normalise
    from w2s_export.metrics.scores import bicubic, score
    from w2s_export.simulation.fields import SimulationConfig, simulate_pair

    widefield, sim = simulate_pair(SimulationConfig(height=128, width=160), 106)
    stored = tifffile.imread(FOLDER / "sample_input.tif")
    assert np.abs(stored.astype(int) - widefield.astype(int)).max() <= 1
    checkpoint = load_own(default_weights())
    model = build_generator(checkpoint.config)
    set_weights(model, checkpoint.config, checkpoint.weights)
    restored = model(normalise(stored, checkpoint.normalisation)[None, ..., None]).numpy()
    gain = score(restored[0, ..., 0], sim)["psnr_db"] - score(bicubic(stored, 2), sim)["psnr_db"]
    assert gain > 3
