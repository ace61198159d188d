from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from w2s_export.config import GeneratorConfig
from w2s_export.sources.load import load_checkpoint

CONFIG = GeneratorConfig(
    nf=8, gc=4, nb=1, in_nc=3, out_nc=3, scale=2, upsampling="conv", pixel_unshuffle=2
)


def write(path: Path, state: dict[str, Any], kind: str) -> Path:
    """By hand, from the format's description: length, JSON, little-endian data."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for key, value in state.items():
        if kind == "BF16":
            raw = (value.view(np.uint32) >> 16).astype("<u2").tobytes()
        else:
            raw = value.astype({"F16": "<f2", "F32": "<f4", "F64": "<f8"}[kind]).tobytes()
        place = [len(data), len(data) + len(raw)]
        header[key] = {"dtype": kind, "shape": list(value.shape), "data_offsets": place}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "F64"])
def test_element_types(kind: str, tmp_path: Path, reference: Any) -> None:
    state = reference.state(CONFIG, seed=8)
    checkpoint = load_checkpoint(write(tmp_path / "net.safetensors", state, kind))
    assert checkpoint.config == CONFIG
    assert checkpoint.source_format == "safetensors"
    if kind == "F16":
        state = {key: value.astype(np.float16).astype(np.float32) for key, value in state.items()}
    elif kind == "BF16":
        cut = np.uint32(0xFFFF0000)
        state = {key: (value.view(np.uint32) & cut).view("f4") for key, value in state.items()}
    image = reference.image(CONFIG)
    expected = reference.forward(state, image, CONFIG)
    difference = reference.difference(expected, reference.restore(checkpoint, image))
    assert difference < reference.tolerance


def test_written_by_the_formats_own_library(tmp_path: Path, reference: Any) -> None:
    library = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    state = reference.state(CONFIG, seed=8)
    library.save_file(state, tmp_path / "net.safetensors")
    checkpoint = load_checkpoint(tmp_path / "net.safetensors")
    image = reference.image(CONFIG)
    expected = reference.forward(state, image, CONFIG)
    difference = reference.difference(expected, reference.restore(checkpoint, image))
    assert difference < reference.tolerance


def test_torch_is_not_needed(
    tmp_path: Path, reference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    path = write(tmp_path / "net.safetensors", reference.state(CONFIG, seed=8), "F32")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert load_checkpoint(path).config == CONFIG
