"""Networks of other families by what their own frameworks make of an image: every format agrees.

Each kind of file and each way through the converters is in every test run, all networks in
`nox -s thorough`.

The whole way, to restored images, is measured by `python -m tests.matrix`; one goes it here.
"""

from __future__ import annotations

import itertools
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.matrix import CASES, make, measure
from w2s_export.errors import UnsupportedOperationError
from w2s_export.formats import registry
from w2s_export.network import Network
from w2s_export.sources.load import load_network

pytestmark = pytest.mark.xdist_group("matrix")

SCALE_AND_STEP = {
    "unet.keras": (1, 4),
    "care.h5": (1, 4),
    "unet-transposed.keras": (1, 4),
    "dncnn.keras": (1, 1),
    "srcnn.h5": (2, 1),
    "pix2pix.keras": (1, 4),
    "unet-exported": (1, 4),
    "compact.pth": (2, 1),
    "rcan.pth": (2, 1),
    "kair-dncnn.pth": (1, 1),
    "swinir.pth": (2, 8),
    "safmn.pth": (2, 8),
    "windows.onnx": (1, 4),
    "fixed.onnx": (1, 1),
    "bacteria.zip": (1, 4),
    "n2v.zip": (1, 4),
}
EVERY_RUN = (
    "unet.keras", "srcnn.h5", "unet-exported", "compact.pth", "swinir.pth", "windows.onnx",
    "fixed.onnx", "bacteria.zip",
)  # fmt: skip
NAMES = {name: (kind, title) for kind, name, title in CASES}
ROOT = Path(__file__).resolve().parents[1]


def documented(path: str) -> dict[str, dict[str, str]]:
    """The table of networks that a page shows: cells by column, by network."""
    lines = iter((ROOT / path).read_text(encoding="utf-8").splitlines())
    head = next(line for line in lines if line.startswith("| network |") and "zoo" in line)
    columns = [cell.strip() for cell in head.strip("|").split("|")]
    next(lines)
    rows = {}
    for line in itertools.takewhile(lambda line: line.startswith("|"), lines):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows[cells[0]] = dict(zip(columns, cells, strict=True))
    return rows


def test_the_documentation_shows_what_is_measured() -> None:
    """The whole table takes minutes; each row's scale and sizes are measured below."""
    rows = documented("docs/networks.md")
    assert list(rows) == [title for _, title in NAMES.values()]
    for name, (_, title) in NAMES.items():
        scale, step = SCALE_AND_STEP[name]
        sizes = f"multiples of {step}" if step > 1 else "any"
        assert rows[title]["scale"] == f"×{scale}"
        assert rows[title]["sizes"] == ("48×64" if name == "fixed.onnx" else sizes)
    for title, row in documented("README.md").items():
        assert row == {column: rows[title][column] for column in row}
    assert len(documented("README.md")) == len(rows)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {}


def folder_of(name: str, made: dict[str, Path], factory: pytest.TempPathFactory) -> Path:
    kind = NAMES[name][0]
    if kind == "torch" and find_spec("spandrel") is None:  # never imported beside TensorFlow
        pytest.skip("needs spandrel")
    if kind not in made:
        made[kind] = factory.mktemp(kind)
        make(kind, made[kind], warm=True)
        if kind == "package":
            made.setdefault("keras", made[kind])  # which holds the Keras files too
    return made[kind]


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in EVERY_RUN else pytest.mark.thorough)
        for name in NAMES
        if name != "n2v.zip"
    ],
)
def test_every_format_gives_the_framework_s_image(
    name: str,
    made: dict[str, Path],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    file = folder_of(name, made, tmp_path_factory) / name
    network = load_network(file)
    assert (network.scale, network.step) == SCALE_AND_STEP[name]
    rows = compare(network, file, tmp_path)
    # Half precision is as exact as its 11 bits; the others: 1e-6 seen.
    tolerance = 4e-3 if name == "windows.onnx" else 1e-5
    assert {key: value for key, value in rows.items() if not isinstance(value, str)
            and value > tolerance} == {}  # fmt: skip
    unwritten = {key: value for key, value in rows.items() if isinstance(value, str)}
    assert set(unwritten) <= ({"tensorflow_saved_model_bundle"} if name == "swinir.pth" else set())


def test_a_network_goes_the_whole_way(
    made: dict[str, Path], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Exported, verified and restored: a network of one size alone, for every client."""
    name = "fixed.onnx"
    title = NAMES[name][1]
    row = measure(folder_of(name, made, tmp_path_factory) / name, tmp_path, title)
    assert [float(row[cell]) < 1e-5 for cell in ("ONNX", "SavedModel", "restored")] == [True] * 3
    clients = ("DeepImageJ 2.1", "DeepImageJ 3.1", "core", "zoo")
    assert [row[client].partition(":")[0] for client in clients] == ["yes"] * 4
    shown = documented("docs/networks.md")[title]
    for column in ("scale", "sizes", "halo", *clients):
        assert row[column] == shown[column]
    assert (row["sizes"], row["halo"]) == ("48×64", "2 px")


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
