"""bioimageio.core's own test in the worker, and what it settles."""

from __future__ import annotations

import io
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from w2s_export.metrics.parity import Parity
from w2s_export.verify.clients import core_program, core_tests
from w2s_export.verify.clients.core_tests import CoreTest, Result
from w2s_export.verify.core_verdict import settle, unproven_clients
from w2s_export.verify.findings import Client, Code, Finding, Severity
from w2s_export.verify.report import Gathered, Kind
from w2s_export.verify.verdicts import Answer, judge
from w2s_export.verify.worker import jobs, program

from .conftest import copy, exchange, npy

CORES = {Client.core_0_10, Client.core_0_11, Client.zoo}


def test_core_refuses_a_wrong_test_output(good, tmp_path):
    shifted = npy(np.roll(good.description.sample.restored[None], 1, -1))
    broken = copy(good.packages.deepimagej, tmp_path, exchange("test_output.npy", shifted))
    nothing = tmp_path / "nothing.zip"
    with core_tests.core_program([tmp_path], ["onnx"]) as core:
        wrong, absent = core.test([broken, nothing]).finish()
    assert (wrong.package, wrong.format, wrong.result) == (broken.name, "onnx", Result.failed)
    assert any("disagree with expected values" in error for error in wrong.errors)
    assert absent.result is Result.not_run


def test_a_program_that_hangs_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "TIME_LIMIT", 0.01)
    with core_tests.core_program([tmp_path], ["onnx"]) as core:
        (test,) = core.test([tmp_path / "nothing.zip"]).finish()
    assert test.result is Result.not_run
    assert "had not finished after 0.01 s" in test.errors[0]


def found(code: Code, *clients: Client, **about: str) -> Finding:
    return Finding(code, "somewhere", "", clients=clients, package="m.zip", **about)


def answers(findings: list[Finding], *tests: CoreTest) -> dict[Client, Answer]:
    gathered = Gathered(findings=list(findings))
    settle(gathered, tests)
    return {v.client: v.would for v in judge("m.zip", gathered.findings, tuple(Client))}


PASSED = CoreTest("m.zip", "onnx", Result.passed)
FAILED = CoreTest("m.zip", "onnx", Result.failed, ("wrong",))


def test_what_core_refuses_is_refused_whatever_the_rules_say():
    said = answers([], FAILED)
    assert {client for client, answer in said.items() if answer is Answer.refuses} == CORES
    gathered = Gathered()
    settle(gathered, (FAILED,))
    assert [finding.code for finding in gathered.findings] == [
        Code.core_test_failed,
        Code.core_disagrees,
    ]


@pytest.mark.parametrize(
    ("finding", "refusing"),
    [
        # a rule about core 0.11 that its own test refutes
        (found(Code.halo_too_large, *CORES), set()),
        (found(Code.onnx_ir_too_new, Client.deepimagej_3_1, *CORES), {Client.deepimagej_3_1}),
        (found(Code.hash_mismatch), set(Client) - CORES),
        # rules about others alone explain why they differ
        (
            found(Code.documents_as_mappings, Client.core_0_10, Client.zoo),
            CORES - {Client.core_0_11},
        ),
        (found(Code.zip_not_flat, Client.zoo), {Client.zoo}),
        # weights that were not tested
        (found(Code.saved_model_tag, *CORES, format="tensorflow_saved_model_bundle"), CORES),
    ],
)
def test_what_core_accepts_is_accepted_unless_a_rule_explains_it(finding, refusing):
    said = answers([finding], PASSED)
    assert {client for client, answer in said.items() if answer is Answer.refuses} == refusing


def test_a_disagreement_names_both():
    gathered = Gathered(findings=[found(Code.halo_too_large, *CORES)])
    settle(gathered, (PASSED,))
    (finding,) = gathered.findings
    assert (finding.code, finding.severity) == (Code.core_disagrees, Severity.note)
    assert "halo-too-large" in finding.message


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        # core refuses this package, and the control too: its environment is at fault
        (lambda path: "boom", "unavailable"),
        # core refuses this package alone
        (lambda path: "boom" if path.name != "control.zip" else "", "errors"),
        (lambda path: "", "passed"),
    ],
)
def test_a_broken_environment_is_told_from_a_broken_package(
    good, tmp_path, monkeypatch, says, expected
):
    def test_description(path, **_):
        if message := says(path):
            raise RuntimeError(message)
        return types.SimpleNamespace(details=[], status="passed")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(core_program, "prepare", lambda formats: None)
    core = types.SimpleNamespace(test_description=test_description)
    monkeypatch.setitem(sys.modules, "bioimageio.core", core)
    core_program.why_core_refuses_everything.cache_clear()
    found = core_program.test(good.packages.bioimageio, "onnx")
    core_program.why_core_refuses_everything.cache_clear()
    assert found.get("passed", False) is (expected == "passed")
    if expected == "unavailable":
        assert "RuntimeError: boom" in found["unavailable"]
    else:
        assert bool(found["errors"]) is (expected == "errors")


def test_the_control_is_right(tmp_path):
    control = core_program.write_control(tmp_path)
    with core_tests.core_program([tmp_path], ["onnx"]) as core:
        (test,) = core.test([control]).finish()
    assert (test.result, test.errors) == (Result.passed, ())


@pytest.mark.parametrize("result", [Result.not_run, Result.unavailable])
def test_a_test_that_was_not_made_says_nothing_of_the_package(result):
    said = answers(
        [found(Code.halo_too_large, *CORES)], CoreTest("m.zip", "onnx", result, ("why",))
    )
    assert {client for client, answer in said.items() if answer is Answer.refuses} == CORES
    assert Answer.refuses not in answers([], CoreTest("m.zip", "onnx", result)).values()


BOTH = ("onnx", "tensorflow_saved_model_bundle")
DEEPIMAGEJ_2 = {Client.deepimagej_2_1, Client.deepimagej_3_0}


@pytest.mark.parametrize(
    ("stated", "compared", "passed", "expected"),
    [
        (BOTH, BOTH, (), set()),
        (BOTH, BOTH[:1], BOTH[1:], set()),
        # no TensorFlow here: core takes the SavedModel first, the zoo tests it
        (BOTH, BOTH[:1], (), DEEPIMAGEJ_2 | CORES),
        (BOTH, (), BOTH[:1], DEEPIMAGEJ_2 | CORES),
        (BOTH[:1], BOTH[:1], (), DEEPIMAGEJ_2),
        (("keras_hdf5",), (), ("keras_hdf5",), set(Client) - CORES),
    ],
)
def test_all_that_core_would_run_must_have_been_run(
    stated: tuple[str, ...],
    compared: tuple[str, ...],
    passed: tuple[str, ...],
    expected: set[Client],
) -> None:
    gathered = Gathered()
    for name in compared:
        same = Parity(name, "test tensors", (1, 1, 4, 4), 0.0, 0.0, 99.0)
        gathered.compared(same, Kind.output, "test", package="m.zip", weights_format=name)
    tests = [CoreTest("m.zip", name, Result.passed) for name in passed]
    assert set(unproven_clients("m.zip", gathered, tests, stated)) == expected


@pytest.mark.parametrize("do", ["run", "test"])
def test_a_library_that_is_missing_here_is_not_the_weights_fault(
    do: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = {"number": 1, "do": do, "format": "tensorflow_saved_model_bundle", "package": "p.zip"}
    monkeypatch.setattr(program, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(job)))
    program.main([str(tmp_path)])
    assert json.loads((tmp_path / "1.json").read_text()).keys() == {"withheld"}
