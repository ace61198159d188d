"""Small packages around every rule, one thing varied each, and what bioimageio.core says of them.

`python -m tests.verify.neighbours` gives each of them to core's own test and to our rules, and
prints the table of docs/clients.md; where the two disagree it says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from w2s_export.errors import PackageError
from w2s_export.package.opening import open_package
from w2s_export.rdf.reading import example_tensors, tensor_ids, weights_file
from w2s_export.verify.clients.core_processing import postprocess, preprocess

from .conftest import MISSING, Plain, npy, put_at

Files = dict[str, bytes]
Change = Callable[["Package"], None]
"""Alters a package that is right."""

Answer = tuple[bool, str]
"""Whether it is accepted, and why not."""

_ABSENT = "a file that is named and not there: refused for all, core 0.11 does not look for it"
_LIES = "the ONNX file says of its output what the network does not do; ONNX Runtime only warns"
_AXES = "core puts a missing batch axis in front; our comparison leaves such tensors to core's test"
REASONS = {
    "0.4 examples: output of three axes": _AXES,
    "0.4 examples: input of three axes": _AXES,
    '0.4 fields: documentation "README.txt"': _ABSENT,
    '0.4 fields: covers ["none.png"]': _ABSENT,
    '0.4 examples: sample_inputs ["none.tif"]': _ABSENT,
    '0.5 weights: network sizes {"in": ["b", 1, "y", "x"], "out": ["b", 3, "h", "w"]}': _LIES,
}
"""Disagreements that stay, by the name of the package, and why."""

_ONNX_TYPES = {
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "uint16": 4,
    "int16": 5,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float64": 11,
}


class Package:
    """A description, its files and a network y = 2x + 1, enlarged `scale` times."""

    def __init__(self, version: str, scale: int = 1) -> None:
        self.version, self.scale = version, scale
        self.key = "id" if version == "0.5" else "name"
        self.image = (np.arange(24 * 28).reshape(1, 1, 24, 28) % 97 / 10).astype(np.float32)
        self.types = {"in": "float32", "out": "float32"}
        self.sizes: dict[str, list[Any]] = {"in": ["b", 1, "y", "x"], "out": ["b", 1, "h", "w"]}
        self.opset, self.ir, self.extra_outputs = 17, 8, 0
        self.imports: list[str] = []
        self.domain = ""
        self.files: Files = {"README.md": b"# Validation\n", "cover.png": _picture()}
        self.onnx_name, self.rdf_name = "net.onnx", "rdf.yaml"
        self.expected: Any = None
        self.compute = True
        self.rdf: dict[str, Any] = self._described()

    def _described(self) -> dict[str, Any]:
        common = {
            "type": "model",
            "name": "neighbour",
            "description": "A small network.",
            "authors": [{"name": "Ada Lovelace"}],
            "maintainers": [{"name": "Ada Lovelace", "github_user": "ada"}],
            "cite": [{"text": "none", "url": "https://bioimage.io"}],
            "license": "MIT",
            "documentation": "README.md",
            "covers": ["cover.png"],
            "tags": ["denoising"],
            "config": {"bioimageio": {"nickname": "affable-shark"}},
            "weights": {"onnx": {"source": "net.onnx", "opset_version": 17}},
        }
        if self.version == "0.4":
            zeros, ones = [0, 0, 0, 0], [1.0, 1.0, float(self.scale), float(self.scale)]
            described = {"description": "pixels", "axes": "bcyx", "data_type": "float32"}
            shape = {"min": [1, 1, 16, 16], "step": [0, 0, 4, 4]}
            output = {"reference_tensor": "raw", "scale": ones, "offset": zeros}
            return {
                "format_version": "0.4.10",
                **common,
                "timestamp": "2026-01-01T00:00:00",
                "test_inputs": ["test_input.npy"],
                "test_outputs": ["test_output.npy"],
                "inputs": [{"name": "raw", **described, "shape": shape}],
                "outputs": [{"name": "out", **described, "shape": output, "halo": zeros}],
            }
        channel = {"type": "channel", "channel_names": ["signal"]}
        sides = []
        for name, file in (("raw", "test_input.npy"), ("out", "test_output.npy")):
            axes: list[Any] = [{"type": "batch"}, dict(channel)]
            for letter in "yx":
                size: dict[str, Any] = {"min": 16, "step": 4}
                scale = float(self.scale**2)
                if name == "out":
                    size, scale = {"tensor_id": "raw", "axis_id": letter}, float(self.scale)
                axes.append({"type": "space", "id": letter, "size": size, "scale": scale})
            data = {"type": "float32"}
            sides.append(
                [{"id": name, "axes": axes, "data": data, "test_tensor": {"source": file}}]
            )
        return {"format_version": "0.5.10", **common, "inputs": sides[0], "outputs": sides[1]}

    def put(self, path: str, value: Any) -> None:
        """Set or remove a field of the description, its path with dots."""
        with contextlib.suppress(KeyError):  # missing already
            put_at(self.rdf, path, value)

    def write(self, path: Path) -> None:
        """The zip: with the network as it was varied, and its real output as the test output."""
        onnx = self._onnx()
        files = {**self.files, self.onnx_name: onnx}
        files.setdefault("test_input.npy", npy(self.image))
        files.setdefault("test_output.npy", npy(self._output(onnx)))
        files[self.rdf_name] = yaml.dump(self.rdf, Dumper=Plain, sort_keys=False).encode()
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)

    def _output(self, onnx: bytes) -> Any:
        """What core would give, where it can be computed; the network's formula otherwise."""
        fallback = self.image.astype(np.float32) * 2 + 1
        if fallback.ndim == 4:
            fallback = fallback.repeat(self.scale, 2).repeat(self.scale, 3)
        if self.expected is not None or not self.compute:
            return fallback if self.expected is None else self.expected
        import onnxruntime

        try:
            given = preprocess(self.image, self.rdf["inputs"][0])
            session = onnxruntime.InferenceSession(onnx)
            raw = session.run(None, {session.get_inputs()[0].name: given})[0]
            return postprocess(raw, self.rdf["outputs"][0], {"raw": self.image})
        except (PackageError, Exception):
            return fallback

    def _onnx(self) -> bytes:
        from onnx import TensorProto, helper

        kinds = {side: _ONNX_TYPES[kind] for side, kind in self.types.items()}
        values = [
            helper.make_tensor_value_info(name, kinds[side], self.sizes[side])
            for name, side in (("x", "in"), ("y", "out"))
        ]
        constant = helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])
        one = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
        scales = helper.make_tensor("s", 1, [4], [1.0, 1.0, float(self.scale), float(self.scale)])
        nodes = [
            helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["f", "two"], ["m"]),
            helper.make_node("Add", ["m", "one"], ["a"]),
            helper.make_node("Resize", ["a", "", "s"], ["r"], mode="nearest"),
            helper.make_node("Cast", ["r"], ["y"], to=kinds["out"], domain=self.domain),
        ]
        if self.scale == 1:
            del nodes[3]
            nodes[3].input[0] = "a"
        for number in range(self.extra_outputs):
            nodes.append(helper.make_node("Identity", ["a"], [f"e{number}"]))
            values.append(helper.make_tensor_value_info(f"e{number}", 1, ["b", 1, "y", "x"]))
        weights = [constant, one, *([scales] if self.scale > 1 else [])]
        graph = helper.make_graph(nodes, "g", values[:1], values[1:], weights)
        opsets = [helper.make_opsetid("", self.opset)]
        opsets += [helper.make_opsetid(name, 1) for name in self.imports]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=self.ir)
        return bytes(model.SerializeToString())


