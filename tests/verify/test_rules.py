"""One fault a package: the code it must yield, and no error of another kind."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from w2s_export.package.archive import open_package
from w2s_export.verify.clients.jdll_weights import chosen_weights
from w2s_export.verify.findings import Client, Code, Severity
from w2s_export.verify.rules.registry import RULES, check_rules, intended_clients

from .conftest import MISSING, copy, exchange, npy, put_at, rdf

Change = Callable[[dict[str, bytes]], None]
ONNX, SAVED_MODEL = "weights.onnx", "tensorflow_saved_model_bundle.zip"


@dataclass(frozen=True)
class Fault:
    """What is done to a package, and what must be found."""

    package: str
    name: str
    code: Code
    change: Callable[[Any], Change]

    def __str__(self) -> str:
        return f"{self.package}-{self.name}"


def put(path: str, value: Any) -> Callable[[Any], Change]:
    """Set (or remove) a field of the description, its path with dots."""
    return lambda good: rdf(lambda description: put_at(description, path, value))


def put_on_both_axes(side: str, key: str, value: Any) -> Callable[[Any], Change]:
    def edit(description: dict[str, Any]) -> None:
        for axis in description[side][0]["axes"][2:]:
            axis[key] = value

    return lambda good: rdf(edit)


def edit_onnx(edit: Callable[[Any], None]) -> Callable[[Any], Change]:
    """Edit the ONNX file with the onnx library."""

    def change(good) -> Change:
        import onnx

        model = onnx.load(good.description.artifact("onnx").path)
        edit(model)
        return exchange(ONNX, model.SerializeToString())

    return change


def with_opset(version: int) -> Callable[[Any], Change]:
    def edit(model: Any) -> None:
        model.opset_import[0].version = version

    return edit_onnx(edit)


def second_named_output(model: Any) -> None:
    extra = model.graph.output.add()
    extra.CopyFrom(model.graph.output[0])
    extra.name = "extra"


def ir(version: int) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        model.ir_version = version

    return edit


def rezip(edit: Callable[[dict[str, bytes]], None]) -> Callable[[Any], Change]:
    """Edit the files inside the zipped SavedModel."""

    def change(good) -> Change:
        with zipfile.ZipFile(
            good.description.artifact("tensorflow_saved_model_bundle").path
        ) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        edit(files)
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return exchange(SAVED_MODEL, stream.getvalue())

    return change


def edit_graph(edit: Callable[[Any], None]) -> Callable[[Any], Change]:
    """Edit saved_model.pb with TensorFlow's own protocol buffers."""

    def inside(files: dict[str, bytes]) -> None:
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

        model = SavedModel.FromString(files["saved_model.pb"])
        edit(model.meta_graphs[0])
        files["saved_model.pb"] = model.SerializeToString()

    return rezip(inside)


def nest(files: dict[str, bytes]) -> None:
    for name in list(files):
        files[f"model/{name}"] = files.pop(name)


def drop_variables(files: dict[str, bytes]) -> None:
    for name in [name for name in files if name.startswith("variables")]:
        del files[name]


def spoil_graph(files: dict[str, bytes]) -> None:
    files["saved_model.pb"] = b"\xff" * 100


def other_tag(graph: Any) -> None:
    graph.meta_info_def.tags[:] = ["train"]


def other_signature(graph: Any) -> None:
    graph.signature_def["predict"].CopyFrom(graph.signature_def["serving_default"])
    del graph.signature_def["serving_default"]


def other_names(graph: Any) -> None:
    inputs = graph.signature_def["serving_default"].inputs
    inputs["x"].CopyFrom(inputs["input"])
    del inputs["input"]


def new_operation(graph: Any) -> None:
    graph.graph_def.node.add(name="read", op="DisableCopyOnRead")


def new_attribute(graph: Any) -> None:
    graph.graph_def.node.add(name="v", op="VarHandleOp").attr["debug_name"].s = b"v"


def append(path: str, value: Any) -> Callable[[Any], Change]:
    def edit(description: dict[str, Any]) -> None:
        holder: Any = description
        for key in path.split("."):
            holder = holder[int(key) if key.isdecimal() else key]
        holder.append(value)

    return lambda good: rdf(edit)


def named(name: str) -> Callable[[Any], Change]:
    return lambda good: lambda files: files.update({name: files.pop("rdf.yaml")})


def smaller_output(good) -> Change:
    return exchange("test_output.npy", npy(good.description.sample.restored[None, :, 2:]))


def cover(width: int, height: int, noise: bool = False) -> Callable[[Any], Change]:
    def change(good) -> Change:
        import imageio.v3

        random = np.random.default_rng(0)
        picture = random.integers(0, 255, (height, width, 3)) * noise
        data = imageio.v3.imwrite("<bytes>", picture.astype(np.uint8), extension=".png")
        return lambda files: files.update({"cover.png": data})

    return change


