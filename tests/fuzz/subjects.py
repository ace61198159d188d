"""What is fuzzed: good files to begin with, how they are damaged, and how they are read."""

from __future__ import annotations

import io
import json
import os
import random
import resource
import shutil
import traceback
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.inputs import checkpoint, noise
from w2s_export.errors import W2SExportError

SECONDS = 60.0
"""Of processor time that a case may take, its workers' with it. TensorFlow's import takes ten."""
MEMORY = 1 << 30
"""Bytes by which a case may raise the most that this process ever held."""
SLOW_SHARE = 24
"""Of so many cases one is read by a worker that imports a framework."""
_LONGEST = 4000


@dataclass(frozen=True)
class Original:
    """A good file or folder."""

    path: Path
    read: Callable[[Path], str]
    """Reads it or a damaged one; gives or raises (W2SExportError) why not, else gives nothing."""
    slow: bool = False
    """Read by a worker that imports a framework."""


@dataclass(frozen=True)
class Result:
    kind: str
    """`read`, `refused` or `fault`."""
    seconds: float
    fault: str = ""


def weights(folder: Path, slow: bool = True) -> list[Original]:
    """A tiny generator in every format, and networks of others in those that hold any."""
    made = [Original(path, _read_weights) for path in _generators(folder)]
    if not slow:
        return [original for original in made if original.path.suffix != ".h5"]
    made = [Original(o.path, o.read, slow=o.path.suffix == ".h5") for o in made]
    return made + [Original(path, _inspect, slow=True) for path in _networks_of_others(folder)]


def _generators(folder: Path) -> list[Path]:
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


def _networks_of_others(folder: Path) -> list[Path]:
    """Two convolutions in ONNX, Keras's two formats, and a SavedModel."""
    import keras
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    kernels = [rng.normal(0, 0.1, shape).astype("f") for shape in ((4, 1, 3, 3), (1, 4, 3, 3))]
    shape = ["n", 1, "h", "w"]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["input", "a"], ["x"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["x"], ["y"]),
            helper.make_node("Conv", ["y", "b"], ["output"], pads=[1, 1, 1, 1]),
        ],
        "two convolutions",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(kernel, name) for kernel, name in zip(kernels, "ab", strict=True)],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), folder / "other.onnx")
    image = keras.Input((None, None, 1))
    inner = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    model = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(inner))
    model.save(folder / "other.keras")
    model.save(folder / "other.h5")
    model.export(folder / "other_saved_model", verbose=False)
    names = ("other.onnx", "other.keras", "other.h5", "other_saved_model")
    return [folder / name for name in names]


def packages(folder: Path, slow: bool = True) -> list[Original]:
    """Zips of a description and small members; and one of ours, with its fast CPU graph."""
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
        made.append(Original(folder / name, _verify))
    if not slow:
        return made
    with_fast, for_deepimagej = _exported(folder)
    rich = [Original(path, _verify) for path in (with_fast, for_deepimagej)]
    return [*made, *rich, Original(with_fast, _open_package)]


def _exported(folder: Path) -> tuple[Path, Path]:
    """Both packages of a tiny network, with its fast CPU graph."""
    import w2s_export as w2s

    weights = checkpoint(folder / "w.npz")
    made = w2s.export(weights, output=folder / "exported", cpu_fast=True).packages
    return made.bioimageio, made.deepimagej


def images(folder: Path, slow: bool = True) -> list[Original]:
    """TIFF of several kinds, PNG, NPY and OME-Zarr."""
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
    tifffile.imwrite(folder / "big.tif", stack.astype("f"), bigtiff=True, compression="zlib")
    tifffile.imwrite(folder / "rgb.tif", np.stack([stack.astype("u1")] * 3, -1), photometric="rgb")
    (folder / "grey.png").write_bytes(imagecodecs.png_encode(stack))
    np.save(folder / "plain.npy", stack)
    names = ["plain.tif", "imagej.tif", "lzw.tif", "tiled.tif", "ome.ome.tif", "big.tif"]
    names += ["rgb.tif", "grey.png", "plain.npy"]
    made = [Original(folder / name, _read_image) for name in names]
    try:
        import zarr
    except ImportError:
        return made
    group = zarr.open_group(folder / "ome.zarr", mode="w")
    group.create_array("0", data=stack, chunks=(16, 16))
    axes = [{"name": side, "type": "space", "unit": "micrometer"} for side in "yx"]
    step = [{"type": "scale", "scale": [0.1, 0.1]}]
    scales = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": step}]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": scales}
    return [*made, Original(folder / "ome.zarr", _read_image)]


def _read_weights(path: Path) -> str:
    from w2s_export.sources.load import load_checkpoint

    load_checkpoint(path)
    return ""