def _picture() -> bytes:
    import imageio.v3

    data = np.zeros((20, 40, 3), np.uint8)
    return bytes(imageio.v3.imwrite("<bytes>", data, extension=".png"))


def neighbours() -> dict[str, Package]:
    """Every package, by what is varied."""
    found: dict[str, Package] = {}
    for topic in (_fields, _types, _steps, _shapes, _weights, _examples, _versions):
        for version in ("0.4", "0.5"):
            for name, scale, change in topic(version):
                package = Package(version, scale)
                change(package)
                label = f"{version} {topic.__name__[1:]}: {name}"
                assert label not in found, label
                found[label] = package
    return found


Row = tuple[str, int, Change]


def _put(path: str, value: Any, scale: int = 1) -> Row:
    said = "missing" if value is MISSING else json.dumps(value)[:80]
    return f"{path} {said}", scale, lambda package: package.put(path, value)


def _fields(version: str) -> Iterator[Row]:
    yield "as it is", 1, lambda package: None
    yield "as it is, twice as large", 2, lambda package: None
    for key in [
        "type",
        "name",
        "description",
        "authors",
        "maintainers",
        "cite",
        "license",
        "documentation",
        "covers",
        "tags",
        "config",
        "weights",
        "inputs",
        "outputs",
    ]:
        yield _put(key, MISSING)
    for path, value in (
        ("type", "dataset"),
        ("name", "a"),
        ("name", "model [2]"),
        ("name", 5),
        ("description", ""),
        ("license", "mine"),
        ("authors", [{"name": "Ada", "orcid": "0000"}]),
        ("authors", []),
        ("cite", [{"text": "none"}]),
        ("cite", []),
        ("documentation", "README.txt"),
        ("documentation", {"source": "README.md"}),
        ("covers", [{"source": "cover.png"}]),
        ("covers", ["none.png"]),
        ("covers", "cover.png"),
        ("tags", "denoising"),
        ("id", "affable-shark"),
        ("version", "1.2.3"),
        ("git_repo", "https://example.org"),
        ("run_mode", {"name": "deepimagej"}),
        ("attachments", "README.md"),
        ("config", {"other": {"a": [1, 2]}}),
        ("config", "none"),
        ("timestamp", "yesterday"),
        ("unheard_of", 1),
        ("parent", {"id": "affable-shark"}),
        ("packaged_by", [{"name": "Ada"}]),
        ("links", ["ilastik/ilastik"]),
        ("maintainers", [{"name": "Ada"}]),
    ):
        yield _put(path, value)
    name = "id" if version == "0.5" else "name"
    for value in (MISSING, "out", "the raw one", "in", 5):
        yield _put(f"inputs.0.{name}", value)
    yield _put(f"outputs.0.{name}", MISSING)
    yield _put("inputs.0.description", MISSING)