def channels_last(good) -> Change:
    def edit(description: dict[str, Any]) -> None:
        for tensor in (description["inputs"][0], description["outputs"][0]):
            tensor["axes"] = "byxc"
            for values in (*tensor["shape"].values(), tensor.get("halo")):
                if isinstance(values, list):
                    values.append(values.pop(1))

    return rdf(edit)


def other_format(name: str) -> Callable[[Any], Change]:
    return put("weights", {name: {"source": ONNX}})


def scales(given: float, restored: float) -> Callable[[Any], Change]:
    first, second = (
        put_on_both_axes(side, "scale", scale)
        for side, scale in (("inputs", given), ("outputs", restored))
    )
    return both(first, second)


def one_image(graph: Any) -> None:
    signature = graph.signature_def["serving_default"]
    signature.inputs["input"].tensor_shape.dim[0].size = 1


def both(*changes: Callable[[Any], Change]) -> Callable[[Any], Change]:
    """Several changes, one after the other."""

    def change(good) -> Change:
        def inflict(files: dict[str, bytes]) -> None:
            for each in changes:
                each(good)(files)

        return inflict

    return change


def add_file(name: str, data: bytes = b"") -> Callable[[Any], Change]:
    return lambda good: lambda files: files.update({name: data})


def with_macro(text: str) -> Callable[[Any], Change]:
    return add_file("preprocessing.ijm", text.encode())


def element_type(side: str, kind: int) -> Callable[[Any], Change]:
    def edit(model: Any) -> None:
        getattr(model.graph, side)[0].type.tensor_type.elem_type = kind

    return edit_onnx(edit)


def outside_weights(model: Any) -> None:
    import onnx

    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def custom_operators(model: Any) -> None:
    model.opset_import.add(domain="my.company", version=1)
    model.graph.node[0].domain = "my.company"


def stated_opset(version: int) -> Callable[[Any], Change]:
    return put("weights.onnx.opset_version", version)


def tensorflow_version(version: str) -> Callable[[Any], Change]:
    return put("weights.tensorflow_saved_model_bundle.tensorflow_version", version)


def in_folder(good) -> Change:
    def change(files: dict[str, bytes]) -> None:
        for name in (ONNX, SAVED_MODEL):
            files[f"weights/{name}"] = files.pop(name)
        for key, name in (("onnx", ONNX), ("tensorflow_saved_model_bundle", SAVED_MODEL)):
            put(f"weights.{key}.source", f"weights/{name}")(good)(files)

    return change


def state_dict(key: str, value: Any) -> Callable[[Any], Change]:
    """A state dict alone."""
    entry = {"source": "net.pth", "pytorch_version": "2.4.0", key: value}

    def change(good) -> Change:
        def both(files: dict[str, bytes]) -> None:
            files.update({"net.pth": b"", "net.py": b""})
            put("weights", {"pytorch_state_dict": entry})(good)(files)

        return both

    return change


def with_time(good) -> Change:
    def edit(description: dict[str, Any]) -> None:
        for side in ("inputs", "outputs"):
            description[side][0]["axes"] = "tcyx"

    return rdf(edit)


def uneven_halo(good) -> Change:
    """Of a fixed size only the first axis's halo counts: the other is cut from the output alone."""

    def edit(description: dict[str, Any]) -> None:
        for side, size in (("inputs", (66, 73)), ("outputs", (132, 146))):
            for axis, length in zip(description[side][0]["axes"][2:], size, strict=True):
                axis["size"] = length

    return rdf(edit)


def input_dimension(axis: int, size: int) -> Callable[[Any], Change]:
    def edit(model: Any) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size

    return edit_onnx(edit)


def three_axes(model: Any) -> None:
    del model.graph.input[0].type.tensor_type.shape.dim[0]


def keras_endpoint(graph: Any) -> None:
    root = graph.object_graph_def.nodes.add()
    root.children.add(node_id=1, local_name="serve")


def channels_last_signature(graph: Any) -> None:
    shape = graph.signature_def["serving_default"].inputs["input"].tensor_shape
    for dimension, size in zip(shape.dim, (-1, -1, -1, 1), strict=True):
        dimension.size = size


def twice_described(side: str, name: str = "second", place: int = 1) -> Callable[[Any], Change]:
    def edit(description: dict[str, Any]) -> None:
        again = {**description[side][0]}
        again["id" if "id" in again else "name"] = name
        description[side].insert(place, again)

    return lambda good: rdf(edit)


