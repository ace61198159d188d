"""Promises about the house itself: what is imported when, what lies where, what the words say."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import yaml

import w2s_export
from tests import factories
from w2s_export import resources
from w2s_export.formats import onnx as known
from w2s_export.package.archive import write_packages
from w2s_export.rdf.description import Sample

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("tensorflow", "keras", "onnx", "onnxruntime", "torch", "bioimageio.core")


def _imported_by(code: str) -> set[str]:
    report = f"import sys\n{code}\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines())


@pytest.mark.parametrize(
    "code",
    [
        "import w2s_export",
        "import w2s_export.cli",
        "from w2s_export.cli import run; assert run(['--help']) == 0",
        "import w2s_export.export",
        "import w2s_export.training.run",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code: str) -> None:
    assert not _imported_by(code) & set(HEAVY)


def test_help_needs_no_arrays_and_no_models() -> None:
    """With numpy and pydantic it took twice the time."""
    loaded = _imported_by("from w2s_export.cli import run; assert run(['--help']) == 0")
    assert "cyclopts" in loaded
    assert not loaded & {"numpy", "pydantic", "yaml"}


def test_no_python_lies_under_bioimageio() -> None:
    # It is also the namespace of bioimageio.core, which a module there would hide.
    assert not list((ROOT / "bioimageio").rglob("*.py*"))


def test_assets_are_found_without_and_with_an_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resources.asset("bioimageio/macros").is_dir()
    installed = tmp_path / "w2s_export"
    (installed / "_assets" / "models").mkdir(parents=True)
    monkeypatch.setattr(resources, "_PACKAGE", installed)
    assert resources.asset("models") == installed / "_assets" / "models"
    with pytest.raises(FileNotFoundError, match="incomplete|missing"):
        resources.asset("models/none")


def test_the_version_is_one() -> None:
    assert metadata.version("w2s-export") == w2s_export.__version__


def test_every_dependency_says_why() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.M | re.S)
    assert block
    lines = block.group(1).strip().splitlines()
    assert len(lines) > 10
    assert [line for line in lines if "#" not in line] == []


def test_modules_stay_small() -> None:
    sizes = {
        p: len(p.read_text(encoding="utf-8").splitlines()) for p in ROOT.glob("w2s_export/**/*.py")
    }
    assert {str(p): n for p, n in sizes.items() if n > 400} == {}


def _wanted(lines: list[str]) -> dict[str, str]:
    """Versions by package, each written without blanks."""
    found = [re.fullmatch(r"([\w.\-]+) *([<>=!~][^;]*?)?( *[;#].*)?", line) for line in lines]
    return {one[1]: (one[2] or "").replace(" ", "") for one in found if one}


def _dependencies() -> dict[str, str]:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.M | re.S)
    assert block
    return _wanted(re.findall(r'^    "([^"]+)"', block[1], re.M))


def test_the_conda_recipe_asks_for_what_pip_asks_for() -> None:
    recipe = yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text("utf-8"))
    run = _wanted(recipe["requirements"]["run"])
    assert run.pop("python").endswith("<3.14")
    assert run == _dependencies()
    assert recipe["context"]["version"] == w2s_export.__version__


def test_the_slim_list_is_a_part_of_the_dependencies_without_tensorflow() -> None:
    lines = (ROOT / "docs" / "how-to" / "slim.txt").read_text("utf-8").splitlines()
    slim, whole = _wanted([line for line in lines if not line.startswith("#")]), _dependencies()
    del slim["bioimageio.spec"]  # which bioimageio.core brings
    assert slim.items() <= whole.items()
    assert set(whole) - set(slim) == {"tensorflow", "keras", "tf2onnx", "bioimageio.core"}


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == w2s_export.__version__


def _without_tensorflow(*commands: list[str]) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'tf2onnx', 'bioimageio.core'):\n"
        "    sys.modules[name] = None\n"
        f"from w2s_export.cli import run\nfor command in {commands!r}:\n"
        "    if code := run(command):\n        sys.exit(code)\n"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_what_needs_no_tensorflow_runs_without_it(tmp_path: Path) -> None:
    model = resources.asset(f"models/{resources.DEFAULT_MODEL}")
    package = zipped(tmp_path)
    done = _without_tensorflow(
        ["inspect", str(model / "weights.npz")],
        ["restore", str(model / "sample_input.tif"), "--output", str(tmp_path / "restored")],
        ["verify", str(package), "--rules-only", "--unproven-is-fine"],
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert len(list((tmp_path / "restored").glob("*.tif"))) == 1


def test_what_needs_tensorflow_says_so(tmp_path: Path) -> None:
    done = _without_tensorflow(["--output", str(tmp_path / "exported")])
    assert done.returncode == 2, done.stderr
    assert "this needs" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "exported").exists()


def zipped(folder: Path) -> Path:
    """A package of any weights: its rules are read, nothing is run."""
    net = factories.network()
    sample = Sample(
        np.arange(48 * 64, dtype=np.uint16).reshape(1, 48, 64),
        np.linspace(0, 1, 96 * 128, dtype=np.float32).reshape(1, 96, 128),
        None,
        "ramp",
    )
    artifact = known.write(net, folder / known.FILE)
    return write_packages(factories.description(net, (artifact,), sample), folder).bioimageio


LINES, PARAMETERS, NESTING = 60, 7, 4
_BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match)


@cache
def _functions() -> list[tuple[str, ast.FunctionDef]]:
    found = []
    for path in sorted((ROOT / "w2s_export").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                name = f"{path.relative_to(ROOT / 'w2s_export').as_posix()}: {node.name}"
                found.append((name, node))
    return found


def _parameters(function: ast.FunctionDef) -> int:
    named = function.args
    every = [*named.posonlyargs, *named.args, *named.kwonlyargs]
    return len([one for one in every if one.arg not in ("self", "cls")])


def _nesting(node: ast.AST, within: int = 0) -> int:
    """How deep blocks lie; `elif` is no deeper than its `if`, a function inside is apart."""
    deepest = within
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        chained = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        deeper = isinstance(child, _BLOCKS) and not chained
        deepest = max(deepest, _nesting(child, within + deeper))
    return deepest


def test_functions_stay_short() -> None:
    found = _functions()
    assert len(found) > 1000
    long = {
        name: lines
        for name, function in found
        if (lines := function.end_lineno - function.lineno + 1) > LINES
    }
    assert long == {}


def test_functions_take_few_parameters() -> None:
    many = {name: count for name, f in _functions() if (count := _parameters(f)) > PARAMETERS}
    assert {name: count for name, count in many.items() if not name.startswith("cli/")} == {}


def test_functions_are_not_nested_deeply() -> None:
    assert {name: deep for name, f in _functions() if (deep := _nesting(f)) > NESTING} == {}


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="runs in one process")
@pytest.mark.xdist_group("grouped")
def test_xdist_groups_tests(request: pytest.FixtureRequest) -> None:
    """By the names of tests. Else each process makes what a group shares, and all takes longer."""
    assert request.node.nodeid.endswith("@grouped")
