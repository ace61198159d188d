from __future__ import annotations

import json
import math

import pytest

from w2s_export.errors import OutputError
from w2s_export.metrics.parity import Parity
from w2s_export.restore.halo import HaloMeasurement
from w2s_export.verify.cases import noise_cases
from w2s_export.verify.clients.core_tests import CoreTest
from w2s_export.verify.findings import Client, Code, Finding, Severity
from w2s_export.verify.report import PackageFacts, VerificationReport


def report(*findings):
    clients = (Client.deepimagej_3_1, Client.zoo)
    return VerificationReport(
        packages=(PackageFacts("m.zip", "ab", 3, {"rdf.yaml": "cd"}, clients),),
        findings=findings,
        parity=(
            Parity("ONNX Runtime", "sample", (1, 1, 4, 4), 0.0, 0.0, math.inf),
            Parity("TensorFlow", "sample", (1, 1, 4, 4), math.inf, math.inf, -math.inf),
        ),
        core_tests=(CoreTest("m.zip", "onnx", True, (), 1.5),),
        halo=HaloMeasurement(2, 5, 1e-4, ((0, 0.5), (1, math.nan))),
        tolerance=1e-4,
        seam_limit=1e-3,
        seconds={"client rules": 0.1},
    )


ERROR = Finding(Code.onnx_ir_too_new, "m.zip: w.onnx", "IR 14", clients=(Client.deepimagej_3_1,))
WARNING = Finding(Code.license_unknown, "m.zip: license", "", Severity.warning, (Client.zoo,))
FOR_ALL = Finding(Code.output_differs, "m.zip: w.onnx", "differs")


def test_warnings_do_not_fail():
    assert report().passed
    assert report(WARNING).passed
    assert not report(WARNING, ERROR).passed


@pytest.mark.parametrize(
    ("finding", "deepimagej", "zoo"),
    [(WARNING, True, True), (ERROR, False, True), (FOR_ALL, False, False)],
)
def test_a_client_refuses_what_it_minds(finding, deepimagej, zoo):
    assert report(finding).verdicts() == {
        ("m.zip", Client.deepimagej_3_1): deepimagej,
        ("m.zip", Client.zoo): zoo,
    }


def test_json_is_strict_and_complete(tmp_path):
    report(ERROR).write_json(tmp_path / "report.json")
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    written = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    assert written["passed"] is False
    assert written["findings"][0]["code"] == "onnx-ir-too-new"
    assert written["findings"][0]["clients"] == ["DeepImageJ 3.1"]
    equal, different = written["parity"]
    assert (equal["max_abs"], equal["psnr_db"]) == (0.0, "inf")
    assert (different["max_relative"], different["psnr_db"]) == ("inf", "-inf")
    assert written["halo"]["seams"] == [
        {"halo": 0, "max_relative": 0.5},
        {"halo": 1, "max_relative": "nan"},
    ]
    assert written["packages"][0]["files"] == {"rdf.yaml": "cd"}
    assert {"python", "numpy", "onnxruntime", "bioimageio.core"} <= set(written["environment"])


def test_an_unwritable_place_is_refused(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        report().write_json(tmp_path / "missing" / "report.json")


def test_tables_hold_what_there_is():
    good = {table.title: table for table in report().tables()}
    assert "Findings" not in good
    assert good["The same image in every format"].rows[0][-1] == "equal"
    bad = {table.title: table for table in report(ERROR).tables()}
    assert bad["Findings"].rows[0][1] == "onnx-ir-too-new"
    assert ("m.zip", "DeepImageJ 3.1", "refuses") in bad["Clients"].rows
    for table in bad.values():
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_codes_are_distinct():
    assert len({code.value for code in Code}) == len(Code)


@pytest.mark.parametrize("step", [1, 2, 4])
def test_noise_is_of_the_sizes_that_go_wrong(step):
    least, odd, batch = (case.batch for case in noise_cases(3, 10 * step, step))
    assert least.shape == (1, 3, 10 * step, 10 * step)
    assert odd.shape[2] != odd.shape[3]
    assert all(size % step == 0 and size // step % 2 == 1 for size in odd.shape[2:])
    assert batch.shape[0] == 2
    assert abs(batch[0] - batch[1]).max() > 0.5