def huge_test_image(good) -> Change:
    """The header of an array of 64 Mpixel; rules read no further."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (1, 1, 8000, 8000)}
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, header)
    return exchange("test_input.npy", stream.getvalue())


def fixed_description(good) -> Change:
    def edit(description: dict[str, Any]) -> None:
        tensor = description["inputs"][0]
        if "shape" in tensor:
            tensor["shape"] = [1, 1, 66, 73]
        else:
            for axis, size in zip(tensor["axes"][2:], (66, 73), strict=True):
                axis["size"] = size

    return rdf(edit)


def jpeg_cover(good) -> Change:
    import imageio.v3

    data = imageio.v3.imwrite("<bytes>", np.zeros((40, 120, 3), np.uint8), extension=".jpg")
    return lambda files: files.update({"cover.png": data})


INDEX = {"type": "index", "id": "i", "size": 1}
FIXED = {"axes": "cyx", "mean": 1, "std": 2}
DEEPIMAGEJ = "config.deepimagej"
INFORMATION = f"{DEEPIMAGEJ}.test_information"
MACRO = {"spec": "ij.IJ::runMacroFile", "kwargs": "preprocessing.ijm"}

BOTH = [
    ("the description has another name", Code.rdf_name, named("bioimageio.yaml")),
    ("format 0.6", Code.format_unsupported, put("format_version", "0.6.0")),
    ("format is a number", Code.format_unsupported, put("format_version", 5)),
    ("no name", Code.name_missing, put("name", MISSING)),
    ("no nickname", Code.nickname_missing, put("config.bioimageio", {})),
    ("documentation as mapping", Code.documents_as_mappings, put("documentation", {"source": "a"})),
    ("cover as mapping", Code.documents_as_mappings, put("covers", [{"source": "cover.png"}])),
    ("neither format of weights", Code.weights_unsupported, other_format("keras_hdf5")),
    ("garbage for ONNX", Code.onnx_unreadable, lambda good: exchange(ONNX, b"garbage" * 9)),
    ("IR 9", Code.onnx_ir_too_new, edit_onnx(ir(9))),
    ("IR 14", Code.onnx_ir_too_new, edit_onnx(ir(14))),
    ("opset 18", Code.onnx_opset_too_new, with_opset(18)),
    ("opset 22", Code.onnx_opset_too_new, with_opset(22)),
    ("opset not as stated", Code.onnx_opset_undeclared, with_opset(16)),
    ("IR 8 in the engine of opset 8", Code.onnx_ir_too_new, stated_opset(8)),
    ("opset 17 in the engine of opset 16", Code.onnx_opset_too_new, stated_opset(16)),
    ("two outputs", Code.onnx_not_one_tensor, edit_onnx(second_named_output)),
    ("fixed size", Code.onnx_fixed_size, both(input_dimension(2, 64), input_dimension(3, 64))),
    ("SavedModel in a folder", Code.saved_model_layout, rezip(nest)),
    ("SavedModel without variables", Code.saved_model_layout, rezip(drop_variables)),
    ("SavedModel with a spoiled graph", Code.saved_model_layout, rezip(spoil_graph)),
    ("SavedModel not a zip", Code.saved_model_layout, lambda good: exchange(SAVED_MODEL, b"PK?")),
    ("another tag", Code.saved_model_tag, edit_graph(other_tag)),
    ("another signature", Code.saved_model_signature, edit_graph(other_signature)),
    ("test output of another size", Code.test_output_size, smaller_output),
    ("a dataset", Code.not_a_model, put("type", "dataset")),
    ("a bracket in the name", Code.name_breaks_macros, put("name", "model [2]")),
    ("two inputs", Code.several_inputs, twice_described("inputs")),
    ("seams stated", Code.seams_visible, put("config.w2s_export.seams", 0.02)),
    ("two described outputs", Code.several_outputs, twice_described("outputs")),
    (
        "outputs the other way round",
        Code.onnx_order,
        both(edit_onnx(second_named_output), twice_described("outputs", "extra", 0)),
    ),
    ("float64 in", Code.onnx_input_type, element_type("input", 11)),
    ("float64 out", Code.output_type_differs, element_type("output", 11)),
    ("weights in a folder", Code.weights_in_folder, in_folder),
    ("TensorFlow tried first", Code.tensorflow_first, tensorflow_version("2.10.1")),
    ("weights outside", Code.onnx_external_data, edit_onnx(outside_weights)),
    ("custom operators", Code.onnx_custom_operators, edit_onnx(custom_operators)),
    ("three axes", Code.axes_not_the_weights, edit_onnx(three_axes)),
    ("three channels", Code.axes_not_the_weights, input_dimension(1, 3)),
    ("channels last inside", Code.axes_not_the_weights, edit_graph(channels_last_signature)),
    ("opset 19 stated", Code.tensorflow_first, put("weights.onnx.opset_version", 19)),
    ("Keras export", Code.saved_model_endpoint, edit_graph(keras_endpoint)),
    ("TensorFlow alone", Code.tensorflow_alone, put("weights.onnx", MISSING)),
    (
        "a version of TensorFlow that is none",
        Code.tensorflow_version_unknown,
        put("weights.tensorflow_saved_model_bundle.tensorflow_version", "latest"),
    ),
    ("fixed size described", Code.input_fixed_size, fixed_description),
    ("a test image of 64 Mpixel", Code.image_too_large, huge_test_image),
]
ONLY_04 = [
    (
        "version missing",
        Code.tensorflow_version_missing,
        put("weights.tensorflow_saved_model_bundle.tensorflow_version", MISSING),
    ),
    ("DisableCopyOnRead", Code.saved_model_too_new, edit_graph(new_operation)),
    ("debug_name", Code.saved_model_too_new, edit_graph(new_attribute)),
    ("ONNX alone", Code.weights_unsupported, other_format("onnx")),
    ("another tensor name", Code.saved_model_names, edit_graph(other_names)),
    ("uint8 out", Code.output_type_differs, put("outputs.0.data_type", "uint8")),
    ("a state dict of 0.4", Code.weights_unsupported, state_dict("architecture", "net.py:Net")),
    (
        "ensure_dtype by name",
        Code.processing_unknown,
        append("inputs.0.preprocessing", {"name": "ensure_dtype", "kwargs": {"dtype": "float32"}}),
    ),
    (
        "mean without a mode",
        Code.jdll_throws,
        put("inputs.0.preprocessing", [{"name": "zero_mean_unit_variance", "kwargs": FIXED}]),
    ),
    ("an axis of time", Code.jdll_throws, with_time),
    ("more samples than tensors", Code.jdll_drops, append("sample_inputs", "sample_input.tif")),
    ("an offset of null", Code.jdll_drops, put("outputs.0.shape.offset", [0, 0, None, 0])),
    (
        "unknown processing",
        Code.processing_unknown,
        append("inputs.0.preprocessing", {"name": "softmax"}),
    ),
    ("channels last", Code.axes_order, channels_last),
    ("minimum off the step", Code.minimum_off_step, put("inputs.0.shape.step", [0, 0, 2, 2])),
    ("output without offset", Code.output_reference, put("outputs.0.shape.offset", MISSING)),
    ("output with offset", Code.test_output_size, put("outputs.0.shape.offset", [0, 0, 1, 1])),
    ("odd halo", Code.halo_odd, put("outputs.0.halo", [0, 0, 5, 5])),
    ("large halo", Code.halo_too_large, put("outputs.0.halo", [0, 0, 60, 60])),
    ("no config.deepimagej", Code.deepimagej_missing, put(DEEPIMAGEJ, MISSING)),
    ("no tiling", Code.deepimagej_tiling, put(f"{DEEPIMAGEJ}.allow_tiling", False)),
    ("pyramidal", Code.deepimagej_pyramidal, put(f"{DEEPIMAGEJ}.pyramidal_model", "no")),
    (
        "macro missing",
        Code.deepimagej_macros,
        lambda good: lambda files: files.pop("preprocessing.ijm"),
    ),
    ("macros no list", Code.deepimagej_macros, put(f"{DEEPIMAGEJ}.prediction.preprocess", MACRO)),
    (
        "three macros",
        Code.deepimagej_macros,
        put(f"{DEEPIMAGEJ}.prediction.preprocess", [{"spec": None}] * 3),
    ),
    ("macro twice", Code.deepimagej_macros, put(f"{DEEPIMAGEJ}.prediction.postprocess", [MACRO])),
    (
        "macro in Java",
        Code.deepimagej_macros,
        put(f"{DEEPIMAGEJ}.prediction.preprocess.0.spec", "a.B::run"),
    ),
    ("test images missing", Code.deepimagej_test_information, put(f"{INFORMATION}.inputs", [])),
    (
        "size as numbers",
        Code.deepimagej_test_information,
        put(f"{INFORMATION}.inputs.0.size", [1, 2]),
    ),
    (
        "no pixel size",
        Code.deepimagej_test_information,
        put(f"{INFORMATION}.inputs.0.pixel_size", None),
    ),
    (
        "no output type",
        Code.deepimagej_test_information,
        put(f"{INFORMATION}.outputs.0.type", MISSING),
    ),
    ("memory as number", Code.deepimagej_memory_peak, put(f"{INFORMATION}.memory_peak", 0.1)),
    ("runtime as number", Code.deepimagej_memory_peak, put(f"{INFORMATION}.runtime", 3)),
    ("model_keys is text", Code.deepimagej_model_keys, put(f"{DEEPIMAGEJ}.model_keys", "serve")),
    ("tiling is text", Code.deepimagej_tiling, put(f"{DEEPIMAGEJ}.allow_tiling", "true")),
    ("tiling missing", Code.deepimagej_tiling, put(f"{DEEPIMAGEJ}.allow_tiling", MISSING)),
    (
        "preprocessing without its macro",
        Code.preprocessing_without_macro,
        put(f"{DEEPIMAGEJ}.prediction.preprocess", [{"spec": None}]),
    ),
    (
        "a macro that the rdf does not describe",
        Code.macro_without_preprocessing,
        put("inputs.0.preprocessing", MISSING),
    ),
    ("macro wants an argument", Code.macro_argument, with_macro("a = getArgument();")),
    (
        "macro of 256 bins",
        Code.macro_histogram,
        with_macro('run("Enhance Contrast", "saturated=1 normalize");'),
    ),
    ("macro with a µ", Code.macro_not_ascii, with_macro('run("Properties...", "unit=µm");')),
    ("halo is text", Code.rdf_malformed, put("outputs.0.halo", [0, 0, "a", "b"])),
]
ONLY_05 = [
    ("format 0.5.11", Code.format_unsupported, put("format_version", "0.5.11")),
    ("format 0.5.13", Code.format_newer, put("format_version", "0.5.13")),
    ("fixed batch", Code.onnx_fixed_batch, input_dimension(0, 1)),
    ("a file in a folder", Code.zip_not_flat, add_file("src/code.py")),
    ("two descriptions", Code.upload_breaks, add_file("bioimageio.yaml", b"type: model")),
    ("names itself", Code.upload_breaks, append("attachments", {"source": "rdf.yaml"})),
    ("cover 3:1, JPEG", Code.cover_unsuitable, jpeg_cover),
    ("no inputs", Code.rdf_incomplete, put("inputs", [])),
    ("no weights", Code.rdf_incomplete, put("weights", {})),
    ("uint8 in", Code.onnx_input_type, put("inputs.0.data.type", "uint8")),
    ("uint8 out", Code.output_type_differs, put("outputs.0.data.type", "uint8")),
    (
        "minimum off the step",
        Code.minimum_off_step,
        put_on_both_axes("inputs", "size", {"min": 30, "step": 4}),
    ),
    ("a space axis without id", Code.jdll_drops, put("inputs.0.axes.3.id", MISSING)),
    ("no test tensor", Code.test_tensor_missing, put("outputs.0.test_tensor", MISSING)),
    ("a batch that only comes out", Code.batch_missing, put("inputs.0.axes.0", INDEX)),
    ("an output of one size", Code.output_fixed_size, put_on_both_axes("outputs", "size", 132)),
    ("a halo that cuts the output", Code.jdll_incomplete, uneven_halo),
    (
        "a state dict",
        Code.python_runner,
        state_dict("architecture", {"callable": "Net", "source": "net.py"}),
    ),
    (
        "thresholds of an axis",
        Code.processing_unknown,
        put(
            "outputs.0.postprocessing",
            [{"id": "binarize", "kwargs": {"threshold": [1, 2], "axis": "channel"}}],
        ),
    ),
    (
        "a step of no class",
        Code.processing_unknown,
        append("inputs.0.preprocessing", {"id": "softmax"}),
    ),
    (
        "an argument of null",
        Code.processing_unknown,
        append("inputs.0.preprocessing", {"id": "clip", "kwargs": {"min": None, "max": 1}}),
    ),
    (
        "statistics of an output",
        Code.processing_fails,
        put("outputs.0.postprocessing", [{"id": "zero_mean_unit_variance"}]),
    ),
    (
        "clip without maximum",
        Code.jdll_throws,
        append("inputs.0.preprocessing", {"id": "clip", "kwargs": {"min": 0}}),
    ),
    (
        "gain for each channel",
        Code.processing_per_channel,
        append("inputs.0.preprocessing", {"id": "scale_linear", "kwargs": {"gain": [1, 2]}}),
    ),
    (
        "axes of zero mean",
        Code.processing_per_channel,
        append(
            "inputs.0.preprocessing", {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["x"]}}
        ),
    ),
    (
        "test image too small",
        Code.test_size_off_grid,
        put_on_both_axes("inputs", "size", {"min": 70, "step": 1}),
    ),
    (
        "test image off the step",
        Code.test_size_off_grid,
        put_on_both_axes("inputs", "size", {"min": 28, "step": 4}),
    ),
    ("scale by the specification alone", Code.output_scale_ambiguous, scales(1.0, 0.5)),
    (
        "offset",
        Code.output_offset,
        put_on_both_axes("outputs", "size", {"tensor_id": "input", "axis_id": "y", "offset": 2}),
    ),
    ("a pixel size as scale", Code.output_scale_truncated, scales(0.1, 0.05)),
    ("odd halo", Code.halo_odd, put_on_both_axes("outputs", "halo", 5)),
    ("halo on the input", Code.halo_on_input, put_on_both_axes("inputs", "halo", 4)),
    ("SavedModel of batch 1", Code.saved_model_fixed_batch, edit_graph(one_image)),
    (
        "percentiles of another tensor",
        Code.processing_unknown,
        put("inputs.0.preprocessing.0.kwargs.reference_tensor", "output"),
    ),
    ("large halo", Code.halo_too_large, put_on_both_axes("outputs", "halo", 60)),
    (
        "channels without names",
        Code.channel_names_missing,
        put("inputs.0.axes.1.channel_names", MISSING),
    ),
    *(
        (f"no {key}", Code.metadata_incomplete, put(key, MISSING))
        for key in (
            "description",
            "authors",
            "cite",
            "license",
            "documentation",
            "tags",
            "maintainers",
        )
    ),
    ("no sample", Code.metadata_incomplete, put("inputs.0.sample_tensor", MISSING)),
    ("a licence of one's own", Code.license_unknown, put("license", "mine")),
    ("README without validation", Code.readme_validation, add_file("README.md", b"# Use\n")),
    ("no cover", Code.cover_unsuitable, put("covers", [])),
    ("cover 3:1", Code.cover_unsuitable, cover(300, 100)),
    ("cover of 600 KB", Code.cover_unsuitable, cover(640, 320, noise=True)),
    ("cover no picture", Code.cover_unsuitable, add_file("cover.png", b"GIF89a")),
    (
        "relaxed tolerance",
        Code.tolerance_relaxed,
        put("config.bioimageio.reproducibility_tolerance", [{"absolute_tolerance": 1}]),
    ),
    ("id", Code.id_set, put("id", "affable-shark")),
    ("run mode", Code.run_mode_set, put("run_mode", {"name": "deepimagej"})),
]


FAULTS = [
    Fault(package, name, code, change)
    for package, table in (("bioimageio", BOTH + ONLY_05), ("deepimagej", BOTH + ONLY_04))
    for name, code, change in table
]
AS_05 = {
    Code.test_tensor_missing,
    Code.format_newer,
    Code.saved_model_names,
    Code.metadata_incomplete,
    Code.rdf_malformed,
    Code.onnx_not_one_tensor,
    Code.deepimagej_missing,
}
ALSO = {
    "format 0.6": AS_05,
    "format is a number": AS_05,
    "no test tensor": {Code.metadata_incomplete},
    "three channels": {Code.onnx_fixed_size},
    "no inputs": {
        Code.batch_missing,
        Code.onnx_not_one_tensor,
        Code.saved_model_names,
        Code.metadata_incomplete,
    },
    "no weights": {Code.weights_unsupported},
    "ONNX alone": {Code.onnx_opset_undeclared},
    "cover as mapping": {Code.cover_unsuitable},
    "channels last": {
        Code.test_size_off_grid,
        Code.test_output_size,
        Code.axes_not_the_weights,
        Code.onnx_fixed_size,
    },
    "minimum off the step": {Code.test_size_off_grid},
    "format 0.5.13": {Code.format_unsupported},
    "two inputs": {
        Code.test_tensor_missing,
        Code.onnx_not_one_tensor,
        Code.saved_model_names,
        Code.deepimagej_test_information,
    },
    "two described outputs": {
        Code.test_tensor_missing,
        Code.onnx_not_one_tensor,
        Code.saved_model_names,
        Code.deepimagej_test_information,
    },
    "outputs the other way round": {
        Code.test_tensor_missing,
        Code.several_outputs,
        Code.saved_model_names,
        Code.deepimagej_test_information,
    },
    "opset 19 stated": {Code.onnx_opset_undeclared},
    "opset 18": {Code.onnx_opset_undeclared},
    "opset 22": {Code.onnx_opset_undeclared},
    "IR 8 in the engine of opset 8": {Code.onnx_opset_too_new, Code.onnx_opset_undeclared},
    "opset 17 in the engine of opset 16": {Code.onnx_opset_undeclared},
    "weights in a folder": {Code.zip_not_flat},
    "an output of one size": {Code.jdll_throws},
    "a halo that cuts the output": {Code.input_fixed_size},
    "TensorFlow alone": {Code.tensorflow_first},
    "a state dict of 0.4": {Code.python_runner},
    "gain for each channel": {Code.processing_fails},
    "percentiles of another tensor": {Code.processing_fails},
    "thresholds of an axis": {Code.processing_fails},
    "ensure_dtype by name": {Code.processing_fails},
    "mean without a mode": {Code.processing_fails},
    "fixed size described": {Code.halo_too_large},
    "a test image of 64 Mpixel": {Code.test_output_size},
    "names itself": {Code.hash_mismatch},
    "tiling missing": {Code.deepimagej_missing},
    "macros no list": {Code.preprocessing_without_macro},
    "three macros": {Code.preprocessing_without_macro},
    "offset": {Code.test_output_size},
    "a pixel size as scale": {Code.output_scale_ambiguous},
}
"""What the same fault breaks as well. A description of an unknown format is read as 0.5."""


def unused_domains(model: Any) -> None:
    """As ONNX Runtime's optimiser leaves them."""
    for domain in ("com.microsoft.nchwc", "ai.onnx.training", "my.company"):
        model.opset_import.add(domain=domain, version=1)


