"""Packages that other tools write: each gets a verdict, and the verdict is the clients' own.

The descriptions under golden/ are written by hand in the style of CAREamics, StarDist, pydeepimagej
in ZeroCostDL4Mic and of the specification's examples. What each client does follows from its rules,
worked out by hand beside each.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from w2s_export.verify.findings import Client, Code, Severity
from w2s_export.verify.verdicts import Answer
from w2s_export.verify.verify import verify

from .conftest import npy, refusing

GOLDEN = Path(__file__).parent / "golden"
FILE = re.compile(r"[\w.]+\.(?:npy|tif|png|md|zip|onnx|ijm|pth?|hdf5|py|ya?ml|yml|ckpt)\b")

D21, D30, D31 = Client.deepimagej_2_1, Client.deepimagej_3_0, Client.deepimagej_3_1
C10, C11, ZOO = Client.core_0_10, Client.core_0_11, Client.zoo
OLD, CORE = {D21, D30}, {C10, C11}


def onnx(inputs: int, outputs: list[list[int | str | None]], opset: int = 17) -> bytes:
    """A file with so many images in and outputs of these sizes; it is not run."""
    from onnx import TensorProto, helper

    def value(name: str, shape: list[int | str | None]):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    ins = [value(f"in{i}", ["b", 4 if len(outputs) > 1 else 1, "y", "x"]) for i in range(inputs)]
    outs = [value(f"out{i}", shape) for i, shape in enumerate(outputs)]
    nodes = [helper.make_node("Identity", ["in0"], [out.name]) for out in outs]
    graph = helper.make_graph(nodes, "g", ins, outs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return model.SerializeToString()


def saved_model(out_channels: int, size: int = -1, *, last: bool = True) -> bytes:
    """The header of a SavedModel of channels last or first, as TensorFlow 1.15 writes it."""
    from tensorflow.core.framework.types_pb2 import DT_FLOAT
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    model = SavedModel(saved_model_schema_version=1)
    graph = model.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    signature = graph.signature_def["serving_default"]
    for side, name, channels in (
        (signature.inputs, "input", 1),
        (signature.outputs, "output", out_channels),
    ):
        side[name].name, side[name].dtype = f"{name}:0", DT_FLOAT
        for length in (-1, size, size, channels) if last else (-1, channels, size, size):
            side[name].tensor_shape.dim.add(size=length)
    graph.graph_def.node.add(name="input", op="Placeholder")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("saved_model.pb", model.SerializeToString())
        archive.writestr("variables/", b"")
    return stream.getvalue()


def images(*shapes: tuple[int, ...]) -> list[bytes]:
    return [npy(np.ones(shape, np.float32)) for shape in shapes]


def classifier() -> Mapping[str, bytes]:
    given, classes, features = images((1, 4, 64, 64), (1, 28), (1, 1024))
    return {
        "densenet.onnx": onnx(1, [["b", 28], ["b", 1024]], opset=9),
        "test_input.npy": given,
        "test_classes.npy": classes,
        "test_features.npy": features,
    }


# Who refuses it, and codes that say why.
CASES: dict[str, tuple[set[Client], set[Code], Callable[[], Mapping[str, bytes]]]] = {
    # 0.5.11 with mappings: only core 0.11 reads it, and runs its state dict.
    "careamics_05": (
        {*OLD, D31, C10, ZOO},
        {Code.documents_as_mappings, Code.weights_unsupported, Code.weights_not_run},
        lambda: dict(
            zip(("inputs.npy", "outputs.npy"), images(*[(1, 1, 32, 32)] * 2), strict=True)
        ),
    ),
    # No config.deepimagej: 2.1 and 3.0 do not list it. 3.1 does: JDLL allows tiling without it, and
    # the missing nickname and channels last are warnings.
    "stardist_04": (
        OLD,
        {Code.deepimagej_missing, Code.nickname_missing, Code.axes_order, Code.tensorflow_alone},
        lambda: {
            "TF_SavedModel.zip": saved_model(33),
            "test_input.npy": images((1, 80, 96, 1))[0],
            "test_output.npy": images((1, 80, 96, 33))[0],
        },
    ),
    # Complete for 2.1 and 3.0; in 3.1 TensorFlow 2 alone is black. A fixed size is a warning.
    "pydeepimagej_04": (
        {D31},
        {Code.input_fixed_size, Code.tensorflow_first, Code.weights_not_run},
        lambda: {
            "tf_weights.zip": saved_model(3, 256),
            "test_input.npy": images((1, 256, 256, 1))[0],
            "test_output.npy": images((1, 256, 256, 3))[0],
            "per_sample_scale_range.ijm": b'run("32-bit");',
        },
    ),
    # Two inputs: DeepImageJ has one current image. TorchScript: core runs it, we do not.
    "multi_tensor_05": (
        {*OLD, D31},
        {Code.several_inputs, Code.several_outputs, Code.weights_not_run},
        lambda: dict(
            zip(
                (f"test_{side}_{i}.npy" for side in ("input", "output") for i in (0, 1)),
                images(*[(1, 1, 32, 48)] * 4),
                strict=True,
            )
        ),
    ),
    # ONNX alone: not for 2.1 and 3.0. JDLL leaves four gains out of account, and core does not run
    # scale_linear with axes of format 0.4.
    "classifier_04": (
        {*OLD, D31, C10, C11, ZOO},
        {Code.processing_fails, Code.processing_per_channel, Code.weights_unsupported},
        classifier,
    ),
    # Scales by the specification alone: half the size in JDLL.
    "upsampler_05": (
        {*OLD, D31},
        {Code.output_scale_ambiguous, Code.format_unsupported},
        lambda: {
            "weights.onnx": onnx(1, [["b", 1, "h", "w"]]),
            "test_input.npy": images((1, 1, 16, 20))[0],
            "test_output.npy": images((1, 1, 32, 40))[0],
        },
    ),
    "old_03": (
        {*OLD, D31, C10, C11, ZOO},
        {Code.format_unsupported, Code.weights_unsupported},
        dict,
    ),
    "dataset_03": ({*OLD, D31, C10, C11, ZOO}, {Code.not_a_model, Code.rdf_incomplete}, dict),
    "aliased_05": ({*OLD, D31, C10, C11, ZOO}, {Code.rdf_incomplete}, dict),
}


def zipped(name: str, folder: Path, files: Mapping[str, bytes]) -> Path:
    """A package of a description and every file it names."""
    text = (GOLDEN / f"{name}.yaml").read_text(encoding="utf-8")
    path = folder / f"{name}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rdf.yaml", text)
        for file in sorted(set(FILE.findall(re.sub(r"https?://\S+", "", text)))):
            archive.writestr(file, files.get(file, b"## Validation\n"))
    return path


@pytest.mark.parametrize("name", CASES)
def test_a_package_of_others_gets_its_verdict(name, tmp_path):
    refused, codes, files = CASES[name]
    report = verify(zipped(name, tmp_path, files()), rules_only=True)
    found = {finding.code for finding in report.findings}
    assert codes - {Code.weights_not_run} <= found
    assert refusing(report) == refused
    assert Code.rdf_malformed not in found
    assert Code.file_missing not in found


def test_every_description_is_tried():
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(CASES)


def test_what_cannot_be_run_is_a_note(tmp_path):
    """State dicts and TorchScript are programs: the verdict says that they were not run."""
    package = zipped("multi_tensor_05", tmp_path, CASES["multi_tensor_05"][2]())
    report = verify(package)
    notes = [f for f in report.findings if f.code is Code.weights_not_run]
    assert [note.format for note in notes] == [
        "pytorch_state_dict",
        "torchscript",
    ]
    assert {note.severity for note in notes} == {Severity.note}
    assert report.parity == ()
    unproven = {v.client for v in report.verdicts if v.would is Answer.unproven}
    assert unproven == {C10, C11, ZOO}
