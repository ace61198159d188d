"""The notebooks of the documentation run from their first cell to their last, as they stand."""

from __future__ import annotations

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

# In a process of its own: Jupyter's libraries warn of things that are not ours.
_RUN = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
texts = [o for cell in notebook.cells for o in cell.get("outputs", [])]
print(sum("image/png" in o.get("data", {}) or "text/html" in o.get("data", {}) for o in texts))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not all(find_spec(name) for name in ("nbclient", "ipykernel")), reason="needs nbclient"
)
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_to_its_end(notebook: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(notebook)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) >= 1  # something to look at


def test_there_are_notebooks_and_each_installs_first() -> None:
    import json

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