def whole_numbers_05(good) -> Change:
    """A camera's counts in, float32 into the network."""

    def edit(description: dict[str, Any]) -> None:
        description["inputs"][0]["data"] = {"type": "uint16"}
        last = {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}
        description["inputs"][0]["preprocessing"].append(last)

    return rdf(edit)


def axes_by_words(good) -> Change:
    def edit(description: dict[str, Any]) -> None:
        source, target = description["inputs"][0], description["outputs"][0]
        for place, word in ((2, "height"), (3, "width")):
            source["axes"][place]["id"] = target["axes"][place]["id"] = word
            target["axes"][place]["size"]["axis_id"] = word
        source["preprocessing"][0]["kwargs"]["axes"] = ["channel", "height", "width"]

    return rdf(edit)


CORES = (Client.core_0_10, Client.core_0_11)
NO_PARENT = put("weights.onnx.parent", MISSING)
HARMLESS: list[tuple[str, str, tuple[Client, ...], Callable[[Any], Change]]] = [
    # bioimageio.spec warns of two originals in 0.5 and is silent in 0.4; JDLL reads no parent
    (
        "bioimageio",
        "no parent",
        (*CORES, Client.deepimagej_3_1),
        put("weights.onnx.parent", MISSING),
    ),
    ("deepimagej", "no parent", tuple(Client)[:5], put("weights.onnx.parent", MISSING)),
    # OnnxWeights takes 17; core never compares the number with the file
    (
        "deepimagej",
        "no opset stated",
        tuple(Client)[:5],
        put("weights.onnx.opset_version", MISSING),
    ),
    ("bioimageio", "another opset stated", CORES, stated_opset(16)),
    # TensorSpecV05 leaves it out
    (
        "bioimageio",
        "ensure_dtype",
        (Client.deepimagej_3_1, *CORES),
        append("inputs.0.preprocessing", {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}),
    ),
    # core matches by position, JDLL runs the ONNX file
    ("bioimageio", "other names", (Client.deepimagej_3_1, *CORES), edit_graph(other_names)),
    ("bioimageio", "unused domains", (Client.deepimagej_3_1, *CORES), edit_onnx(unused_domains)),
    ("bioimageio", "counts", (Client.deepimagej_3_1, *CORES), whole_numbers_05),
    ("deepimagej", "counts", tuple(Client)[:5], put("inputs.0.data_type", "uint16")),
    ("bioimageio", "an output more", CORES, edit_onnx(second_named_output)),
    ("bioimageio", "large halo", (Client.deepimagej_3_1,), put_on_both_axes("outputs", "halo", 80)),
    ("bioimageio", "v1.rdf.yaml", CORES, named("v1.rdf.yaml")),
    ("bioimageio", "net.bioimageio.yaml", CORES, named("net.bioimageio.yaml")),
    ("bioimageio", "net.model.yaml", CORES, named("net.model.yaml")),
    ("bioimageio", "axes by words", CORES, axes_by_words),
    # Parameters.java of 2.1.16 looks for the key
    (
        "deepimagej",
        "no model_keys",
        tuple(Client)[:3],
        put(f"{DEEPIMAGEJ}.model_keys", MISSING),
    ),
]


