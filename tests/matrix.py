"""Networks of many makes, exported, verified and restored: what runs where, by the verdicts.

`python -m tests.matrix` (`nox -s matrix`) measures everything and prints the table.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
import zipfile
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
import yaml

from tests.networks_of_others import MAKERS
from tests.torch_process import call_with_torch
from w2s_export.config import NoNormalisation
from w2s_export.data.normalise import normalise
from w2s_export.errors import UnsupportedOperationError
from w2s_export.export import export
from w2s_export.formats import onnx as onnx_format
from w2s_export.formats import saved_model
from w2s_export.formats.registry import Format
from w2s_export.network import Network
from w2s_export.options import ExportOptions
from w2s_export.package.network import open_network
from w2s_export.restore.arrays import restore_array
from w2s_export.sources.load import load_network
from w2s_export.verify.findings import Client
from w2s_export.verify.report import Kind, Report

ROOT = Path(__file__).resolve().parents[1]
CASES = [
    ("keras", "unet.keras", "Keras U-Net"),
    ("keras", "care.h5", "CARE, residual U-Net, `.h5`"),
    ("keras", "unet-transposed.keras", "U-Net, transposed convolutions"),
    ("keras", "dncnn.keras", "DnCNN, Keras"),
    ("keras", "srcnn.h5", "SRCNN ×2, `.h5`"),
    ("keras", "pix2pix.keras", "pix2pix generator"),
    ("keras", "unet-exported", "U-Net as a SavedModel"),
    ("torch", "compact.pth", "Real-ESRGAN Compact ×2"),
    ("torch", "rcan.pth", "RCAN ×2"),
    ("torch", "kair-dncnn.pth", "KAIR's DnCNN"),
    ("torch", "swinir.pth", "SwinIR ×2"),
    ("torch", "safmn.pth", "SAFMN ×2"),
    ("onnx", "windows.onnx", "half precision, NHWC, pooling"),
    ("onnx", "fixed.onnx", "one size alone, 48×64"),
    ("package", "bacteria.zip", "package of format 0.4, Keras HDF5, `bxyc`"),
    ("package", "n2v.zip", "package of format 0.3, SavedModel"),
]
"""What makes a file, its name, and what it is."""
_PEOPLE = {
    "authors": [{"name": "A. Body"}],
    "maintainers": [{"name": "A. Body", "github_user": "abody"}],
    "cite": [{"text": "Body et al.", "doi": "10.1234/abcd"}],
    "license": "MIT",
    "tags": ["restoration", "2d"],
    "description": "A small network of random weights.",
}
_COLUMNS = (
    "network", "scale", "sizes", "halo", "ONNX", "SavedModel", "DeepImageJ 2.1", "DeepImageJ 3.1",
    "core", "zoo", "restored",
)  # fmt: skip


def make(kind: str, folder: Path, *, warm: bool = False) -> None:
    """Files, images and expected results of one framework, in a process of its own.

    Args:
        kind: which.
        folder: for them.
        warm: by the processes that tests have: this one has TensorFlow loaded, another PyTorch.
    """
    if kind == "onnx":
        make_onnx(folder)
    elif kind == "package":
        make("keras", folder, warm=warm)
        _write_package(folder, "bacteria.zip", "care.h5")
        _write_package(folder, "n2v.zip", "unet-exported")
    elif warm and kind == "torch":
        call_with_torch(MAKERS[kind], folder)
    elif warm:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras's own
            MAKERS[kind](folder)
    else:
        command = [sys.executable, "-m", "tests.networks_of_others", kind, str(folder)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def make_onnx(folder: Path) -> None:
    """A network with its channels last, half precision, opset 12, which pools; one of one size."""
    from onnx import TensorProto, helper, numpy_helper

    from tests.graph.test_lower import CONV, PLAIN, kernel, model, plain, run

    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "k"], ["a"], **CONV),
        helper.make_node("MaxPool", ["a"], ["p"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Conv", ["p", "l"], ["c"], **CONV),
        helper.make_node("Resize", ["c", "roi", "s"], ["u"], mode="nearest",
                         coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        helper.make_node("Add", ["u", "a"], ["b"]),
        helper.make_node("Conv", ["b", "m"], ["d"], **CONV),
        helper.make_node("Transpose", ["d"], ["y"], perm=[0, 2, 3, 1]),
    ]  # fmt: skip
    weights = {"k": kernel(4, 2, 3, 3), "l": kernel(4, 4, 3, 3), "m": kernel(1, 4, 3, 3)}
    stored = [numpy_helper.from_array(v.astype(np.float16), n) for n, v in weights.items()]
    stored += [
        numpy_helper.from_array(np.array([1, 1, 4, 4], np.float32), "s"),
        numpy_helper.from_array(np.zeros(0, np.float16), "roi"),
    ]
    half = TensorProto.FLOAT16
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", half, ["n", "h", "w", 2])],
        [helper.make_tensor_value_info("y", half, ["n", "h", "w", 1])], stored,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 12)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=7)
    onnx.save(proto, folder / "windows.onnx")
    given = np.random.default_rng(2).random((2, 2, 32, 48)).astype(np.float32)
    made = run(proto, given.transpose(0, 2, 3, 1).astype(np.float16)).transpose(0, 3, 1, 2)
    np.save(folder / "windows.onnx.in.npy", given)
    np.save(folder / "windows.onnx.out.npy", made.astype(np.float32))
    size = (1, 1, 48, 64)
    fixed = model(PLAIN, plain(), size=size, made=size)
    onnx.save(fixed, folder / "fixed.onnx")
    given = np.random.default_rng(2).random((2, *size[1:])).astype(np.float32)
    np.save(folder / "fixed.onnx.in.npy", given)
    np.save(folder / "fixed.onnx.out.npy", np.concatenate([run(fixed, x[None]) for x in given]))


def _write_package(folder: Path, name: str, weights: str) -> None:
    """A package of somebody else around a Keras file, its images in its own order of axes."""
    turned = name == "bacteria.zip"
    given, made = (np.load(folder / f"{weights}.{side}.npy") for side in ("in", "out"))
    if turned:
        given, made = given.transpose(0, 1, 3, 2), made.transpose(0, 1, 3, 2)
    np.save(folder / f"{name}.in.npy", given)
    np.save(folder / f"{name}.out.npy", made)
    axes = "bxyc" if turned else "byxc"
    stored = (
        (given[:1] * 400 + 100).transpose(0, 3, 2, 1)
        if turned
        else given[:1].transpose(0, 2, 3, 1) * 400 + 100
    )
    image = BytesIO()
    np.save(image, stored.astype(np.float32))
    shape: Any = [1, 48, 32, 1] if turned else {"min": [1, 32, 32, 1], "step": [0, 4, 4, 0]}
    key = "keras_hdf5" if turned else "tensorflow_saved_model_bundle"
    file = "weights.h5" if turned else "weights.zip"
    steps = [{"name": "scale_linear", "kwargs": {"gain": 0.0025, "offset": -0.25}}]
    rdf = {
        "format_version": "0.4.8" if turned else "0.3.2",
        "type": "model",
        "name": name.split(".")[0] + " of somebody",
        **_PEOPLE,
        "inputs": [{"name": "i", "axes": axes, "shape": shape, "preprocessing": steps}],
        "outputs": [{"name": "o", "axes": axes}],
        "test_inputs": ["in.npy"],
        "weights": {key: {"source": file}},
    }
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("rdf.yaml", yaml.safe_dump(rdf))
        archive.writestr("in.npy", image.getvalue())
        if turned:
            archive.write(folder / weights, file)
            return
        inner = BytesIO()
        with zipfile.ZipFile(inner, "w") as bundle:
            for path in sorted((folder / weights).rglob("*")):
                if path.is_file():
                    bundle.write(path, path.relative_to(folder / weights).as_posix())
        archive.writestr(file, inner.getvalue())


def measure(file: Path, folder: Path, title: str) -> dict[str, str]:
    """Export, verify and restore: a row of the table.

    Args:
        file: the network.
        folder: for the packages.
        title: what it is.
    """
    metadata = folder / "metadata.yaml"
    metadata.write_text(yaml.safe_dump(_PEOPLE), encoding="utf-8")
    how = None if file.suffix == ".zip" else NoNormalisation()
    options = ExportOptions(
        file, output=folder / "out", metadata=metadata, normalisation=how, name="a network"
    )
    network = load_network(file)
    with patch("w2s_export.export.load_network", return_value=network):  # opened once
        result = export(options)
    report, halo = result.report, result.report.halo
    assert halo is not None
    sizes = f"multiples of {network.step}" if network.step > 1 else "any"
    return {
        "network": title,
        "scale": f"×{network.scale}",
        "sizes": sizes if network.fixed is None else "×".join(map(str, network.fixed)),
        "halo": f"{halo.halo} px",
        "ONNX": _format(report, network, onnx_format, folder),
        "SavedModel": _format(report, network, saved_model, folder),
        "DeepImageJ 2.1": _client(report, "deepimagej", Client.deepimagej_2_1),
        "DeepImageJ 3.1": _client(report, "deepimagej", Client.deepimagej_3_1),
        "core": _client(report, "bioimageio", Client.core_0_11),
        "zoo": _client(report, "bioimageio", Client.zoo),
        "restored": _restored(network, result.packages.bioimageio, file, halo.halo),
    }


def _format(report: Report, network: Network, known: Format, folder: Path) -> str:
    key, output = known.KEY, Kind.output
    rows = [r.max_relative for r in report.parity if r.format == key and r.kind is output]
    if rows:
        return f"{max(rows):.0e}"
    try:
        known.write(network, folder / known.FILE)
    except UnsupportedOperationError as error:
        return f"no: {error}"
    return "no: not written"


def _client(report: Report, package: str, client: Client) -> str:
    verdict = next(v for v in report.verdicts if f".{package}." in v.package and v.client is client)
    codes = ", ".join(sorted({finding.code.value for finding in verdict.findings}))
    return ("yes" if verdict.would.takes else "no") + (f": {codes}" if codes else "")


def _restored(network: Network, package: Path, file: Path, halo: int) -> str:
    """How far `restore` is from the framework on the mirrored image, part of the range."""
    image = np.load(f"{file}.in.npy")[0]
    made = restore_array(image, open_network(package, None))
    scale, (height, width) = network.scale, image.shape[1:]
    normalised = normalise(image, network.normalisation)
    if network.fixed is None:
        more = [
            -(-(n + 2 * halo) // network.step) * network.step - n - halo for n in (height, width)
        ]
        padded = np.pad(normalised, [(0, 0), (halo, more[0]), (halo, more[1])], mode="symmetric")
        whole = network.reference()(padded[np.newaxis])[0]
        edge = scale * halo
        expected = whole[:, edge : edge + scale * height, edge : edge + scale * width]
    else:
        edge = scale * halo
        inner = slice(None), slice(edge, scale * height - edge), slice(edge, scale * width - edge)
        expected = network.reference()(normalised[np.newaxis])[0][inner]
        made = made[inner]
    return f"{np.abs(made - expected).max() / np.ptp(expected):.0e}"


def main() -> None:
    """Measure everything: a line of Markdown per network."""
    print(f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}", flush=True)
    made: dict[str, Path] = {}
    with TemporaryDirectory() as temporary:
        for kind, name, title in CASES:
            if kind not in made:
                made[kind] = Path(temporary) / kind
                made[kind].mkdir()
                make(kind, made[kind])
            out = made[kind] / f"{name}-measured"
            out.mkdir()
            row = measure(made[kind] / name, out, title)
            print(f"| {' | '.join(row[column] for column in _COLUMNS)} |", flush=True)


if __name__ == "__main__":
    main()