def _inspect(path: Path) -> str:
    from w2s_export.sources.inspect import inspect_checkpoint

    return inspect_checkpoint(path).reason


def _verify(path: Path) -> str:
    from w2s_export.verify.findings import Code
    from w2s_export.verify.verify import verify

    report = verify(path, rules_only=True)
    json.dumps(report.as_json(), allow_nan=False)
    broken = [f.message for f in report.findings if f.code is Code.internal_error]
    if broken:
        raise AssertionError(broken)
    return ""


def _open_package(path: Path) -> str:
    from w2s_export.package.network import open_network

    into = path.with_name("opened")
    into.mkdir()
    try:
        for cpu_fast in (False, True):
            open_network(path, None, cpu_fast=cpu_fast).open(into)
    finally:
        shutil.rmtree(into)
    return _verify(path)


def _read_image(path: Path) -> str:
    from w2s_export.io.images import open_source, read_image

    with open_source(path, most=256 << 20) as source:
        source.read(0, 0, 0, slice(0, 8), slice(0, 8))
    if path.is_file():
        read_image(path, 256 << 20)
    return ""


SUBJECTS: Mapping[str, Callable[[Path, bool], list[Original]]] = {
    "weights": weights,
    "packages": packages,
    "images": images,
}


def originals(subject: str, folder: Path, *, slow: bool = True) -> list[Original]:
    """Good files of the subject; without those whose making or reading takes seconds if asked."""
    return SUBJECTS[subject](folder, slow)


def chosen(files: Sequence[Original], number: int) -> Original:
    """Which of the files a case damages: all take turns, but slow ones seldom."""
    quick, slow = ([f for f in files if f.slow is kind] for kind in (False, True))
    if slow and (not quick or number % SLOW_SHARE == 0):
        return slow[number // SLOW_SHARE % len(slow)]
    return quick[number % len(quick)]


def damage(original: Original, seed: int, folder: Path) -> Path:
    """A damaged copy, in place of the one before; the same seed makes the same."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    target = folder / f"case{original.path.suffix}"
    if original.path.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(original.path, target)
        inside = chance.choice(sorted(path for path in target.rglob("*") if path.is_file()))
        inside.write_bytes(mutated(inside.read_bytes(), seed))
    elif original.read is _verify and chance.random() < 0.6:
        target.write_bytes(_other_description(original.path, chance))
    else:
        target.write_bytes(mutated(original.path.read_bytes(), seed))
    return target


def _other_description(package: Path, chance: random.Random) -> bytes:
    """The package with a few places of its description dropped, replaced, nested or moved."""
    with zipfile.ZipFile(package) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    description = yaml.safe_load(files["rdf.yaml"])
    for _ in range(chance.choice((1, 1, 2, 3, 5))):
        places = list(_places(description))
        holder, key = chance.choice(places)
        other, at = chance.choice(places)
        kind = chance.randrange(4)
        if kind == 0:
            del holder[key]
        elif kind == 1:
            holder[key] = chance.choice(_ODD)
        elif kind == 2:
            holder[key] = chance.choice(([holder[key]], {"source": holder[key]}))
        else:
            holder[key] = json.loads(json.dumps(other[at], default=str))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, yaml.dump(description) if name == "rdf.yaml" else data)
    return stream.getvalue()


_ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 2**63, 10**60, float("inf"), float("nan"), "", "x" * 5000, [], {}),
    *("0.5.10", "../../etc/passwd", "rdf.yaml", "\x1b[2J", "\u202e", "=1+1", "input", "y", "bcyx"),
)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (holder, key) of nested lists and mappings."""
    if not isinstance(value, (dict, list)):
        return []
    found: list[tuple[Any, Any]] = []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        found += [(value, key), *_places(inner)]
    return found


def mutated(data: bytes, seed: int) -> bytes:
    """The bytes with a few faults; the same seed makes the same."""
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


def attempt(original: Original, path: Path) -> Result:
    """Read a file as the original is; whatever is not a reason for its user is a fault."""
    before, began = _most_held(), _processor_time()
    kind, fault, text = "read", "", ""
    try:
        text = original.read(path)
    except W2SExportError as error:
        text = str(error) or "no reason"
    except Exception:
        fault = traceback.format_exc(limit=-3)
    if text:
        kind = "refused"
        if len(text) > _LONGEST or not text.replace("\n", "").isprintable():
            fault = f"a message of {len(text)} letters: {text[:100]!r}"
    seconds, grown = _processor_time() - began, _most_held() - before
    if seconds > SECONDS:
        fault = f"{seconds:.0f} s"
    if grown > MEMORY:
        fault = f"{grown / 2**30:.1f} GiB"
    return Result("fault" if fault else kind, seconds, fault)


def _processor_time() -> float:
    """Seconds of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


def _most_held() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
