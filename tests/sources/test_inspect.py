from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from w2s_export.config import GeneratorConfig, PercentileNormalisation, Provenance
from w2s_export.sources.inspect import inspect_checkpoint
from w2s_export.sources.load import load_checkpoint
from w2s_export.sources.npz_checkpoint import save_checkpoint

RGB_X4 = GeneratorConfig(in_nc=3, out_nc=3, nf=64, gc=32, nb=6, scale=4, upsampling="conv")


@pytest.mark.parametrize(
    ("name", "source_format", "architecture", "parameters"),
    [
        # Parameters counted by PyTorch: sum(t.numel() for t in state.values()).
        ("esrgan_x4/realesrgan_x4plus_anime_6B_newkeys.pth", "pytorch", RGB_X4, 4_467_779),
        # By h5py: the sum of the datasets' sizes.
        ("upstream_w2s/rrdbnet_nb2_seed1.h5", "keras-h5", GeneratorConfig(nb=2), 1_513_921),
    ],
)
def test_real_files(
    name: str, source_format: str, architecture: GeneratorConfig, parameters: int, data: Path
) -> None:
    if source_format == "pytorch":
        pytest.importorskip("torch")
    found = inspect_checkpoint(data / name)
    assert found.exportable
    assert found.reason == ""
    assert found.format == source_format
    assert found.architecture == architecture
    assert found.parameters == parameters
    assert found.dtypes == ("float32",)
    assert found.normalisation is None


def test_own_checkpoint_tells_all(golden: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    how, origin = PercentileNormalisation(low=2), Provenance(name="tiny", license="MIT")
    checkpoint = load_checkpoint(golden / "generator.h5")
    checkpoint = replace(checkpoint, normalisation=how, provenance=origin)
    found = inspect_checkpoint(save_checkpoint(checkpoint, tmp_path / "net.npz", half=True))
    assert (found.format, found.dtypes) == ("w2s-export", ("float16",))
    assert (found.normalisation, found.provenance) == (how, origin)


def test_refused_file_has_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    found = inspect_checkpoint(path)
    assert not found.exportable
    assert found.format == "unknown"
    assert found.architecture is None
    assert found.reason.startswith("is a PNG image; expected weights of an RRDBNet")


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.xdist_group("matrix")
def test_refused_checkpoint_keeps_its_format(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"head.0.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "net.pth")
    found = inspect_checkpoint(tmp_path / "net.pth")
    assert found.format == "pytorch"
    assert found.reason.startswith("holds EDSR (key 'head.0.weight'); expected")


def test_light_formats_import_no_framework(golden: Path, tmp_path: Path) -> None:
    """Neither TensorFlow nor torch for HDF5, our own format, ONNX or packages."""
    own = save_checkpoint(load_checkpoint(golden / "generator.h5"), tmp_path / "net.npz")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from w2s_export.sources.inspect import inspect_checkpoint\n"
        "assert all(inspect_checkpoint(Path(path)).exportable for path in sys.argv[1:])\n"
        "print(sorted({'tensorflow', 'keras', 'torch'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", code, str(golden / "generator.h5"), str(own)]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    # Measured 1.5 s on two busy cores; the promise is 3 s for each file.
    assert time.monotonic() - start < 6


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "net.pth"
    path.write_bytes(b"x")
    monkeypatch.setattr(Path, "open", refuse)
    found = inspect_checkpoint(path)
    assert not found.exportable
    assert "Permission denied" in found.reason
