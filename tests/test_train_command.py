"""`w2s-export train`, from paired folders to a checkpoint; and the faults it names first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.training.conftest import compiled_once  # noqa: F401
from w2s_export.cli import run
from w2s_export.sources.npz_checkpoint import load_own

CONFIG = """
name: tiny-model
data: {validation: [c.tif], test: [d.tif]}
generator: {nf: 4, gc: 2, nb: 1}
patch: 8
batch: 2
steps: 4
validate_every: 2
ema: 0.75
provenance: {license: MIT}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in "abcd":
        high = rng.integers(0, 4000, (32, 40)).astype(np.uint16)
        low = high.reshape(16, 2, 20, 2).mean((1, 3)).astype(np.uint16)
        for place, pixels in (("lr", low), ("hr", high)):
            (tmp_path / "data" / place).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(tmp_path / "data" / place / f"{name}.tif", pixels)
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path


def _train(folder: Path, *options: str) -> int:
    paths = ["--data", str(folder / "data"), "--output", str(folder / "trained")]
    return run(["train", str(folder / "config.yaml"), *paths, *options])


@pytest.mark.usefixtures("compiled_once")
@pytest.mark.xdist_group("fit")
def test_it_trains_scores_and_resumes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _train(folder) == 0
    said = capsys.readouterr().out
    assert "d.tif" in said
    assert "validation PSNR" in said
    checkpoint = load_own(folder / "trained" / "tiny-model.npz")
    assert checkpoint.provenance.name == "tiny-model"
    assert {"psnr_db", "ssim", "psnr_bicubic_db", "validation_psnr_db"} <= set(
        checkpoint.provenance.scores
    )
    assert _train(folder) == 2
    assert "--resume" in capsys.readouterr().err
    before = (folder / "trained" / "tiny-model.npz").read_bytes()
    assert _train(folder, "--resume") == 0
    assert (folder / "trained" / "tiny-model.npz").read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[c.tif]", "[x.tif]", "data.validation lists 'x.tif'"),
        ("[d.tif]", "[a.tif, b.tif, d.tif]", "none is left to train on"),
        ("nb: 1", "nb: 1, in_nc: 3", "'a.tif': its input has 1 channel, the network 3"),
        ("nb: 1", "nb: 1, out_nc: 3", "'a.tif': its target has 1 channel, the network 3"),
        ("patch: 8", "patch: 17", "smaller than the patch of 17"),
        ("nb: 1", "nb: 1, scale: 4", "pairs must match the scale exactly"),
    ],
)
def test_faults_are_named_before_the_first_step(
    folder: Path, old: str, new: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "config.yaml").write_text(CONFIG.replace(old, new))
    assert _train(folder) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (folder / "trained").exists()