@pytest.mark.parametrize(
    ("kind", "clients", "change"),
    [pytest.param(kind, clients, c, id=f"{kind}, {n}") for kind, n, clients, c in HARMLESS],
)
def test_what_a_client_takes_is_no_error(good, tmp_path, kind, clients, change):
    broken = copy(getattr(good.packages, kind), tmp_path, change(good))
    findings = check_rules(open_package(broken), clients)
    assert [f for f in findings if f.severity is Severity.error] == []


@pytest.mark.parametrize("kind", ["bioimageio", "deepimagej"])
def test_our_packages_run_onnx_in_deepimagej_3_1(good, kind):
    """TensorFlow 2 gives a black image there; the order of a HashMap must put ONNX first."""
    package = open_package(getattr(good.packages, kind))
    assert chosen_weights(package.rdf, package.sizes).weights_format == "onnx"


@pytest.mark.parametrize("kind", ["bioimageio", "deepimagej"])
def test_a_good_package_breaks_no_rule(good, kind):
    assert check_rules(open_package(getattr(good.packages, kind))) == []


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fault_yields_its_code(good, tmp_path, fault):
    package = getattr(good.packages, fault.package)
    broken = copy(package, tmp_path, fault.change(good))
    findings = check_rules(open_package(broken), intended_clients(open_package(package).rdf))
    codes = {finding.code for finding in findings}
    assert fault.code in codes
    assert codes <= {fault.code} | ALSO.get(fault.name, set())
    for finding in findings:
        assert finding.clients
        assert finding.package == broken.name
        assert finding.message


