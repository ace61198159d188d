"""The models in `models/`: what their cards say, and that they do not lose to bicubic elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from w2s_export.data.normalise import normalise
from w2s_export.metrics.scores import bicubic, score
from w2s_export.networks.rrdbnet import build_generator, set_weights
from w2s_export.simulation.fields import SimulationConfig, simulate_pair
from w2s_export.sources.npz_checkpoint import load_own
from w2s_export.training.config import read_training_config

MODELS = Path(__file__).resolve().parents[1] / "models"
NAMES = ("wf2sim-microtubules-s", "wf2sim-microtubules-s-gan")


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
    assert checkpoint.provenance.license == "CC-BY-4.0"
    for words in ("HED", "hallucinates", "CC BY 4.0", "Chang Qiao and Dong Li"):
        assert words in card
    # The pixel model's split, or its test fields would have been trained on.
    assert config.data == read_training_config(MODELS / NAMES[0] / "config.yaml").data


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
