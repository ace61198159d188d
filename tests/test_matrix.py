"""Networks of other families by what their own frameworks make of an image: every format agrees.

`python -m tests.test_matrix` prints the table of docs/networks.md.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

from w2s_export.errors import UnsupportedOperationError
from w2s_export.formats import registry
from w2s_export.network import Network
from w2s_export.sources.load import load_network

ROOT = Path(__file__).resolve().parents[1]

# File, scale, step. The last is an ONNX file that its own runtime, ONNX Runtime, answers for.
CASES = [
    ("keras", "unet.keras", 1, 4),
    ("keras", "care.h5", 1, 4),
    ("keras", "unet-transposed.keras", 1, 4),
    ("keras", "dncnn.keras", 1, 1),
    ("keras", "srcnn.h5", 2, 1),
    ("keras", "pix2pix.keras", 1, 4),
    ("keras", "unet-exported", 1, 4),
    ("torch", "compact.pth", 2, 1),
    ("torch", "rcan.pth", 2, 1),
    ("torch", "kair-dncnn.pth", 1, 1),
    ("torch", "swinir.pth", 2, 1),
    ("onnx", "windows.onnx", 1, 4),
]


def make(kind: str, folder: Path) -> None:
    """Files, images and expected results, in a process of the framework alone."""
    if kind == "onnx":
        make_onnx(folder)
        return
    if kind == "torch" and find_spec("spandrel") is None:  # never imported beside TensorFlow
        pytest.skip("needs spandrel")
    command = [sys.executable, "-m", "tests.networks_of_others", kind, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def make_onnx(folder: Path) -> None:
    """A network that takes its channels last, half precision, opset 12, and pools."""
    from onnx import TensorProto, helper, numpy_helper

    from tests.graph.test_lower import CONV, kernel, run

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


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {}


@pytest.mark.parametrize(("kind", "name", "scale", "step"), CASES, ids=[c[1] for c in CASES])
def test_every_format_gives_the_framework_s_image(
    kind: str,
    name: str,
    scale: int,
    step: int,
    made: dict[str, Path],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if kind not in made:
        made[kind] = tmp_path_factory.mktemp(kind)
        make(kind, made[kind])
    network = load_network(made[kind] / name)
    assert (network.scale, network.step) == (scale, step)
    rows = compare(network, made[kind] / name, tmp_path)
    # Half precision is as exact as its 11 bits; the others: 1e-6 seen.
    tolerance = 4e-3 if name == "windows.onnx" else 1e-5
    assert {key: value for key, value in rows.items() if not isinstance(value, str)
            and value > tolerance} == {}  # fmt: skip
    unwritten = {key: value for key, value in rows.items() if isinstance(value, str)}
    assert set(unwritten) <= ({"tensorflow_saved_model_bundle"} if name == "swinir.pth" else set())


def compare(network: Network, file: Path, folder: Path) -> dict[str, float | str]:
    """Largest difference from the framework as a part of its range, by format, or why not."""
    given = np.load(f"{file}.in.npy")
    expected = np.load(f"{file}.out.npy")
    rows: dict[str, float | str] = {}

    def difference(output: np.ndarray) -> float:
        assert output.shape == expected.shape
        return float(np.abs(output - expected).max() / np.ptp(expected))

    rows["witness"] = difference(network.reference()(given))
    for known in registry.WEIGHTS:
        try:
            artifact = known.write(network, folder / known.FILE)
        except UnsupportedOperationError as error:
            rows[known.KEY] = str(error)
        else:
            rows[known.KEY] = difference(known.load(artifact.path)(given))
    return rows


def main() -> None:
    """Print the table."""
    import tempfile

    print("| File | Network | Scale | Step | Sees | ONNX | SavedModel |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for kind, name, *_ in CASES:
            folder = Path(temporary) / kind
            if not folder.is_dir():
                folder.mkdir()
                make(kind, folder)
            network = load_network(folder / name)
            out = folder / f"{name}.out"
            out.mkdir()
            rows = compare(network, folder / name, out)
            cells = [f"{v:.0e}" if isinstance(v, float) else f"no: {v}" for v in rows.values()]
            radius = network.facts.receptive_radius
            sees = "all" if radius is None else f"{radius} px"
            print(
                f"| `{name}` | {network.architecture} | {network.scale} | {network.step} | {sees} "
                f"| {' | '.join(cells[1:])} |"
            )


if __name__ == "__main__":
    main()