def test_without_a_maintainer_a_package_is_not_meant_for_the_zoo(good, tmp_path):
    change = rdf(lambda description: description.pop("maintainers"))
    package = open_package(copy(good.packages.bioimageio, tmp_path, change))
    assert Client.zoo in intended_clients(open_package(good.packages.bioimageio).rdf)
    assert Client.zoo not in intended_clients(package.rdf)
    (finding,) = check_rules(package, (Client.zoo,))
    assert finding.code is Code.metadata_incomplete


def test_every_rule_has_its_fault():
    tried = {fault.code for fault in FAULTS}
    assert {entry.code for entry in RULES} <= tried
    assert len(FAULTS) >= 40


def test_a_rule_says_whom_why_and_what_to_do():
    for entry in RULES:
        assert entry.clients
        assert entry.because
        assert entry.remedy


def test_clients_can_be_chosen(good):
    package = open_package(good.packages.bioimageio)
    findings = check_rules(package, (Client.deepimagej_2_1,))
    assert Code.format_unsupported in {finding.code for finding in findings}
    assert {finding.clients for finding in findings} == {(Client.deepimagej_2_1,)}


def test_the_client_that_minds_is_named(good, tmp_path):
    broken = copy(good.packages.bioimageio, tmp_path, edit_onnx(ir(9))(good))
    (finding,) = check_rules(open_package(broken))
    assert (finding.code, finding.clients) == (Code.onnx_ir_too_new, (Client.deepimagej_3_1,))
    assert finding.severity is Severity.error
    assert "IR 9" in finding.message


