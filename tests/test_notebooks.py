"""The notebooks of the documentation run from their first cell to their last, as they stand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import w2s_export as w2s

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))

# In a process of its own: Jupyter's libraries warn of things that are not ours. One kernel runs
# all, each in a folder and with names of its own: to load TensorFlow takes longer than most of
# them. bioimageio.core's own test has a process of its own, whoever exports: `test_export.py` and
# the tutorials have it.
_RUN = """
import asyncio, json, pathlib, sys
import nbclient, nbformat
from jupyter_client import AsyncKernelManager

fresh = (
    "%reset -f\\nimport os\\nos.chdir({!r})"
    "\\nimport pytest\\nfrom tests.core_unasked import leave_core_out"
    "\\nleave_core_out(pytest.MonkeyPatch())"
)
found, kernel = {}, AsyncKernelManager(kernel_name="python3")
for path in map(pathlib.Path, sys.argv[1:]):
    notebook = nbformat.read(path, as_version=4)
    folder = pathlib.Path(path.stem).absolute()
    folder.mkdir()
    notebook.cells.insert(0, nbformat.v4.new_code_cell(fresh.format(str(folder))))
    try:
        nbclient.NotebookClient(notebook, km=kernel, timeout=300).execute()
    except nbclient.exceptions.CellExecutionError as error:
        found[path.stem] = str(error)
        continue
    data = [o.get("data", {}) for cell in notebook.cells for o in cell.get("outputs", [])]
    found[path.stem] = sum("image/png" in one or "text/html" in one for one in data)
asyncio.run(kernel.shutdown_kernel(now=True))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int | str]:
    """How many pictures and tables each notebook shows, or why it failed."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *map(str, NOTEBOOKS)],
        cwd=tmp_path_factory.mktemp("notebooks"),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, int | str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.skipif(
    not all(find_spec(name) for name in ("nbclient", "ipykernel")), reason="needs nbclient"
)
@pytest.mark.xdist_group("notebooks")
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_to_its_end(notebook: Path, shown: dict[str, int | str]) -> None:
    pictures = shown[notebook.stem]
    assert isinstance(pictures, int), pictures
    assert pictures >= 1  # something to look at


def test_there_are_notebooks_and_each_installs_first() -> None:
    assert {path.stem for path in NOTEBOOKS} == {"export", "train", "evaluate"}
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        first = next(cell for cell in cells if cell["cell_type"] == "code")
        assert "%pip install" in "".join(first["source"])
        kept = [output for cell in cells for output in cell.get("outputs", ())]
        assert kept  # readers see results, and no log of the machine that ran it
        assert all(output.get("name") != "stderr" for output in kept)


def test_the_divider_fetches_nothing_and_escapes_its_labels() -> None:
    image = np.arange(12.0).reshape(3, 4)
    html = w2s.Divider(image, np.ones((1, 6, 8)), labels=("<b>", "after"))._repr_html_()
    assert html.count('src="data:image/png;base64,') == 2
    assert "http" not in html
    assert "<b>" not in html
    assert "aspect-ratio:4/3" in html
    with pytest.raises(ValueError, match=r"an image is \(H, W\) or \(C, H, W\)"):
        w2s.Divider(image[0], image)
