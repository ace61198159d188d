"""The model card of `config.bioimageio`, as the specification's own classes read it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bioimageio.spec import ValidationContext
from bioimageio.spec.model.v0_5 import BioimageioConfig

from tests.package.conftest import PROVENANCE, Describe
from w2s_export.config import Provenance
from w2s_export.rdf.description import Description
from w2s_export.rdf.metadata import Metadata
from w2s_export.rdf.model_card import model_card


def as_specified(description: Description) -> BioimageioConfig:
    with ValidationContext(perform_io_checks=False):
        return BioimageioConfig.model_validate(model_card(description))


def test_the_card_is_filled_from_what_is_known(describe: Describe) -> None:
    training = {"training_batch_size": 8, "loss_function": "L1", "training_steps": 100}
    origin = PROVENANCE.model_copy(
        update={"scores": {**PROVENANCE.scores, "fields": 19, "ssim": 0.8}, "training": training}
    )
    given = Metadata(structures=("microtubules",), limitations="Only on Tuesdays.")
    card = as_specified(describe(provenance=origin, given=given))
    assert card.architecture_type == "RRDBNet"
    assert card.modality == "fluorescence light microscopy"
    assert card.target_structure == ["microtubules"]
    assert card.bias_risks_limitations.limitations == "Only on Tuesdays."
    assert "BioSR microtubules" in card.bias_risks_limitations.known_biases
    assert card.training.training_batch_size == 8
    assert card.training.loss_function == "L1"
    (evaluation,) = card.evaluations
    assert str(evaluation.dataset_source) == "https://doi.org/10.6084/m9.figshare.13264793"
    assert (evaluation.dataset_role, evaluation.sample_count) == ("test", 19)
    assert evaluation.metrics == ["psnr_db", "ssim"]
    assert evaluation.results == [[30.25, 26.5], [0.8, "not measured"]]
    assert card.model_extra == {"pixel_size_um": {"input": 0.0626, "output": 0.0313}}


def test_the_parameters_are_those_of_the_network(description: Description) -> None:
    network = description.network
    assert network.checkpoint is not None
    counted = sum(value.size for value in network.checkpoint.weights.values())
    assert model_card(description)["model_parameter_count"] == counted
    foreign = replace(description, network=replace(network, checkpoint=None))
    # The graph holds the residual factors too.
    assert counted < model_card(foreign)["model_parameter_count"] < 1.01 * counted


@pytest.mark.parametrize("data", ["", "my own pairs"])
def test_what_is_not_known_is_left_out(describe: Describe, data: str) -> None:
    bare = Provenance(data=data, scores={"psnr_db": 30})
    card = model_card(describe(provenance=bare, pixel_size_um=None))
    assert {"evaluations", "target_structure", "pixel_size_um"} & set(card) == set()
    assert "not stated" in card["bias_risks_limitations"]["known_biases"] or data


def test_a_long_architecture_is_cut_to_what_the_specification_allows(
    description: Description,
) -> None:
    network = replace(description.network, architecture="A" * 50 + ", of unknown make")
    card = as_specified(replace(description, network=network))
    assert card.architecture_type == "A" * 32
    assert card.architecture_description == "A" * 50 + ", of unknown make"