def _types(version: str) -> Iterator[Row]:
    path = "{}.0.data.type" if version == "0.5" else "{}.0.data_type"

    def change(side: str, described: str, held: str, network: str) -> Change:
        def apply(package: Package) -> None:
            package.put(path.format(side), described)
            if side == "inputs":
                package.image = (package.image * 10).astype(held)
                package.types["in"] = network
            else:
                package.types["out"] = network

        return apply

    for described, network in itertools.product(
        ("float32", "float64", "uint8", "int32", "bool", "float16"), ("float32", "float64", "uint8")
    ):
        held = described if described not in ("bool", "float16") else "float32"
        row = f"in {described} as {held} into {network}"
        yield row, 1, change("inputs", described, held, network)
        yield f"out {described} from {network}", 1, change("outputs", described, "", network)
    for held in ("uint8", "float64", "int64"):
        row = f"in float32 as {held} into float32"
        yield row, 1, change("inputs", "float32", held, "float32")


_KWARGS: tuple[tuple[str, dict[str, Any] | None], ...] = (
    ("scale_linear", {"gain": 0.5, "offset": 1.0}),
    ("scale_linear", {"gain": [0.5], "offset": [1.0], "axis": "channel"}),
    ("scale_linear", {"gain": [0.5], "offset": [1.0]}),
    ("scale_linear", {"gain": [0.5, 2.0], "axis": "channel"}),
    ("scale_linear", {"gain": 0.5, "offset": 1.0, "axes": "yx"}),
    ("scale_linear", {}),
    ("scale_range", {"mode": "per_sample", "axes": "yx"}),
    ("scale_range", {"min_percentile": 1, "max_percentile": 99.8}),
    ("scale_range", {"axes": ["channel", "y", "x"], "min_percentile": 1}),
    ("scale_range", {"axes": ["z"]}),
    ("scale_range", {"min_percentile": 60, "max_percentile": 40}),
    ("scale_range", {"eps": 1e-06}),
    ("scale_range", {"eps": 0}),
    ("scale_range", {"reference_tensor": "raw"}),
    ("scale_range", {"reference_tensor": "other"}),
    ("zero_mean_unit_variance", {}),
    ("zero_mean_unit_variance", {"axes": ["y", "x"]}),
    ("zero_mean_unit_variance", {"axes": "yx"}),
    ("zero_mean_unit_variance", {"axes": "yx", "mode": "per_sample"}),
    ("zero_mean_unit_variance", {"axes": "yx", "mode": "per_dataset"}),
    ("zero_mean_unit_variance", {"axes": "yx", "mean": 2.0, "std": 3.0}),
    ("zero_mean_unit_variance", {"axes": "cyx", "mode": "fixed", "mean": 2.0, "std": 3.0}),
    ("zero_mean_unit_variance", {"axes": "yx", "mode": "fixed", "mean": [2.0], "std": [3.0]}),
    ("fixed_zero_mean_unit_variance", {"mean": 2.0, "std": 3.0}),
    ("fixed_zero_mean_unit_variance", {"mean": [2.0], "std": [3.0], "axis": "channel"}),
    ("fixed_zero_mean_unit_variance", {"mean": [2.0, 1.0], "std": [3.0, 1.0], "axis": "channel"}),
    ("fixed_zero_mean_unit_variance", {"mean": 2.0}),
    ("clip", {"min": 0.5, "max": 3.0}),
    ("clip", {"min": 0.5}),
    ("clip", {"min": 5.0, "max": 3.0}),
    ("clip", {"min_percentile": 5, "max_percentile": 95}),
    ("clip", {}),
    ("binarize", {"threshold": 3.0}),
    ("binarize", {"threshold": [3.0], "axis": "channel"}),
    ("binarize", {"threshold": [3.0, 2.0], "axis": "channel"}),
    ("sigmoid", None),
    ("sigmoid", {}),
    ("softmax", {"axis": "channel"}),
    ("softmax", {"axis": "x"}),
    ("scale_mean_variance", {"reference_tensor": "raw"}),
    ("scale_mean_variance", {"mode": "per_sample", "axes": "yx", "reference_tensor": "raw"}),
    ("ensure_dtype", {"dtype": "float32"}),
    ("ensure_dtype", {"dtype": "uint8"}),
    ("ensure_dtype", {"dtype": "text"}),
    ("magic", None),
)