def test_the_size_that_core_truncates_is_named(good, tmp_path):
    """0.1 → 0.05 µm made 85 of 43 in bioimageio.core, where 86 are meant."""
    sizes = put_on_both_axes("inputs", "size", {"min": 43, "step": 1})
    change = both(scales(0.1, 0.05), sizes)(good)
    findings = check_rules(open_package(copy(good.packages.bioimageio, tmp_path, change)))
    (finding, _) = [f for f in findings if f.code is Code.output_scale_truncated]
    assert finding.message == "43 pixels become 85, not 86"


@pytest.mark.parametrize(
    ("named", "parts"), [("cyx", ""), ("yx", ""), ("x", "y"), (["channel", "y"], "x"), ([], "yx")]
)
def test_mean_and_deviation_of_the_whole_image_are_the_same_in_jdll(good, tmp_path, named, parts):
    """Format 0.4 must name axes; a lone channel or batch left out changes nothing."""
    step = {"name": "zero_mean_unit_variance", "kwargs": {"mode": "per_sample", "axes": named}}
    change = append("inputs.0.preprocessing", step)(good)
    findings = check_rules(open_package(copy(good.packages.deepimagej, tmp_path, change)))
    assert [f.code for f in findings] == [Code.processing_per_channel] * bool(parts)
    assert all(f"leaves out {parts}:" in finding.message for finding in findings)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_no_description_makes_a_rule_stumble(good, data):
    """A value anywhere in the description is exchanged for any other."""
    import dataclasses

    import yaml

    kind = data.draw(st.sampled_from(["bioimageio", "deepimagej"]))
    package = open_package(getattr(good.packages, kind))
    description = yaml.safe_load(yaml.safe_dump(package.rdf))
    places = []

    def collect(value: Any, path: tuple[Any, ...]) -> None:
        children = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in children:
            places.append((*path, key))
            if isinstance(inner, (dict, list)):
                collect(inner, (*path, key))

    collect(description, ())
    *parents, last = data.draw(st.sampled_from(places))
    holder = description
    for key in parents:
        holder = holder[key]
    holder[last] = data.draw(values)
    findings = check_rules(dataclasses.replace(package, rdf=description))
    assert all(isinstance(finding.code, Code) for finding in findings)


def test_rules_need_no_framework(good):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from w2s_export.package.opening import open_package\n"
        "from w2s_export.verify.rules.registry import check_rules\n"
        "assert check_rules(open_package(Path(sys.argv[1]))) == []\n"
        "heavy = {'tensorflow', 'keras', 'onnx', 'onnxruntime', 'bioimageio.core', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", program, str(good.packages.bioimageio)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
