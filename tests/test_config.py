"""Configurations: frozen, strict, and clear about what is wrong."""

from __future__ import annotations

import datetime
import math
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from w2s_export.config import (
    GeneratorConfig,
    PercentileNormalisation,
    models_in,
    parse_config,
)
from w2s_export.errors import ConfigError
from w2s_export.io.yaml_files import read_yaml
from w2s_export.rdf.metadata import Metadata
from w2s_export.simulation.sets import SimulatedSet
from w2s_export.training.config import TrainingConfig, read_training_config

ROOT = Path(__file__).resolve().parents[1]


def test_configurations_do_not_change() -> None:
    with pytest.raises(ValidationError):
        GeneratorConfig().nf = 3  # type: ignore[misc]


def test_every_key_at_fault_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(GeneratorConfig, {"nff": 64, "scale": 3}, "config.yaml")
    message = str(caught.value)
    assert message.startswith("config.yaml: ")
    assert "unknown key 'nff'; known keys are in_nc, out_nc, nf" in message
    assert "'scale'" in message
    assert "got 3" in message


def _reached(kind: type[BaseModel], seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    if kind not in seen:
        seen.add(kind)
        for one in kind.model_fields.values():
            for inner in models_in(one.annotation):
                _reached(inner, seen)
    return seen


WRONG = (
    *(None, True, "", "x", "x" * 3000, -1, 0, 1.5, math.inf, math.nan, 10**30, b"x"),
    *([], [1], ["a"], [1, 2, 3], [{}], [[]], {}, {"a": 1}, {"kind": "zz"}, {1: 2}),
    *(datetime.date(2026, 1, 31), datetime.datetime(2026, 1, 31)),
)


def test_no_fault_is_told_in_pydantics_words() -> None:
    kinds: set[type[BaseModel]] = set()
    for start in (TrainingConfig, SimulatedSet, Metadata):
        _reached(start, kinds)
    assert len(kinds) > 20
    told = 0
    for kind in kinds:
        for key in kind.model_fields:
            for value in WRONG:
                try:
                    kind.model_validate({key: value})
                except ValidationError as error:
                    theirs = [one["msg"] for one in error.errors() if one["type"] != "value_error"]
                    with pytest.raises(ConfigError) as caught:
                        parse_config(kind, {key: value}, "file")
                    said = str(caught.value)
                    assert [words for words in theirs if words in said] == [], (kind, key, value)
                    assert "Value error" not in said
                    told += 1
    assert told > 1000


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scale": 4, "pixel_unshuffle": 2}, "×8"),
        ({"nb": 0}, "nb"),
        ({"negative_slope": 1.0}, "negative_slope"),
    ],
)
def test_impossible_generators_are_refused(values: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_config(GeneratorConfig, values, "x")


def test_percentiles_are_ordered() -> None:
    with pytest.raises(ValidationError, match="must be below"):
        PercentileNormalisation(low=90, high=10)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: [1", "not readable YAML"),
        (b"\xff\xfe\x00", "not readable YAML"),
        (b"a: &x [1]\nb: *x", "aliases"),
        (b"!!python/object/apply:os.system ['true']", "not readable YAML"),
        (b"a: 1\n" * 300_000, "larger than"),
        (b"a: !!bool x", "not readable YAML"),
        (b"a: !!int ''", "not readable YAML"),
        (b"[" * 500_000, "nests more than 50 deep"),
    ],
)
def test_yaml_that_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        read_yaml(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        read_yaml(tmp_path / "none.yaml")


def test_the_shipped_training_configuration_splits_by_region() -> None:
    config = read_training_config(ROOT / "models/wf2sim-microtubules-s/config.yaml")
    assert len(config.data.test) == 19
    assert not set(config.data.test) & set(config.data.validation)


def test_a_misspelt_key_and_a_shared_field_are_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("name: some-model\nstepz: 3\n")
    with pytest.raises(ConfigError, match="unknown key 'stepz'"):
        read_training_config(path)
    path.write_text("name: some-model\ndata: {validation: [a.tif], test: [a.tif]}\n")
    with pytest.raises(ConfigError, match=r"'a\.tif' is in validation and in test"):
        read_training_config(path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("name: a/b", "'name'"),
        ("name: state", "resuming needs"),
        (
            "name: some-model\npatch: 33\ngenerator: {pixel_unshuffle: 2, upsampling: conv}",
            "multiple of pixel_unshuffle",
        ),
    ],
)
def test_trainings_that_would_fail_at_their_end_do_not_begin(
    tmp_path: Path, line: str, words: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(line + "\n")
    with pytest.raises(ConfigError, match=words):
        read_training_config(path)
