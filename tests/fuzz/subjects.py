"""What is fuzzed: good files to begin with, how they are damaged, and how they are read."""

from __future__ import annotations

import random
import resource
import time
import traceback
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.inputs import checkpoint, noise
from w2s_export.errors import W2SExportError

SECONDS = 60.0
"""A case may take, on a busy machine; those read by a worker take a second to start it."""
MEMORY = 1 << 30
"""Bytes by which a case may raise the most that this process ever held."""
_LONGEST = 4000


@dataclass(frozen=True)
class Result:
    kind: str
    """`read`, `refused` or `fault`."""
    seconds: float
    fault: str = ""


def weights(folder: Path) -> list[Path]:
    """A tiny generator in every format whose reader is ours or a worker's."""
    import h5py
    from safetensors.numpy import save_file

    from w2s_export.formats import onnx as onnx_format
    from w2s_export.networks.layout import tensor_shapes
    from w2s_export.sources.load import load_checkpoint, load_network

    own = folder / "own.npz"
    checkpoint(own)
    loaded = load_checkpoint(own)
    onnx_format.write(load_network(own), folder / "own.onnx")
    names = list(tensor_shapes(loaded.config))
    state = {}
    for name in names:
        layer, _, part = name.partition("/")
        value = loaded.weights[name]
        words = layer.split("_")
        key = f"{words[0]}.{words[1]}.{words[2]}.{words[3]}" if "_rdb" in layer else layer
        value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
        state[f"{key}.{'weight' if part == 'kernel' else 'bias'}"] = np.ascontiguousarray(value)
    save_file(state, folder / "state.safetensors")
    with h5py.File(folder / "keras2.h5", "w") as file:
        layers = list(dict.fromkeys(name.partition("/")[0] for name in names))
        file.attrs["layer_names"] = np.array(layers, "S")
        for layer in layers:
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array(["kernel:0", "bias:0"], "S")
            group["kernel:0"] = loaded.weights[f"{layer}/kernel"]
            group["bias:0"] = loaded.weights[f"{layer}/bias"]
    files = [own, folder / "own.onnx", folder / "state.safetensors", folder / "keras2.h5"]
    try:
        import torch
    except ImportError:
        return files
    tensors = {key: torch.from_numpy(value) for key, value in state.items()}
    torch.save(tensors, folder / "zipped.pth")
    torch.save(tensors, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    return [*files, folder / "zipped.pth", folder / "legacy.pth"]


def packages(folder: Path) -> list[Path]:
    """Zips of a description and small members."""
    import io

    import yaml

    array = io.BytesIO()
    np.save(array, np.zeros((1, 1, 16, 16), np.float32))
    axes = [{"type": "batch"}, {"type": "channel", "channel_names": ["c"]}]
    axes += [{"type": "space", "id": side, "size": {"min": 16, "step": 1}} for side in "yx"]
    tensor = {"id": "input", "axes": axes, "test_tensor": {"source": "in.npy"}}
    rdf = {
        "type": "model",
        "format_version": "0.5.3",
        "name": "fuzzed model",
        "description": "A model",
        "authors": [{"name": "A"}],
        "license": "MIT",
        "inputs": [tensor],
        "outputs": [{**tensor, "id": "output", "test_tensor": {"source": "out.npy"}}],
        "weights": {"onnx": {"source": "weights.onnx", "opset_version": 17}},
    }
    old = {
        **rdf,
        "format_version": "0.4.10",
        "inputs": [
            {"name": "input", "axes": "bcyx", "data_type": "float32",
             "shape": {"min": [1, 1, 16, 16], "step": [0, 0, 1, 1]}}
        ],
    }  # fmt: skip
    made = []
    for name, content in (("new.zip", rdf), ("old.zip", old)):
        with zipfile.ZipFile(folder / name, "w") as archive:  # stored: damage reaches the text
            archive.writestr("rdf.yaml", yaml.safe_dump(content))
            archive.writestr("weights.onnx", b"\x08\x08\x3a\x02\x0a\x00")
            archive.writestr("in.npy", array.getvalue())
            archive.writestr("out.npy", array.getvalue())
        made.append(folder / name)
    return made


def images(folder: Path) -> list[Path]:
    """TIFF of several kinds and PNG."""
    import imagecodecs
    import tifffile

    stack = noise(24, 32).astype(np.uint16)
    tifffile.imwrite(folder / "plain.tif", stack)
    tifffile.imwrite(folder / "imagej.tif", np.stack([stack] * 3), imagej=True)
    tifffile.imwrite(folder / "lzw.tif", stack, compression="lzw")
    tifffile.imwrite(
        folder / "tiled.tif", np.tile(stack, (4, 4)), tile=(32, 32), compression="zlib"
    )
    tifffile.imwrite(folder / "ome.ome.tif", np.stack([stack] * 3), metadata={"axes": "ZYX"})
    (folder / "grey.png").write_bytes(imagecodecs.png_encode(stack))
    names = ("plain.tif", "imagej.tif", "lzw.tif", "tiled.tif", "ome.ome.tif", "grey.png")
    return [folder / name for name in names]


def _read_weights(path: Path) -> None:
    from w2s_export.sources.load import load_checkpoint

    load_checkpoint(path)


def _read_package(path: Path) -> None:
    from w2s_export.verify.verify import verify

    verify(path, rules_only=True)


def _read_image(path: Path) -> None:
    from w2s_export.io.images import read_image

    read_image(path, 256 << 20)


SUBJECTS: Mapping[str, tuple[Callable[[Path], list[Path]], Callable[[Path], None]]] = {
    "weights": (weights, _read_weights),
    "packages": (packages, _read_package),
    "images": (images, _read_image),
}


def originals(subject: str, folder: Path) -> list[Path]:
    """Good files of the subject."""
    return SUBJECTS[subject][0](folder)


def mutated(data: bytes, seed: int) -> bytes:
    """The file with a few faults; the same seed makes the same."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        if not changed:
            break
        # Structure lies at the beginning and at the end; half of the faults go there.
        end = len(changed)
        place = chance.choice(
            (
                chance.randrange(end),
                chance.randrange(min(end, 512)),
                end - 1 - chance.randrange(min(end, 512)),
            )
        )
        length = chance.choice((1, 1, 2, 4, 8, 64))
        kind = chance.randrange(7)
        if kind == 0:
            changed[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            changed[place : place + length] = chance.randbytes(length)
        elif kind == 2:
            changed[place : place + length] = b"\xff" * length
        elif kind == 3:
            changed[place : place + length] = bytes(length)
        elif kind == 4:
            del changed[place : place + length]
        elif kind == 5:
            changed[place:place] = changed[place : place + length]
        else:
            del changed[place:]
    return bytes(changed)


def attempt(subject: str, path: Path) -> Result:
    """Read a file; whatever is not a reason for its user is a fault."""
    read = SUBJECTS[subject][1]
    before, began = _most_held(), time.monotonic()
    kind, fault = "read", ""
    try:
        read(path)
    except W2SExportError as error:
        kind, text = "refused", str(error)
        if len(text) > _LONGEST or not text.replace("\n", "").isprintable():
            fault = f"a message of {len(text)} letters: {text[:100]!r}"
    except Exception:
        fault = traceback.format_exc(limit=-3)
    seconds, grown = time.monotonic() - began, _most_held() - before
    if seconds > SECONDS:
        fault = f"{seconds:.0f} s"
    if grown > MEMORY:
        fault = f"{grown / 2**30:.1f} GiB"
    return Result("fault" if fault else kind, seconds, fault)


def _most_held() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
