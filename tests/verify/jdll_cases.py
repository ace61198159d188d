"""Descriptions and sizes that the compiled JDLL was asked about: one thing varied each.

`python -m tests.verify.jdll_cases` writes them as JSON, a line each, for golden/JdllJudge.java.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from typing import Any

from .conftest import MISSING, put_at

Case = tuple[dict[str, Any], tuple[int, ...]]
SIZES = ((1, 1, 64, 64), (1, 1, 61, 93), (1, 1, 16, 20), (1, 1, 7, 200))


def base(version: str, **fields: Any) -> dict[str, Any]:
    """A good description of one channel; `minimum`, `step`, `halo`, `scale` of y and x."""
    f = {"minimum": 16, "step": 4, "halo": 4, "scale": 2.0, "offset": 0, "channels": 1} | fields
    common = {
        "type": "model",
        "name": "net",
        "weights": {"onnx": {"source": "net.onnx", "opset_version": 17}},
        "config": {"bioimageio": {"nickname": "affable-shark"}},
    }
    if version == "0.4":
        low, steps = [1, f["channels"], f["minimum"], f["minimum"]], [0, 0, f["step"], f["step"]]
        shape = {"min": low, "step": steps}
        out = {
            "reference_tensor": "in",
            "scale": [1.0, 1.0, f["scale"], f["scale"]],
            "offset": [0, 0, f["offset"], f["offset"]],
        }
        halo = [0, 0, f["halo"], f["halo"]]
        source = {"name": "in", "axes": "bcyx", "data_type": "float32", "shape": shape}
        target = {"name": "out", "axes": "bcyx", "data_type": "float32", "shape": out, "halo": halo}
        return {"format_version": "0.4.10", **common, "inputs": [source], "outputs": [target]}
    names = [f"c{i}" for i in range(f["channels"])]
    sides = []
    for name in ("in", "out"):
        axes: list[dict[str, Any]] = [
            {"type": "batch"},
            {"type": "channel", "channel_names": list(names)},
        ]
        for letter in "yx":
            axis: dict[str, Any] = {"type": "space", "id": letter}
            if name == "in":
                axis |= {"size": {"min": f["minimum"], "step": f["step"]}, "scale": 4.0}
            else:
                size = {"tensor_id": "in", "axis_id": letter, "offset": f["offset"]}
                axis |= {"size": size, "scale": f["scale"], "halo": f["halo"]}
            axes.append(axis)
        sides.append([{"id": name, "axes": axes, "data": {"type": "float32"}}])
    return {"format_version": "0.5.10", **common, "inputs": sides[0], "outputs": sides[1]}


def changed(version: str, path: str, value: Any, **fields: Any) -> dict[str, Any]:
    """The good description with one field exchanged, its path with dots."""
    rdf = base(version, **fields)
    put_at(rdf, path, copy.deepcopy(value) if value is not MISSING else value)
    return rdf


def cases() -> dict[str, Case]:
    """Name → description and size of an image."""
    found: dict[str, Case] = {}
    for name, rdf, shape in itertools.chain(
        _plans(), _fields(), _shapes(), _processing(), _weights()
    ):
        assert name not in found
        found[name] = rdf, shape
    return found


def _plans() -> Iterator[tuple[str, dict[str, Any], tuple[int, ...]]]:
    grid = itertools.product(
        ("0.4", "0.5"), ((16, 4), (20, 8), (1, 1), (64, 0)), (0, 4, 40), (1, 2)
    )
    for number, (version, (minimum, step), halo, scale) in enumerate(grid):
        fields = {"minimum": minimum, "step": step, "halo": halo, "scale": float(scale)}
        for shape in (SIZES[number % 4], SIZES[(number + 1) % 4]):
            yield f"plan {version} {fields} {shape}", base(version, **fields), shape
    for version, side in itertools.product(("0.4", "0.5"), (7066, 8000)):
        shape = (1, 1, side, side)
        yield f"plan {version} {side}", base(version, minimum=16, step=1), shape
    for version, offset in itertools.product(("0.4", "0.5"), (1, -2, 0.5)):
        yield f"offset {version} {offset}", base(version, offset=offset), SIZES[1]
    for version, scale in itertools.product(("0.4", "0.5"), (0, 0.5, 0.3, 3, -1)):
        yield f"scale {version} {scale}", base(version, scale=scale), SIZES[1]


_FIELDS: dict[str, tuple[tuple[str, Any], ...]] = {
    "0.4 and 0.5": (
        ("name", MISSING),
        ("name", 5),
        ("description", ["a"]),
        ("license", 3),
        ("documentation", {"source": "README.md"}),
        ("covers", [{"source": "cover.png"}]),
        ("tags", "one"),
        ("timestamp", None),
        ("timestamp", 2024),
        ("git_repo", {"url": "a"}),
        ("authors", [{"name": "Ada", "orcid": 5}]),
        ("authors", [{"name": "Ada"}, "Bob"]),
        ("authors", "Ada"),
        ("cite", [{"text": "a", "doi": 10.5}]),
        ("cite", [{"text": "a", "doi": "10.1/2"}]),
        ("id", 7),
        ("format_version", 0.5),
        ("format_version", "0.6.0"),
        ("format_version", "0.5.14"),
        ("config", MISSING),
        ("config", {"bioimageio": {}}),
        ("config", "none"),
        ("config.bioimageio.nickname", 5),
        ("config.deepimagej", {"allow_tiling": True}),
        ("config.deepimagej", {"pyramidal_model": False}),
        ("config.deepimagej", {"allow_tiling": "yes, please"}),
        ("config.deepimagej", {"allow_tiling": True, "pyramidal_model": True}),
        ("weights", MISSING),
        ("weights.onnx", None),
        ("weights.onnx", "net.onnx"),
        ("inputs", MISSING),
        ("outputs", MISSING),
        ("outputs.0.description", 5),
        ("inputs.0.preprocessing", {"id": "sigmoid"}),
        ("inputs.0.preprocessing", [None]),
        ("inputs.0.preprocessing", ["sigmoid"]),
        ("inputs.0.preprocessing", [{"kwargs": {}}]),
        ("inputs.0.axes", MISSING),
    ),
    "0.4": (
        ("sample_inputs", ["a.tif", "b.tif"]),
        ("sample_inputs", ["a.tif", "b.npy"]),
        ("sample_outputs", ["a.png", "b.png", "c.png"]),
        ("test_inputs", ["a.npy", "b.npy"]),
        ("test_inputs", ["a.npy", "b.tif"]),
        ("test_outputs", "a.npy"),
        ("inputs.0.name", MISSING),
        ("outputs.0.name", MISSING),
        ("inputs.0.axes", ["b", "c", "y", "x"]),
        ("inputs.0.shape", [1, 1, 64, 64]),
        ("inputs.0.shape", [1, 1, 64]),
        ("inputs.0.shape", [1, 1, -1, -1]),
        ("inputs.0.shape.min", [1, 1, 16.0, 16]),
        ("inputs.0.shape.min", [1, 1, "16", 16]),
        ("inputs.0.shape.step", [0, 0, 4]),
        ("inputs.0.shape.step", None),
        ("outputs.0.shape", [1, 1, 128, 128]),
        ("outputs.0.shape", "any"),
        ("outputs.0.shape.scale", [1, 1, None, 2]),
        ("outputs.0.shape.scale", [1, 1, "2", 2]),
        ("outputs.0.shape.offset", MISSING),
        ("outputs.0.shape.reference_tensor", "other"),
        ("outputs.0.shape.reference_tensor", 1),
        ("outputs.0.halo", [0, 0, 4]),
        ("outputs.0.halo", 4),
        ("outputs.0.halo", [0, 0, None, 4]),
        ("outputs.0.data_type", "bool"),
        ("outputs.0.data_type", "uint64"),
        ("outputs.0.data_type", 5),
    ),
    "0.5": (
        ("inputs.0.id", MISSING),
        ("outputs.0.id", MISSING),
        ("inputs.0.id", 5),
        ("inputs.0.axes", "bcyx"),
        ("inputs.0.axes.0", "batch"),
        ("inputs.0.axes.0", {"type": "batch", "id": "batch", "size": 1}),
        ("inputs.0.axes.0", {"type": "batch", "size": 2}),
        ("inputs.0.axes.0", {"type": "batch", "size": None}),
        ("inputs.0.axes.0", {"type": "time", "id": "t", "size": 1}),
        ("inputs.0.axes.0", {"type": "time", "size": 1}),
        ("inputs.0.axes.0", {"type": "time", "id": "time", "size": 1}),
        ("inputs.0.axes.0", {"type": "index", "id": "i", "size": 1}),
        ("inputs.0.axes.0", {"type": "space", "id": "z", "size": 1}),
        ("inputs.0.axes.0", {"type": "batch", "concatenable": "yes"}),
        ("inputs.0.axes.1.channel_names", MISSING),
        ("inputs.0.axes.1.channel_names", []),
        ("inputs.0.axes.1.channel_names", "c"),
        ("inputs.0.axes.1.channel_names", ["a", "b"]),
        ("inputs.0.axes.1.id", "channel"),
        ("inputs.0.axes.1.type", MISSING),
        ("inputs.0.axes.2.id", MISSING),
        ("inputs.0.axes.2.id", "height"),
        ("inputs.0.axes.2.id", "x"),
        ("inputs.0.axes.2.id", "c"),
        ("inputs.0.axes.2.type", MISSING),
        ("inputs.0.axes.2.scale", None),
        ("inputs.0.axes.2.scale", "4"),
        ("inputs.0.axes.2.size", 64),
        ("inputs.0.axes.2.size", 64.0),
        ("inputs.0.axes.2.size", "64"),
        ("inputs.0.axes.2.size", MISSING),
        ("inputs.0.axes.2.size", {"min": 16}),
        ("inputs.0.axes.2.size", {"min": 16.7, "step": 4.2}),
        ("inputs.0.axes.2.size.min", None),
        ("inputs.0.axes.2.size", {"tensor_id": "in", "axis_id": "x"}),
        ("inputs.0.axes.2.halo", 3),
        ("outputs.0.axes.1.channel_names", ["a", "b"]),
        ("outputs.0.axes.1.size", {"tensor_id": "in", "axis_id": "channel"}),
        ("outputs.0.axes.1.size", {"tensor_id": "in", "axis_id": "c"}),
        ("outputs.0.axes.2.scale", MISSING),
        ("outputs.0.axes.2.scale", None),
        ("outputs.0.axes.2.scale", "two"),
        ("outputs.0.axes.2.halo", 4.9),
        ("outputs.0.axes.2.halo", "4"),
        ("outputs.0.axes.2.halo", 5),
        ("outputs.0.axes.2.size", 128),
        ("outputs.0.axes.2.size", 100),
        ("outputs.0.axes.2.size", {"min": 1, "max": 500}),
        ("outputs.0.axes.2.size", {"min": 32, "step": 8}),
        ("outputs.0.axes.2.size.tensor_id", "other"),
        ("outputs.0.axes.2.size.axis_id", "x"),
        ("outputs.0.axes.2.size.axis_id", "z"),
        ("outputs.0.axes.2.size.axis_id", MISSING),
        ("outputs.0.axes.2.size.offset", "1"),
        ("outputs.0.axes.0", {"type": "index", "id": "i", "size": 1}),
        ("outputs.0.data.type", "bool"),
        ("outputs.0.data.type", "uint8"),
        ("outputs.0.data", [{"type": "uint8"}]),
        ("inputs.0.data.type", "uint16"),
    ),
}


def _fields() -> Iterator[tuple[str, dict[str, Any], tuple[int, ...]]]:
    for versions, entries in _FIELDS.items():
        for version, (path, value) in itertools.product(versions.split(" and "), entries):
            said = "missing" if value is MISSING else json.dumps(value)
            yield f"field {version} {path}: {said}", changed(version, path, value), SIZES[0]


def _shapes() -> Iterator[tuple[str, dict[str, Any], tuple[int, ...]]]:
    """Axes of other kinds and numbers, format 0.4, whose shape goes with the letters."""
    for letters in (
        "cyx",
        "byx",
        "bcxy",
        "bczyx",
        "btcyx",
        "ticyx",
        "bzcyx",
        "byxc",
        "yx",
        "bcyxz",
    ):
        rdf, pixels = base("0.4"), {"y": 64, "x": 61, "z": 12}
        spatial = [letter in pixels for letter in letters]
        rdf["inputs"][0]["axes"] = rdf["outputs"][0]["axes"] = letters
        rdf["inputs"][0]["shape"] = {
            "min": [4 if s else 1 for s in spatial],
            "step": [4 if s else 0 for s in spatial],
        }
        rdf["outputs"][0]["shape"] |= {
            "scale": [1.0] * len(letters),
            "offset": [0] * len(letters),
        }
        rdf["outputs"][0]["halo"] = [0] * len(letters)
        yield f"axes {letters}", rdf, tuple(pixels.get(letter, 1) for letter in letters)


_STEPS: tuple[tuple[str, dict[str, Any] | None], ...] = (
    ("ensure_dtype", {"dtype": "float32"}),
    ("ensure_dtype", None),
    ("sigmoid", None),
    ("sigmoid", {}),
    ("sigmoid", {"eps": 1}),
    ("softmax", {"axis": "channel"}),
    ("scale_mean_variance", {"reference_tensor": "in"}),
    ("magic", None),
    ("binarize", {"threshold": 500}),
    ("binarize", {"threshold": "500"}),
    ("binarize", {"threshold": [500]}),
    ("binarize", {"threshold": 500, "axis": "channel"}),
    ("binarize", {}),
    ("binarize", {"threshold": True}),
    ("clip", {"min": 100, "max": 900.5}),
    ("clip", {"min": 100}),
    ("clip", {"min": None, "max": 5}),
    ("clip", {"min": 1e-06, "max": "1e3"}),
    ("clip", {"min_percentile": 1, "max": 5}),
    ("clip", {"min": 99999999999, "max": 1}),
    ("scale_linear", {"gain": 2, "offset": -1.5}),
    ("scale_linear", {"gain": 0.5}),
    ("scale_linear", {"gain": [2.0, 3.0, 4.0]}),
    ("scale_linear", {"gain": [2.0, 3.0, 4.0], "offset": 1}),
    ("scale_linear", {"gain": 2, "offset": [1.0, 2.0, 3.0]}),
    ("scale_linear", {"gain": [2.0, 3.0, 4.0], "offset": [1.0, 2.0, 3.0], "axis": "channel"}),
    ("scale_linear", {"gain": [2.0], "offset": [1.0], "axes": "yx"}),
    ("scale_linear", {"gain": [2.0, "3"], "axes": "yx"}),
    ("scale_linear", {"gain": [], "axes": "yx"}),
    ("scale_linear", {"gain": 3, "axes": ["channel"]}),
    ("scale_range", {}),
    ("scale_range", None),
    ("scale_range", {"min_percentile": 1, "max_percentile": 99.8, "eps": 1e-06}),
    ("scale_range", {"min_percentile": 1, "max_percentile": 99.8, "axes": ["channel", "y", "x"]}),
    ("scale_range", {"min_percentile": 2, "max_percentile": 98, "axes": ["y", "x"]}),
    ("scale_range", {"min_percentile": 2, "max_percentile": 98, "axes": ["batch", "y", "x"]}),
    ("scale_range", {"mode": "per_sample", "axes": "xy", "max_percentile": 90}),
    ("scale_range", {"mode": "per_dataset", "axes": "cxy"}),
    ("scale_range", {"mode": "sometimes"}),
    ("scale_range", {"axes": "x"}),
    ("scale_range", {"axes": []}),
    ("scale_range", {"axes": [1]}),
    ("scale_range", {"axes": None}),
    ("scale_range", {"reference_tensor": "in"}),
    ("scale_range", {"reference_tensor": None}),
    ("scale_range", {"min_percentile": -5}),
    ("scale_range", {"eps": None}),
    ("zero_mean_unit_variance", None),
    ("zero_mean_unit_variance", {"eps": 0.001}),
    ("zero_mean_unit_variance", {"axes": ["channel", "y", "x"]}),
    ("zero_mean_unit_variance", {"axes": ["y", "x"]}),
    ("zero_mean_unit_variance", {"axes": ["batch", "y", "x"]}),
    ("zero_mean_unit_variance", {"axes": "yx", "mode": "per_sample"}),
    ("zero_mean_unit_variance", {"mode": "per_dataset"}),
    ("zero_mean_unit_variance", {"mean": 500, "std": 100}),
    ("zero_mean_unit_variance", {"mode": "fixed", "mean": 500, "std": 100}),
    ("zero_mean_unit_variance", {"mode": "fixed", "mean": 500, "std": 100, "axes": "cyx"}),
    ("zero_mean_unit_variance", {"mode": "fixed", "mean": 500, "std": 100, "axes": "bcyx"}),
    ("zero_mean_unit_variance", {"mode": "fixed", "mean": [500.0], "std": [90], "axes": "bcyx"}),
    (
        "zero_mean_unit_variance",
        {"mode": "fixed", "mean": [5, 6], "std": [1, 2], "axes": "yx"},
    ),
    ("zero_mean_unit_variance", {"mode": "fixed", "mean": [5.5], "std": [1], "axes": "yx"}),
    ("zero_mean_unit_variance", {"mode": "fixed", "mean": [5.5], "std": [1]}),
    ("zero_mean_unit_variance", {"mode": "fixed", "mean": [5.5], "std": 2, "axes": "yx"}),
    ("zero_mean_unit_variance", {"mode": "fixed", "mean": 5}),
    ("zero_mean_unit_variance", {"mode": "fixed"}),
    ("zero_mean_unit_variance", {"std": 5}),
    ("fixed_zero_mean_unit_variance", {"mean": 500, "std": 100}),
    ("fixed_zero_mean_unit_variance", {"mean": 500.5, "std": "100", "eps": 1}),
    ("fixed_zero_mean_unit_variance", {"mean": [5, 6, 7], "std": [1, 2, 3], "axis": "channel"}),
    ("fixed_zero_mean_unit_variance", {"mean": [5, 6, 7], "std": [1, 2, 3]}),
    ("fixed_zero_mean_unit_variance", {"mean": 5, "std": 2, "axis": "channel"}),
    ("fixed_zero_mean_unit_variance", {"mean": [5.0], "std": [2.0], "axis": "b"}),
    ("fixed_zero_mean_unit_variance", {"mean": [5.0] * 9, "std": [2.0] * 9, "axes": ["b", "c"]}),
    ("fixed_zero_mean_unit_variance", {"mean": 5}),
    ("fixed_zero_mean_unit_variance", {"mode": "per_sample"}),
)


def _processing() -> Iterator[tuple[str, dict[str, Any], tuple[int, ...]]]:
    for number, (name, kwargs) in enumerate(_STEPS):
        version, key = (("0.5", "id"), ("0.4", "name"))[number % 2]
        step = {key: name} if kwargs is None else {key: name, "kwargs": kwargs}
        said = json.dumps(step)
        for side, field in (("inputs", "preprocessing"), ("outputs", "postprocessing")):
            rdf = changed(version, f"{side}.0.{field}", [step], channels=3, minimum=4)
            yield f"{field} {version} {said}", rdf, (2, 3, 8, 12)
        if version == "0.4":
            rdf = changed(version, "inputs.0.preprocessing", [step], minimum=4, step=4)
            yield f"one channel {version} {said}", rdf, (1, 1, 8, 12)
    both = [{"id": "scale_linear", "kwargs": {"gain": 0.01}}, {"id": "sigmoid"}]
    yield "two steps", changed("0.5", "inputs.0.preprocessing", both), SIZES[2]


def _weights() -> Iterator[tuple[str, dict[str, Any], tuple[int, ...]]]:
    for first, tensorflow in itertools.product((0, 1), ("1.15.0", "2.7.0", "2.16.1", "2.18.0")):
        for opset in (11, 12, 13, 16, 17, 18):
            both = [
                ("onnx", {"source": "net.onnx", "opset_version": opset}),
                (
                    "tensorflow_saved_model_bundle",
                    {"source": "tf.zip", "tensorflow_version": tensorflow},
                ),
            ]
            weights = dict(both[::-1] if first else both)
            yield (
                f"weights {list(weights)} {opset} {tensorflow}",
                changed("0.5", "weights", weights),
                SIZES[2],
            )
    alone: tuple[tuple[str, dict[str, Any]], ...] = (
        ("onnx", {"source": "net.onnx"}),
        ("onnx", {"source": "net.onnx", "opset_version": "17"}),
        ("onnx", {"source": "net.onnx", "opset_version": 20}),
        ("tensorflow_saved_model_bundle", {"source": "tf.zip"}),
        ("tensorflow_saved_model_bundle", {"source": "tf.zip", "tensorflow_version": 2.7}),
        ("tensorflow_saved_model_bundle", {"source": "tf.zip", "tensorflow_version": "2.7.0+cu11"}),
        ("torchscript", {"source": "net.pt"}),
        ("torchscript", {"source": "net.pt", "pytorch_version": "2.4.0"}),
        ("pytorch_state_dict", {"source": "net.pt"}),
        ("pytorch_state_dict", {"source": "net.pt", "pytorch_version": "2.4.0"}),
        ("keras_hdf5", {"source": "net.h5", "tensorflow_version": "2.7.0"}),
        ("keras_hdf5", {"source": "net.h5"}),
        ("tensorflow_js", {"source": "net.zip"}),
        ("pytorch_script", {"source": "net.pt", "pytorch_version": "1.9"}),
        ("unheard_of", {"source": "net.bin"}),
    )
    for name, entry in alone:
        rdf = changed("0.5", "weights", {name: entry})
        yield f"weights {name} {json.dumps(entry)}", rdf, SIZES[2]


if __name__ == "__main__":
    for label, (description, size) in cases().items():
        print(json.dumps({"name": label, "rdf": json.dumps(description), "shape": size}))
