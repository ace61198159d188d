"""Tracing PyTorch networks: what its tracer would fix to one size."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.graph.test_lower import run
from w2s_export.errors import CheckpointError, CheckpointMismatchError, NoWholeNetworkError
from w2s_export.sources import recognise, torch_network
from w2s_export.sources.foreign_network import foreign_network
from w2s_export.sources.foreign_program import look
from w2s_export.sources.original import Original
from w2s_export.sources.torch_network import _traced, _unpadded

torch = pytest.importorskip("torch")


class Patches(torch.nn.Module):  # type: ignore[misc]
    """Sizes read as DITN reads them."""

    def forward(self, image: Any) -> Any:
        n, c, h, w = image.data.shape
        columns = image.view(n, c, h * w)
        return (columns - columns.mean(-1, keepdim=True)).view(n, c, h, w)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_sizes_read_from_data_stay_free() -> None:
    kept = torch.Tensor.data
    model, step, _ = _traced(Patches(), 2)
    assert (torch.Tensor.data, step) == (kept, 1)
    for size in ((5, 9), (61, 83), (64, 32)):
        image = np.random.default_rng(1).random((1, 2, *size)).astype(np.float32)
        expected = Patches()(torch.from_numpy(image)).numpy()
        np.testing.assert_allclose(run(model, image), expected, atol=1e-6)  # 6e-8 seen


class Squares(torch.nn.Module):  # type: ignore[misc]
    """Takes squares alone, as Uformer does."""

    def forward(self, image: Any) -> Any:
        n, c, h, w = image.shape
        side = int((h * w) ** 0.5)
        return image.view(n, c, h * w).view(n, c, side, side).transpose(2, 3)


class Waves(torch.nn.Module):  # type: ignore[misc]
    """Takes multiples of 32 alone, and does then what ONNX cannot, as FFTformer does."""

    def forward(self, image: Any) -> Any:
        assert image.shape[2] % 32 == 0
        return torch.fft.irfft2(torch.fft.rfft2(image))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_network_of_squares_keeps_one_size() -> None:
    model, *_ = _traced(Squares(), 1)
    sizes = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == [0, 1, 128, 128]


class Padded(torch.nn.Module):  # type: ignore[misc]
    """Pads to a multiple of 8 by arithmetic outside PyTorch, as FBCNN does."""

    def __init__(self, skip: bool) -> None:
        super().__init__()
        self.down = torch.nn.Conv2d(1, 4, 8, stride=8)
        self.up = torch.nn.ConvTranspose2d(4, 1, 8, stride=8)
        self.wide = torch.nn.Conv2d(1, 1, 3, padding=1)
        self.skip = skip

    def forward(self, image: Any) -> Any:
        h, w = image.shape[2:]
        below, right = (int(np.ceil(size / 8) * 8 - size) for size in (h, w))
        padded = torch.nn.ReplicationPad2d((0, right, 0, below))(image)
        wide = self.wide(padded)
        if not self.skip:
            return wide[..., :h, :w]
        return (self.up(self.down(wide)) + wide)[..., :h, :w]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("skip", [True, False], ids=["shapes differ", "borders differ"])
def test_padding_computed_outside_pytorch_becomes_a_step(skip: bool) -> None:
    torch.manual_seed(3)
    network = Padded(skip).eval()
    traced = _traced(network, 1)
    assert traced.sized

    def run_torch(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(batch.copy())))

    original = Original(
        traced.model, "PyTorch", run_torch, "padded", unpadded=lambda: _unpadded(network, 1)
    )
    lowered, _, found = look(original, dynamic=False)
    assert (found["step"], found["minimum"], found["fixed"]) == (8, 8, None)
    for size in ((8, 16), (64, 72), (40, 24)):
        image = np.random.default_rng(1).random((1, 1, *size)).astype(np.float32)
        np.testing.assert_allclose(run(lowered.graph, image), run_torch(image), atol=1e-6)  # 1e-7


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_reason_is_of_a_size_that_it_computes() -> None:
    with pytest.raises(CheckpointError, match="cannot write it as ONNX .*fft_rfft2"):
        _traced(Waves(), 1)
    with pytest.raises(CheckpointError, match=r"computes no image in PyTorch \(of 61×83: "):
        _traced(torch.nn.Linear(7, 7), 1)


def test_torchvision_is_imported_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "torchvision.transforms.functional"
    monkeypatch.delitem(sys.modules, name, raising=False)
    asked: list[str] = []
    real = SimpleNamespace(rotate=lambda angle, fill: angle + fill, Mode=SimpleNamespace(ONE=1))

    def found(module: str) -> SimpleNamespace:
        asked.append(module)
        return real

    monkeypatch.setattr(torch_network, "import_module", found)
    with torch_network._torchvision_when_called():
        Mode, rotate = (getattr(sys.modules[name], part) for part in ("Mode", "rotate"))
        # What looks through all modules, as PyTorch does, finds nothing odd.
        assert not any(hasattr(found, "__file__") for found in (sys.modules[name], Mode, rotate))
    assert (asked, name in sys.modules) == ([], False)
    assert (rotate(3, fill=4), Mode.ONE) == (7, 1)
    assert set(asked) == {name}


@pytest.mark.parametrize(
    "source_format", [recognise.PYTORCH, recognise.SAFETENSORS, recognise.KERAS_H5]
)
def test_tensors_that_nobody_knows_are_refused_with_both_reasons(
    source_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object) -> None:
        raise NoWholeNetworkError("no architecture of spandrel, code is never run")

    monkeypatch.setattr("w2s_export.sources.foreign.Witness", opened)
    reasons = "^no RRDBNet; no architecture of spandrel, code is never run$"
    with pytest.raises(CheckpointMismatchError, match=reasons):
        foreign_network(
            Path("theirs"), source_format, instead_of=CheckpointMismatchError("no RRDBNet")
        )