def _steps(version: str) -> Iterator[Row]:
    key = "id" if version == "0.5" else "name"
    for name, kwargs in _KWARGS:
        step = {key: name} if kwargs is None else {key: name, "kwargs": kwargs}
        yield _put("inputs.0.preprocessing", [step])
        yield _put("outputs.0.postprocessing", [step])
    gain = {key: "scale_linear", "kwargs": {"gain": 0.5, "offset": 1.0}}
    yield _put("inputs.0.preprocessing", [gain, {key: "zero_mean_unit_variance", "kwargs": {}}])


def _shapes(version: str) -> Iterator[Row]:
    if version == "0.4":
        for path, value in (
            ("inputs.0.shape.min", [1, 1, 20, 16]),
            ("inputs.0.shape.min", [1, 1, 28, 16]),
            ("inputs.0.shape.step", [0, 0, 5, 4]),
            ("inputs.0.shape.step", [1, 0, 4, 4]),
            ("inputs.0.shape.step", MISSING),
            ("inputs.0.shape", [1, 1, 24, 28]),
            ("inputs.0.shape", [1, 1, 24, 30]),
            ("inputs.0.axes", "byxc"),
            ("inputs.0.axes", "bczyx"),
            ("inputs.0.axes", MISSING),
            ("outputs.0.shape", [1, 1, 24, 28]),
            ("outputs.0.shape", [1, 1, 24, 30]),
            ("outputs.0.shape.offset", [0, 0, 1, 1]),
            ("outputs.0.shape.offset", MISSING),
            ("outputs.0.shape.scale", [1.0, 1.0, 2.0, 2.0]),
            ("outputs.0.shape.reference_tensor", "other"),
            ("outputs.0.halo", [0, 0, 4, 4]),
            ("outputs.0.halo", [0, 0, 7, 7]),
            ("outputs.0.halo", [0, 0, 8, 8]),
            ("outputs.0.halo", [0, 0, 40, 40]),
            ("outputs.0.halo", [0, 0, 4]),
            ("outputs.0.halo", MISSING),
        ):
            yield _put(path, value)
        yield _put("outputs.0.halo", [0, 0, 5, 5], 2)
        yield _put("outputs.0.halo", [0, 0, 16, 16], 2)
        return
    size = "inputs.0.axes.2.size"
    for path, value in (
        (size, {"min": 20, "step": 4}),
        (size, {"min": 28, "step": 4}),
        (size, {"min": 16, "step": 5}),
        (size, {"min": 16, "step": 0}),
        (size, {"min": 16}),
        (size, 24),
        (size, 25),
        (size, MISSING),
        ("inputs.0.axes.0", {"type": "batch", "size": 1}),
        ("inputs.0.axes.0", {"type": "batch", "size": 2}),
        ("inputs.0.axes.0", {"type": "index", "size": 1}),
        ("inputs.0.axes.1.channel_names", MISSING),
        ("inputs.0.axes.1.channel_names", ["a", "b"]),
        ("inputs.0.axes.2.id", "height"),
        ("inputs.0.axes.3.id", MISSING),
        ("inputs.0.axes.2.id", MISSING),
        ("inputs.0.axes.2.unit", "micrometer"),
        ("inputs.0.axes.2.scale", 0.1),
        ("inputs.0.axes.2.scale", None),
        ("inputs.0.axes.2.halo", 4),
        ("outputs.0.axes.2.size", 24),
        ("outputs.0.axes.2.size", 25),
        ("outputs.0.axes.2.size", {"min": 1, "max": 50}),
        ("outputs.0.axes.2.size", {"min": 30, "max": 50}),
        ("outputs.0.axes.2.size", {"min": 16, "step": 4}),
        ("outputs.0.axes.2.size.offset", 1),
        ("outputs.0.axes.2.size.axis_id", "x"),
        ("outputs.0.axes.2.size.axis_id", "z"),
        ("outputs.0.axes.2.size.tensor_id", "other"),
        ("outputs.0.axes.2.scale", 0.5),
        ("outputs.0.axes.2.halo", 4),
        ("outputs.0.axes.2.halo", 7),
        ("outputs.0.axes.2.halo", 8),
        ("outputs.0.axes.2.halo", 40),
        ("outputs.0.axes.2.halo", -1),
        ("outputs.0.axes.2.id", "height"),
        ("outputs.0.axes.1.channel_names", ["a", "b"]),
    ):
        yield _put(path, value)
    yield _put("outputs.0.axes.2.halo", 5, 2)
    yield _put("outputs.0.axes.2.halo", 16, 2)
    yield "axes by words", 1, _words

    def spec_scales(package: Package) -> None:
        for side, scale in (("inputs", 1.0), ("outputs", 0.5)):
            for axis in package.rdf[side][0]["axes"][2:]:
                axis["scale"] = scale

    yield "scales by the specification", 2, spec_scales


