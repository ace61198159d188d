from __future__ import annotations

import numpy as np
import pytest

from w2s_export.verify.clients import core_tests as module
from w2s_export.verify.clients.core_tests import core_program, core_tests

from .conftest import copy, exchange, npy


@pytest.mark.slow
def test_core_refuses_a_wrong_test_output(good, tmp_path, monkeypatch):
    shifted = npy(np.roll(good.description.sample.restored[None], 1, -1))
    broken = copy(good.packages.deepimagej, tmp_path, exchange("test_output.npy", shifted))
    nothing = tmp_path / "nothing.zip"
    with core_program(["onnx"]) as core, core_tests([broken, nothing], core) as under_way:
        wrong, absent = under_way.finish()
    assert (wrong.package, wrong.passed) == (broken.name, False)
    assert "disagree with expected values" in wrong.errors[0]
    # the second one ends the program; what it said is kept
    assert not absent.passed
    assert "crashed" in absent.errors[0]


def test_a_program_that_hangs_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIME_LIMIT", 0.01)
    with core_program(["onnx"]) as core, core_tests([tmp_path / "nothing.zip"], core) as under_way:
        (test,) = under_way.finish()
        process = under_way._workers[0]._process
    assert not test.passed
    assert "had not finished after 0.01 s" in test.errors[0]
    assert process.poll() is not None
