"""The engine of a run: tried where memory and time allow, and told in JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.inputs import image, noise
from tests.restore.conftest import MakeNetwork
from w2s_export.cli import run
from w2s_export.package.archive import Packages
from w2s_export.restore.engines import open_engines
from w2s_export.runtime.choose import Candidate
from w2s_export.runtime.trial import AutoRuntime

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
PLENTY = 8 << 30


def tried(network: object, memory: int) -> set[str]:
    engines = open_engines(network, "auto", 1, 32, memory, 0)  # type: ignore[arg-type]
    runtime = engines.runtime.runtime
    assert isinstance(runtime, AutoRuntime)
    return set(runtime.candidates)


def test_the_fast_graph_is_tried_where_there_is_one_and_memory(
    box_network: MakeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Candidate("other", lambda: None, 1)  # type: ignore[arg-type, return-value]
    monkeypatch.setattr("w2s_export.restore.engines.candidates", lambda *_, **__: iter([other]))
    network = box_network()
    fast = replace(network, fast=lambda: network.onnx)
    assert tried(network, PLENTY) == {"other"}
    assert tried(fast.for_other_engines(PLENTY), PLENTY) == {"other", "cpu-fast"}
    assert tried(fast.for_other_engines(3 << 30), 3 << 30) == {"other"}
    assert tried(network, 1 << 30) == set()
    little = open_engines(network, "auto", 1, 32, 1 << 30, 0).choice
    assert little.reason == "untried"


def test_there_is_room_for_the_engines_that_are_tried(box_network: MakeNetwork) -> None:
    network = box_network()
    fast = replace(network, fast=lambda: network.onnx)
    direct = network.bytes_per_pixel
    assert network.for_other_engines(PLENTY).bytes_per_pixel > 1.15 * direct  # OpenVINO's
    assert fast.for_other_engines(PLENTY).bytes_per_pixel > 1.84 * direct


@pytest.mark.parametrize(("engine", "reasons"), [("auto", {"short", "only"}), ("cpu", {"asked"})])
def test_the_engine_is_told(
    packages: Packages,
    tmp_path: Path,
    engine: str,
    reasons: set[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = image(tmp_path / "i.tif", noise(50, 41))
    common = ["restore", source, "--package", str(packages.bioimageio), "--engine", engine]
    assert run([*common, "--output", str(tmp_path / "a"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["engine"]
    assert told["name"].startswith("ONNX Runtime")
    assert told["reason"] in reasons
    assert run([*common, "--output", str(tmp_path / "b")]) == 0
    assert f"Engine: {told['name']}, " in capsys.readouterr().out
