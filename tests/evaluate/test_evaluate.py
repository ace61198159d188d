"""Comparisons on images whose scores are known, and everything that stops one before it starts."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.inputs import checkpoint
from w2s_export.cli import run
from w2s_export.data.pairs import match_names, read_files
from w2s_export.evaluate import compare
from w2s_export.evaluate.compare import evaluate, read_pair
from w2s_export.evaluate.methods import Network, column_names
from w2s_export.evaluate.report import extremes
from w2s_export.evaluate.tables import summarise, summary_markdown
from w2s_export.io.images import read_image
from w2s_export.metrics.registry import metrics
from w2s_export.metrics.scores import bicubic, score
from w2s_export.networks.rrdbnet import build_generator, set_weights
from w2s_export.sources.npz_checkpoint import load_own
from w2s_export.training.evaluate import mean_scores, score_fields

NAMES = ("a.tif", "b.tif", "c.tif")


def write(path: Path, pixels: np.ndarray, pixel_um: float | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    density = None if pixel_um is None else (1 / pixel_um, 1 / pixel_um)
    unit = {} if pixel_um is None else {"unit": "um"}
    axes = {"axes": "YX" if pixels.ndim == 2 else "CYX"}
    tifffile.imwrite(path, pixels, imagej=True, resolution=density, metadata={**axes, **unit})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, noise in zip(NAMES, (60, 20, 5), strict=True):
        coarse = rng.gamma(2, 100, (9, 11))
        high = bicubic(bicubic(coarse, 2), 2).clip(0)
        low = high.reshape(18, 2, 22, 2).mean((1, 3)) + rng.normal(0, noise, (18, 22))
        write(tmp_path / "data" / "lr" / name, low.clip(0).astype(np.uint16), 0.1)
        write(tmp_path / "data" / "hr" / name, high.astype(np.float32))
    return tmp_path / "data"


def command(data: Path, *options: str, weights: tuple[Path, ...] = ()) -> int:
    places = ["--data", str(data), "--output", str(data.parent / "out")]
    return run(["evaluate", *map(str, weights), *places, *options])


def test_the_command(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = checkpoint(data.parent / "one.npz"), checkpoint(data.parent / "two.npz")
    assert command(data, weights=weights) == 0
    said = capsys.readouterr().out
    assert "bicubic" in said
    assert "one" in said
    out = data.parent / "out"
    rows = list(csv.DictReader(io.StringIO((out / "images.csv").read_text())))
    assert [(row["image"], row["method"]) for row in rows] == [
        (name, method) for name in NAMES for method in ("bicubic", "one", "two")
    ]
    low = tifffile.imread(data / "lr" / "b.tif")
    expected = score(bicubic(low, 2), tifffile.imread(data / "hr" / "b.tif"))
    assert float(rows[3]["psnr_db"]) == pytest.approx(expected["psnr_db"], abs=1e-4)
    assert float(rows[3]["ssim"]) == pytest.approx(expected["ssim"], abs=1e-5)
    assert float(rows[3]["nrmse"]) == pytest.approx(expected["nrmse"], abs=1e-5)
    # 100 nm input pixels are 50 nm target pixels
    assert float(rows[3]["resolution_nm"]) == pytest.approx(50 * expected["resolution_px"], abs=0.1)
    # two.npz has the weights of one.npz
    assert rows[4]["psnr_db"] == rows[5]["psnr_db"]
    summary = list(csv.DictReader(io.StringIO((out / "summary.csv").read_text())))
    mean = np.mean([float(row["psnr_db"]) for row in rows[::3]])
    assert float(summary[0]["psnr_db"]) == pytest.approx(mean, abs=1e-3)
    assert summary[0]["gain_db"] == ""
    gain = np.mean(
        [
            float(n["psnr_db"]) - float(b["psnr_db"])
            for b, n in zip(rows[::3], rows[1::3], strict=True)
        ]
    )
    assert float(summary[1]["gain_db"]) == pytest.approx(gain, abs=1e-3)
    assert "| bicubic |" in (out / "summary.md").read_text()
    assert read_image(out / "comparison.png").pixels.shape[1] == 3
    assert command(data, weights=weights) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_bicubic_alone(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(data, "--show", "c.tif") == 0
    # Regions of 64 pixels do not fit 36 × 44: one of 36, magnified by 192 // 36 = 5. Input, bicubic
    # and target beside an overview as high as one panel.
    height, width = read_image(data.parent / "out" / "comparison.png").pixels.shape[2:]
    overview = round(44 * 180 / 36)
    assert width == overview + 3 * (180 + 6) + 2 * 6
    assert 180 < height < 300


def test_summary_by_hand(data: Path) -> None:
    evaluation = evaluate([], match_names(data / "lr", data / "hr"))
    (row,) = summarise(evaluation)
    psnr = np.array([one.scores["psnr_db"] for one in evaluation.rows])
    assert row.means["psnr_db"] == pytest.approx(psnr.sum() / 3)
    assert row.psnr_std_db == pytest.approx(np.sqrt(((psnr - psnr.mean()) ** 2).sum() / 2))
    # noise of 60, 20 and 5 counts on the inputs
    assert extremes(evaluation) == ["a.tif", "b.tif", "c.tif"]
    assert f"{row.means['psnr_db']:.2f}" in summary_markdown([row])
    for size, column in ((None, "detail px"), (200.0, "detail nm")):
        text = summary_markdown([replace(row, resolution_nm=size)])
        assert f"| {column} |" in text  # and explained below in the same unit
        assert f"\n- {column}: Finest period" in text
        assert ("target pixels" in text) == (size is None)


def test_tiles_change_nothing(data: Path) -> None:
    """A field in 9 tiles against the field in one; the halo is measured, seams stay below 1e-4."""
    rng = np.random.default_rng(1)
    image = bicubic(rng.gamma(2, 100, (12, 14)), 4)[None]
    path = checkpoint(data.parent / "net.npz")
    whole = Network(path, "whole", None, 64)(image)
    tiled = Network(path, "tiled", None, 20)(image)
    assert whole.shape == tiled.shape == (1, 96, 112)
    assert np.abs(whole - tiled).max() < 2e-4 * (whole.max() - whole.min())


def test_training_and_evaluate_say_the_same(data: Path) -> None:
    path = checkpoint(data.parent / "one.npz")
    stored = load_own(path)
    model = build_generator(stored.config)
    set_weights(model, stored.config, stored.weights)
    files = match_names(data / "lr", data / "hr")
    pairs = read_files(files, 2, stored.normalisation, None)
    fields = score_fields(lambda low: model(low).numpy(), pairs)
    found = evaluate([path], files).of("one")
    for field, row in zip(fields, found, strict=True):
        assert field.restored.keys() == row.scores.keys()
        for key, value in row.scores.items():
            # Rounding of float32 leaves 1e-7; another margin would leave 1e-5.
            assert field.restored[key] == pytest.approx(value, rel=1e-6), key
    means = mean_scores(fields)
    for row in summarise(evaluate([path], files))[1:]:
        for key, one in metrics().items():
            if not one.needs_features:
                assert means[key] == round(row.means[key], one.digits)
                assert one.bicubic_key in means


def test_columns_are_told_apart() -> None:
    paths = [Path("trained/l1/best.npz"), Path("trained/l2/best.npz"), Path("other.npz")]
    assert column_names(paths) == ["l1/best", "l2/best", "other"]


def colour(data: Path) -> None:
    for folder, shape in (("lr", (3, 18, 22)), ("hr", (3, 36, 44))):
        pixels = np.random.default_rng(2).integers(0, 900, shape).astype(np.uint16)
        write(data / folder / "b.tif", pixels)


def overwrite(place: str, pixels: np.ndarray):
    return lambda data: write(data / place, pixels)


NOISE = np.random.default_rng(3).integers(0, 900, (80, 80)).astype(np.uint16)
FAULTS = {
    "unpaired": (lambda data: (data / "hr" / "b.tif").unlink(), "first 'b.tif'"),
    "empty": (
        lambda data: [(data / "lr" / name).unlink() for name in NAMES],
        "lr: holds no image",
    ),
    "size": (overwrite("hr/c.tif", NOISE[:36, :42]), "'c.tif': the target is 36×42"),
    "constant input": (overwrite("lr/b.tif", np.full((18, 22), 7, np.uint16)), "b.tif: the image"),
    "constant target": (overwrite("hr/b.tif", np.ones((36, 44), np.float32)), "nearly every pixel"),
    "mixed channels": (colour, "'b.tif': has 3 channels and its target 3; 'a.tif' has 1 and 1"),
    "damaged": (lambda data: (data / "lr" / "c.tif").write_bytes(b"II*\0nothing"), "c.tif"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_pairs_are_named_before_the_first_restoration(
    data: Path, fault: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inflict, words = FAULTS[fault]
    inflict(data)
    monkeypatch.setattr(compare, "score", None)  # nothing may be scored
    assert command(data) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (data.parent / "out").exists()


def test_too_small_for_ssim(data: Path) -> None:
    for name in NAMES:
        write(data / "lr" / name, NOISE[:5, :8])
        write(data / "hr" / name, NOISE[:10, :16])
    with pytest.raises(Exception, match="SSIM needs 11 pixels"):
        evaluate([], match_names(data / "lr", data / "hr"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scale": 4}, "enlarges 4×, the targets are 2× their inputs"),
        ({"in_nc": 3}, "takes 3 channels and gives 1, the pairs have 1 and 1"),
    ],
)
def test_checkpoints_that_do_not_fit(
    data: Path, options: dict[str, int], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(data, weights=(checkpoint(data.parent / "net.npz", **options),)) == 2
    assert words in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--show", "x.tif"], "no image 'x.tif' to show; the first is 'a.tif'"),
        (["--low", "none"], "none: no such folder"),
        (["--normalisation", "z"], "--normalisation z"),
        (["--config", "CONFIG", "--split", "validation"], "leave no field for validation"),
        (["--config", "CONFIG"], "data.test lists 'd.tif'"),
    ],
)
def test_options_that_cannot_be(
    data: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = "[d.tif]" if "--split" not in options else "[a.tif]"
    config = data.parent / "config.yaml"
    config.write_text(f"{{name: nets-1, data: {{test: {listed}}}}}")
    options = [str(config) if option == "CONFIG" else option for option in options]
    assert command(data, *options) == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_a_configuration_chooses_the_held_out_fields(data: Path) -> None:
    config = data.parent / "config.yaml"
    config.write_text("{name: nets-1, data: {validation: [b.tif], test: [c.tif]}}")
    assert command(data, "--config", str(config)) == 0
    rows = (data.parent / "out" / "images.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["c.tif"]


def test_pixel_sizes_come_from_the_target_or_else_the_input(data: Path) -> None:
    pair = match_names(data / "lr", data / "hr")[0]
    assert read_pair(pair).pixel_um == pytest.approx(0.05)
    write(pair.high, tifffile.imread(pair.high), 0.04)
    assert read_pair(pair).pixel_um == pytest.approx(0.04, rel=1e-4)
