from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from w2s_export.config import FixedRangeNormalisation, GeneratorConfig, Provenance
from w2s_export.errors import CheckpointError, CheckpointMismatchError, OutputError
from w2s_export.networks.layout import tensor_shapes
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.load import load_checkpoint
from w2s_export.sources.npz_checkpoint import load_own, save_checkpoint

CONFIG = GeneratorConfig(nf=8, gc=4, nb=1, scale=4, residual_scale=0.5)


@pytest.fixture
def checkpoint() -> Checkpoint:
    rng = np.random.default_rng(0)
    weights = {
        name: rng.normal(0, 0.1, shape).astype(np.float32)
        for name, shape in tensor_shapes(CONFIG).items()
    }
    provenance = Provenance(name="tiny", data="none", scores={"psnr_db": 20.0})
    return Checkpoint(CONFIG, weights, FixedRangeNormalisation(low=3, high=9), provenance)


def assert_equal(actual: Checkpoint, expected: Checkpoint) -> None:
    assert actual.config == expected.config
    assert actual.normalisation == expected.normalisation
    assert actual.provenance == expected.provenance
    assert actual.weights.keys() == expected.weights.keys()
    for name, value in expected.weights.items():
        np.testing.assert_array_equal(actual.weights[name], value)


def test_round_trip(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = save_checkpoint(checkpoint, tmp_path / "net.npz")
    assert_equal(load_own(path), checkpoint)
    assert_equal(load_checkpoint(path), checkpoint)


def test_half_keeps_eleven_bits(checkpoint: Checkpoint, tmp_path: Path) -> None:
    whole = save_checkpoint(checkpoint, tmp_path / "whole.npz").stat().st_size
    path = save_checkpoint(checkpoint, tmp_path / "half.npz", half=True)
    assert path.stat().st_size < 0.8 * whole
    loaded = load_own(path)
    assert loaded.dtypes == ("float16",)
    for name, value in checkpoint.weights.items():
        # Rounding to 11 significant bits; below 2⁻¹⁴, float16's steps are 2⁻²⁴.
        np.testing.assert_allclose(loaded.weights[name], value, rtol=2**-11, atol=2**-25)


def test_any_numpy_opens_it_without_pickle(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = save_checkpoint(checkpoint, tmp_path / "net.npz")
    with np.load(path, allow_pickle=False) as archive:
        assert json.loads(str(archive["w2s_export.json"]))["generator"]["scale"] == 4
        np.testing.assert_array_equal(
            archive["conv_hr/kernel"], checkpoint.weights["conv_hr/kernel"]
        )


def test_same_content_same_bytes(checkpoint: Checkpoint, tmp_path: Path) -> None:
    digests = {
        hashlib.sha256(save_checkpoint(checkpoint, tmp_path / name).read_bytes()).hexdigest()
        for name in ("one.npz", "two.npz")
    }
    assert len(digests) == 1


def test_nothing_half_written(checkpoint: Checkpoint, tmp_path: Path) -> None:
    incomplete = dict(list(checkpoint.weights.items())[1:])
    with pytest.raises(CheckpointMismatchError):
        save_checkpoint(Checkpoint(CONFIG, incomplete), tmp_path / "net.npz")
    with pytest.raises(OutputError, match="cannot be written"):
        save_checkpoint(checkpoint, tmp_path / "absent" / "net.npz")
    assert list(tmp_path.iterdir()) == []


def test_beyond_float16(checkpoint: Checkpoint, tmp_path: Path) -> None:
    checkpoint.weights["conv_hr/bias"][0] = 1e6
    with pytest.raises(CheckpointMismatchError, match="'conv_hr/bias' is beyond float16"):
        save_checkpoint(checkpoint, tmp_path / "net.npz", half=True)


def _rewrite(path: Path, **changes: Any) -> Path:
    """The same archive with members replaced; None leaves one out."""
    with np.load(path) as archive:
        members = {name: archive[name] for name in archive.files}
    members |= changes
    np.savez(path, **{name: value for name, value in members.items() if value is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv_hr/bias": None}, "lacks 1 weight, first 'conv_hr/bias' (8,)"),
        ({"stray": np.zeros(3)}, "no layer for 1 tensor, first 'stray' (3,)"),
        ({"conv_hr/bias": np.zeros(9)}, "another shape of 1 tensor, first 'conv_hr/bias' (9,)"),
        ({"conv_hr/bias": np.full(8, np.nan)}, "NaN or infinity in 1 tensor"),
        ({"conv_hr/bias": np.full(8, 1e300)}, "NaN or infinity in 1 tensor"),
        ({"conv_hr/bias": np.zeros(8, np.int8)}, "holds int8 numbers"),
        ({"conv_hr/bias": np.zeros(8, complex)}, "holds complex128 numbers"),
        ({"w2s_export.json": np.array("{}")}, "'generator': is missing"),
        ({"w2s_export.json": np.array("[" * 9999)}, "its header nests too deeply"),
        ({"w2s_export.json": np.array('{"version": 2, "generator": {}}')}, "'version'"),
    ],
)
def test_fault(
    changes: dict[str, Any], message: str, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    path = _rewrite(save_checkpoint(checkpoint, tmp_path / "net.npz"), **changes)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_flipped_bit_is_noticed(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = save_checkpoint(checkpoint, tmp_path / "net.npz")
    data = bytearray(path.read_bytes())
    place = data.find(checkpoint.weights["conv_hr/kernel"].tobytes()) + 100
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)
