"""The public functions: three lines in a notebook cell, lazy, with the command line's keywords."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import w2s_export as w2s
from tests.inputs import checkpoint, noise

ROOT = Path(__file__).resolve().parents[1]


def test_a_cell_of_three_lines(tmp_path: Path) -> None:
    """Restore an array, export, verify, in a script without a main guard; nothing is left.

    Weights are run in processes of their own, which bioimageio.core's own test would share.
    """
    weights = checkpoint(tmp_path / "net.npz", strength=0.05)
    np.save(tmp_path / "image.npy", noise(64, 48))
    program = (
        "import os, numpy as np, w2s_export as w2s\n"
        "before = dict(os.environ)\n"
        f"image = np.load({str(tmp_path / 'image.npy')!r})\n"
        f"restored = w2s.restore(image, weights={str(weights)!r})\n"
        "from pytest import MonkeyPatch; from tests.core_unasked import leave_core_out\n"
        "with MonkeyPatch.context() as patch:\n"
        "    leave_core_out(patch)\n"
        f"    made = w2s.export({str(weights)!r}, output={str(tmp_path / 'out')!r})\n"
        "    report = w2s.verify(made.packages.bioimageio)\n"
        "assert len({row.subject for row in report.parity}) == 2, report.parity\n"
        "assert restored.shape == (128, 96) and restored.dtype == np.float32\n"
        "changed = {k for k in {*before, *os.environ} if before.get(k) != os.environ.get(k)}\n"
        "assert not {name for name in changed if name.startswith(('TF_ENABLE', 'W2S'))}, changed\n"
        "assert w2s.export is not None and callable(w2s.export)\n"
        "print(sorted({v.answer.value for v in report.verdicts}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "accepts" in done.stdout


@pytest.mark.parametrize("name", ["load", *w2s.__all__[1:8]])
def test_functions_stay_callable_beside_rooms_of_their_name(name: str) -> None:

    function = getattr(w2s, name)
    assert callable(function)
    shown = inspect.signature(function)
    assert all(
        parameter.kind is parameter.KEYWORD_ONLY
        for parameter in list(shown.parameters.values())[1:]
        if parameter.kind is not parameter.VAR_KEYWORD
    )
    assert w2s_export_room() is sys.modules["w2s_export.restore.batch"]


def w2s_export_room() -> object:
    import w2s_export.restore.batch as room

    return room


def test_every_public_name_is_there() -> None:
    for name in w2s.__all__:
        assert getattr(w2s, name).__doc__


@pytest.mark.parametrize("name", w2s.__all__[1:8])
def test_the_help_of_a_command_and_of_its_function_are_one(name: str) -> None:
    from w2s_export import api
    from w2s_export.cli.app import app

    command = app if name == "export" else app[name]
    typed = {
        argument.name.removeprefix("--").replace("-", "_"): argument.parameter.help
        for argument in command.assemble_argument_collection()
    }
    function = getattr(api, name)
    keywords = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in ("progress", "axes")
    ]
    assert len(keywords) > 1
    for keyword in keywords:
        assert len(typed[keyword]) > 10
        assert f" {keyword}: {typed[keyword]} " in " ".join(inspect.getdoc(function).split()) + " "


def test_a_wrong_keyword_is_named() -> None:
    with pytest.raises(TypeError, match="wieghts"):
        w2s.export(wieghts="generator.pth")
    with pytest.raises(TypeError, match="axes"):
        w2s.restore("cell.tif", output="restored", axes="HW")


def test_importing_loads_nothing_heavy() -> None:
    program = (
        "import sys, w2s_export; w2s_export.load; w2s_export.Network; "
        "print({'tensorflow', 'onnx', 'torch', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("images", "keywords", "named"),
    [
        (np.ones((32, 32)), {"engine": "cpu"}, "of an array .*'engine'"),
        ("a.tif", {"output": "x", "axes": "HW"}, "of files .*'axes'"),
        ("a.tif", {}, "of files .*'output'"),
    ],
)
def test_a_keyword_of_the_other_kind_is_named(images: object, keywords: dict, named: str) -> None:
    with pytest.raises(TypeError, match=named):
        w2s.restore(images, **keywords)