def _words(package: Package) -> None:
    for place, word in ((2, "height"), (3, "width")):
        for side in ("inputs", "outputs"):
            package.rdf[side][0]["axes"][place]["id"] = word
        package.rdf["outputs"][0]["axes"][place]["size"]["axis_id"] = word


def _weights(version: str) -> Iterator[Row]:
    entry = {"source": "net.onnx", "opset_version": 17}
    torch = {"source": "net.pt", "pytorch_version": "2.4.0"}
    for path, value in (
        ("weights.onnx.opset_version", MISSING),
        ("weights.onnx.opset_version", 16),
        ("weights.onnx.opset_version", 30),
        ("weights.onnx.opset_version", "17"),
        ("weights.onnx.source", "none.onnx"),
        ("weights.onnx.source", MISSING),
        ("weights.onnx.parent", "torchscript"),
        ("weights.onnx.parent", "onnx"),
        ("weights.onnx.sha256", "0" * 64),
        ("weights", {}),
        ("weights", {"keras_h6": entry}),
    ):
        yield _put(path, value)

    def with_torch(parent: bool) -> Change:
        def apply(package: Package) -> None:
            package.files["net.pt"] = b"no weights"
            package.put("weights.torchscript", {**torch, **({"parent": "onnx"} if parent else {})})

        return apply

    yield "TorchScript too, no parent", 1, with_torch(parent=False)
    yield "TorchScript too, its parent", 1, with_torch(parent=True)
    yield "hashed", 1, _hashed
    for name, value in (
        ("opset", 13),
        ("opset", 21),
        ("opset", 22),
        ("opset", 99),
        ("ir", 9),
        ("ir", 10),
        ("ir", 13),
        ("ir", 14),
        ("extra_outputs", 1),
        ("imports", ["com.microsoft.nchwc", "ai.onnx.training"]),
        ("imports", ["my.company"]),
        ("domain", "my.company"),
        ("sizes", {"in": [1, 1, "y", "x"], "out": [1, 1, "h", "w"]}),
        ("sizes", {"in": ["b", 1, 24, 28], "out": ["b", 1, 24, 28]}),
        ("sizes", {"in": ["b", 2, "y", "x"], "out": ["b", 2, "h", "w"]}),
        ("sizes", {"in": ["b", "c", "y"], "out": ["b", "c", "y"]}),
        ("sizes", {"in": ["b", 1, "y", "x"], "out": ["b", 3, "h", "w"]}),
        ("onnx_name", "weights/net.onnx"),
    ):

        def change(package: Package, name: str = name, value: Any = value) -> None:
            setattr(package, name, value)
            if name == "domain":
                package.imports = [value]
            if name == "onnx_name":
                package.put("weights.onnx.source", value)

        yield f"network {name} {json.dumps(value)}", 1, change
    yield (
        "garbage",
        1,
        lambda package: (
            package.files.update({"other.onnx": b"x"})
            or package.put("weights.onnx.source", "other.onnx")
        ),
    )
    for name in ("v1.rdf.yaml", "net.bioimageio.yaml", "a.model.yaml", "model.yaml", "other.yaml"):
        yield (
            f"description {name}",
            1,
            lambda package, name=name: setattr(package, "rdf_name", name),
        )


