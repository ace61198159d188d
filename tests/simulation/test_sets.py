"""Simulated folders: what a training finds in them, noise as it should be, the same bytes again."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from w2s_export.cli import run
from w2s_export.config import FixedRangeNormalisation, parse_config
from w2s_export.data.layouts import PairedFolders
from w2s_export.data.split import read_split
from w2s_export.errors import ConfigError, OutputError
from w2s_export.io.images import read_image
from w2s_export.io.yaml_files import read_yaml
from w2s_export.simulation.fields import SimulationConfig
from w2s_export.simulation.sets import SimulatedSet, read_simulated_set, write_simulated_set

PLAN = SimulatedSet(
    fields=6,
    structures=("filaments", "vesicles", "mitochondria"),
    frames=(1, 16),
    seed=3,
    optics=SimulationConfig(height=32, width=40, pixel_size_um=0.08, gain=1, offset=50),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_simulated_set(PLAN, tmp_path_factory.mktemp("set") / "deep" / "simulated")


def pixels(path: Path) -> np.ndarray:
    return read_image(path).pixels[0, 0]


def test_a_training_reads_it(folder: Path) -> None:
    data = PairedFolders(
        low=("avg1", "avg16"),
        high="sim",
        validation=("vesicles_0004.tif",),
        test=("mitochondria_0005.tif",),
    )
    how = FixedRangeNormalisation(low=0, high=1000)
    split = read_split(data, folder, 2, how, how)
    assert [len(pairs) for pairs in (split.training, split.validation, split.test)] == [8, 2, 2]
    assert split.test[0].low.shape == (32, 40, 1)
    assert split.test[0].high.shape == (64, 80, 1)


def test_pixel_sizes(folder: Path) -> None:
    name = "filaments_0000.tif"
    assert read_image(folder / "avg1" / name).pixel_size_um == pytest.approx((0.08, 0.08))
    assert read_image(folder / "avg16" / name).pixel_size_um == pytest.approx((0.08, 0.08))
    assert read_image(folder / "sim" / name).pixel_size_um == pytest.approx((0.04, 0.04))


def test_levels_show_one_sample_with_less_noise(folder: Path) -> None:
    """Averaging 16 frames takes the variance to a sixteenth; the noise of levels is independent."""
    noise = {}
    for level, frames in (("avg1", 1), ("avg16", 16)):
        residues = []
        for path in sorted((folder / level).iterdir()):
            image = pixels(path).astype(float) - 50
            sim = pixels(folder / "sim" / path.name).astype(float)
            blocks = sim.reshape(32, 2, 40, 2).mean(axis=(1, 3))
            dark = blocks < np.percentile(blocks, 20)  # there the expected counts hardly vary
            residues.append((image[dark] - np.median(image[dark])).astype(float))
        noise[frames] = np.concatenate(residues)
    dark_counts = noise[1].var() / noise[16].var()
    # Some 1500 pixels a level: the ratio of variances strays by 4 %; sample structure in the dark
    # parts, which both levels share, takes some of the factor 16 away. One noise for both gives 1.
    assert 6 < dark_counts < 18
    assert abs(np.corrcoef(noise[1], noise[16])[0, 1]) < 0.5


def test_the_same_plan_gives_the_same_bytes_and_another_seed_other_fields(
    folder: Path, tmp_path: Path
) -> None:
    again = write_simulated_set(PLAN, tmp_path / "again")
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert len(files) == 6 * 3 + 1
    assert all((again / file).read_bytes() == (folder / file).read_bytes() for file in files)
    read_back = parse_config(SimulatedSet, read_yaml(folder / "simulation.yaml"), "record")
    assert read_back == PLAN
    others = write_simulated_set(PLAN.model_copy(update={"seed": 4}), tmp_path / "other")
    seen = {pixels(path).tobytes() for path in (folder / "sim").iterdir()}
    assert not seen & {pixels(path).tobytes() for path in (others / "sim").iterdir()}


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(OutputError, match="holds something already"):
        write_simulated_set(PLAN, tmp_path / "full")

    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_simulated_set(PLAN, tmp_path / "new", stop)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "optics.yaml").write_text("{haze: 0.2, photons: 90, height: 24, width: 24}")
    options = ["--output", str(tmp_path / "out"), "--config", str(tmp_path / "optics.yaml")]
    options += ["--structure", "vesicles", "filaments", "--frames", "2", "8", "--fields", "3"]
    assert run(["simulate", *options, "--photons", "40", "--seed", "9"]) == 0
    said = capsys.readouterr().out
    assert "data: {low: [avg2, avg8], high: sim, validation: [vesicles_0002.tif]" in said
    plan = parse_config(SimulatedSet, read_yaml(tmp_path / "out" / "simulation.yaml"), "record")
    assert (plan.seed, plan.frames, plan.structures) == (9, (2, 8), ("vesicles", "filaments"))
    assert (plan.optics.photons, plan.optics.haze, plan.optics.height) == (40, 0.2, 24)
    assert {path.name for path in (tmp_path / "out" / "avg8").iterdir()} == {
        "vesicles_0000.tif",
        "filaments_0001.tif",
        "vesicles_0002.tif",
    }


def test_a_set_is_made_again_from_its_record(folder: Path, tmp_path: Path) -> None:
    record = folder / "simulation.yaml"
    assert run(["simulate", "--output", str(tmp_path / "again"), "--config", str(record)]) == 0
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert len(files) == 6 * 3 + 1
    assert all(
        (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes() for file in files
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{fields: 2, seed: 5}", {"fields": 2, "seed": 5}),
        (
            "{structures: [vesicles], frames: [2, 4]}",
            {"structures": ("vesicles",), "frames": (2, 4)},
        ),
        ("{structure: vesicles, frames: 3}", {"structures": ("vesicles",), "frames": (3,)}),
        ("{density: 2, seed: 7, frames: [5]}", {"seed": 7, "frames": (5,)}),
        ("{optics: {density: 2}, fields: 3}", {"fields": 3}),
    ],
)
def test_all_settings_can_be_in_the_file(
    tmp_path: Path, text: str, expected: dict[str, object]
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    plan = read_simulated_set(tmp_path / "c.yaml")
    assert {key: getattr(plan, key) for key in expected} == expected
    assert plan.optics.density == (2 if "density" in text else 1)
    untouched = SimulatedSet.model_fields.keys() - {*expected, "optics"}
    assert all(getattr(plan, key) == getattr(SimulatedSet(), key) for key in untouched)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{optics: {dens: 2}}", "unknown key 'optics.dens'"),
        ("{haze: 0.1, field: 2}", "unknown key 'field'"),
        ("{fields: 2, sed: 2}", "unknown key 'sed'"),
        ("[1]", "the whole file"),
    ],
)
def test_faults_in_the_file_are_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(words)):
        read_simulated_set(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--photons", "-3"], "'optics.photons'"),
        (["--frames", "0"], "'frames.0'"),
        (["--structure", "actin"], "actin"),
        (["--config", "none.yaml"], "none.yaml: cannot be read"),
    ],
)
def test_bad_input_writes_nothing(
    tmp_path: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["simulate", "--output", str(tmp_path / "out"), *options]) == 2
    said = capsys.readouterr()
    assert words in " ".join((said.out + said.err).split())
    assert not (tmp_path / "out").exists()
