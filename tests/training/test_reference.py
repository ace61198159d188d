"""The reference of all keys, the configuration to begin with, and faults named by their place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tifffile

from w2s_export.cli import run
from w2s_export.config import parse_config
from w2s_export.errors import ConfigError
from w2s_export.training.config import TrainingConfig, read_training_config
from w2s_export.training.config_reference import configuration_reference
from w2s_export.training.run import read_split

DOCS = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_the_reference_in_docs_is_the_one_that_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["train", "--explain"]) == 0
    said = capsys.readouterr().out
    assert said == DOCS.read_text(encoding="utf-8"), (
        "w2s-export train --explain > docs/configuration.md"
    )


def test_every_key_has_a_meaning_and_a_default() -> None:
    rows = [line for line in configuration_reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 4, row
        assert all(cells), row
    assert (
        "| `patch` | whole number (≥ 8, ≤ 1024) | `64` | Side of an input patch, pixels. |" in rows
    )


def test_a_start_is_written_for_the_images_that_are_there(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "start.yaml"
    assert run(["train", "--init", str(path), "--data", str(data)]) == 0
    config = read_training_config(path)
    assert config.generator.scale == 2
    split = read_split(config, data)
    assert [len(part) for part in (split.training, split.validation, split.test)] == [2, 1, 1]
    assert min(split.training[0].low.shape[:2]) >= config.patch
    assert "# Side of an input patch, pixels.\npatch: 16\n" in path.read_text()
    assert run(["train", "--init", str(path), "--data", str(data)]) == 2  # it exists
    other = tmp_path / "other.yaml"
    assert run(["train", "--init", str(other), "--data", str(tmp_path)]) == 2
    assert not other.exists()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"data": {"lo": "x"}}, "unknown key 'data.lo'; known keys are duplicates, layout, low, "),
        ({"generator": {"nff": 2}}, "unknown key 'generator.nff'; known keys are in_nc, "),
        (
            {"adversarial": {"discriminator": {"x": 1}}},
            "unknown key 'adversarial.discriminator.x'; known keys are nf, levels",
        ),
        (
            {"mix": [{"kind": "simulated", "share": 0.4, "nois": "w2s"}]},
            "unknown key 'mix.0.nois'; known keys are share, ",
        ),
        (
            {"normalisation": {"kind": "percentile", "lowest": 2}},
            "unknown key 'normalisation.lowest'; known keys are ",
        ),
    ],
)
def test_a_typing_error_is_named_by_its_place(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(TrainingConfig, {"name": "tiny-model", **values}, "c.yaml")
    assert words in str(caught.value)


@pytest.mark.usefixtures("compiled_once")
@pytest.mark.xdist_group("fit")
def test_the_pixel_size_of_the_images_travels(data: Path, tmp_path: Path) -> None:
    from w2s_export.sources.npz_checkpoint import load_own
    from w2s_export.training.run import train

    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    for path in (folder / "lr").iterdir():
        pixels = tifffile.imread(path)
        tifffile.imwrite(
            path, pixels, imagej=True, resolution=(12.5, 12.5), metadata={"unit": "um"}
        )
    values = {
        "name": "tiny-model",
        "data": {"validation": 0.25, "test": 0.25},
        "generator": {"nf": 4, "gc": 2, "nb": 1},
        "patch": 8,
        "batch": 2,
        "steps": 2,
        "validate_every": 2,
        "ema": 0.75,
    }
    config = TrainingConfig.model_validate(values)
    assert load_own(
        train(config, folder, tmp_path / "out").checkpoint
    ).provenance.pixel_size_um == (pytest.approx(0.08))
    # A finished training goes on to more steps; not to a shorter end, and not with other patches.
    longer = train(config.with_steps(4), folder, tmp_path / "out", resume=True)
    losses = (tmp_path / "out" / "losses-pixel.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in losses] == ["step", "1", "2", "3", "4"]
    assert longer.scores["fields"] == 1