def _hashed(package: Package) -> None:
    package.put("weights.onnx.sha256", hashlib.sha256(package._onnx()).hexdigest())


def _examples(version: str) -> Iterator[Row]:
    image = Package(version).image

    def held(attribute: str, value: Any) -> Change:
        return lambda package: setattr(package, attribute, value)

    yield "output off by 5", 1, held("expected", image * 2 + 6)
    yield "output off by 1e-5", 1, held("expected", image * 2 + 1.00001)
    yield "output too small", 1, held("expected", image * 0 + 1e-6)
    yield "output of zeros", 1, held("expected", image * 0)
    yield "output of another size", 1, held("expected", (image * 2 + 1)[..., :-2])
    yield "output of three axes", 1, held("expected", (image * 2 + 1)[0])
    yield "output in float64", 1, held("expected", image.astype(np.float64) * 2 + 1)
    yield "output in int32", 1, held("expected", (image * 2 + 1).astype(np.int32))
    yield "input of zeros", 1, held("image", image * 0)
    yield "input of a batch of two", 1, held("image", image.repeat(2, 0))
    yield "input with NaN", 1, held("image", np.where(image == 0, np.nan, image))
    yield "input off the step", 1, held("image", image[..., :-1])
    yield "input too small", 1, held("image", image[..., :12, :12])
    yield "input of three axes", 1, held("image", image[0])
    yield "input of two channels", 1, held("image", image.repeat(2, 1))
    for name in ("test_input.npy", "test_output.npy"):
        yield f"{name} is garbage", 1, lambda p, name=name: p.files.update({name: b"x" * 99})
    if version == "0.4":
        yield _put("test_inputs", ["none.npy"])
        yield _put("test_inputs", MISSING)
        yield _put("test_outputs", [])
        yield _put("sample_inputs", ["none.tif"])
    else:
        yield _put("inputs.0.test_tensor.source", "none.npy")
        yield _put("inputs.0.test_tensor", MISSING)
        yield _put("outputs.0.test_tensor", MISSING)
        yield _put("outputs.0.sample_tensor", {"source": "none.tif"})


def _versions(version: str) -> Iterator[Row]:
    known = {
        "0.4": ("0.1.0", "0.2.3", "0.3.0", "0.3.6", "0.4.0", "0.4.7", "0.4.11", 0.4),
        "0.5": ("0.5.0", "0.5.3", "0.5.9", "0.5.11", "0.5.12", "0.5.13", "0.5.14", "0.6.0", 0.5),
    }
    for value in known[version]:
        yield _put("format_version", value)
    yield _put("format_version", MISSING)
    yield _put("format_version", "latest")


def judge(path: Path) -> tuple[bool, str]:
    """Whether our rules say that core 0.11 accepts the package, and why not."""
    from w2s_export.verify.findings import Client, Severity
    from w2s_export.verify.verify import verify

    report = verify(path, rules_only=True, asked=(Client.core_0_11,))
    against = [
        finding
        for finding in report.findings
        if finding.severity is Severity.error and finding.concerns(Client.core_0_11)
    ]
    if against:
        return False, "; ".join(f"{f.code.value} {f.message}"[:120] for f in against)
    return _numbers(path)


def _numbers(path: Path) -> Answer:
    """Whether the network gives the test output, by our processing and core's tolerance."""
    import onnxruntime

    package = open_package(path)
    arrays = {}
    for side in ("inputs", "outputs"):
        name = example_tensors(package.rdf, "test", side)[0]
        arrays[side] = np.load(io.BytesIO(package.read(str(name))), allow_pickle=False)
    source, target = package.rdf["inputs"][0], package.rdf["outputs"][0]
    name = tensor_ids(package.rdf, "inputs")[0]
    try:
        session = onnxruntime.InferenceSession(
            package.read(weights_file(package.rdf, "onnx") or "")
        )
        given = preprocess(arrays["inputs"], source)
        raw = session.run(None, {session.get_inputs()[0].name: given})[0]
        actual = postprocess(raw, target, {name: arrays["inputs"]}).astype(np.float64)
    except Exception as error:  # of ONNX Runtime too
        return False, str(error)[:120]
    expected = arrays["outputs"].astype(np.float64)
    if actual.shape != expected.shape:
        return False, f"gives {actual.shape}, the test output has {expected.shape}"
    beyond = np.abs(actual - expected) > 1e-3 + 1e-3 * np.abs(expected)
    most = 1e-4 if package.rdf["format_version"].startswith("0.5") else 0
    return bool(beyond.mean() <= most), f"{beyond.mean():.1%} differ"


def ask_core(path: Path) -> tuple[bool, str]:
    """Whether core's own test of the ONNX weights passes, and what it says otherwise."""
    from w2s_export.verify.clients.core_program import test

    try:
        answer = test(path, "onnx")
    except PackageError as error:
        return False, f"not given to core: {error}"
    return bool(answer.get("passed")), "; ".join(answer.get("errors", [str(answer)]))[:300]


def compare(folder: Path, names: list[str]) -> Iterator[tuple[str, Answer, Answer]]:
    """The package's name, our verdict, core's."""
    packages = neighbours()
    for number, name in enumerate(names):
        path = folder / f"n{number}.zip"
        packages[name].write(path)
        yield name, judge(path), ask_core(path)


def main(topics: list[str]) -> int:
    """Compare those around the topics, all of them by default, and print the table."""
    start, table, wrong = time.perf_counter(), Counter[tuple[str, bool, bool]](), []
    with tempfile.TemporaryDirectory() as folder:
        names = [name for name in neighbours() if not topics or name.split()[1][:-1] in topics]
        for name, ours, core in compare(Path(folder), names):
            table[name.split(":")[0], ours[0], core[0]] += 1
            if ours[0] != core[0]:
                wrong.append(name)
                print(
                    f"{name}\n    ours: {ours[0]} {ours[1]}\n    core: {core[0]} {core[1]}",
                    flush=True,
                )
    print("| around | packages | both accept | both refuse | disagree |")
    print("|---|---|---|---|---|")
    for topic in dict.fromkeys(key[0] for key in table):
        counts = [
            table[topic, ours, core] for ours, core in itertools.product((True, False), repeat=2)
        ]
        row = (topic, sum(counts), counts[0], counts[3], counts[1] + counts[2])
        print("| " + " | ".join(map(str, row)) + " |")
    unexplained = [name for name in wrong if name not in REASONS]
    print(f"{sum(table.values())} packages, {len(wrong)} disagreements, {len(unexplained)} without")
    print(f"a reason; {time.perf_counter() - start:.0f} s")
    return bool(unexplained)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
