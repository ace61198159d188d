from __future__ import annotations

import json
import math
import re
from pathlib import Path

import jsonschema
import pytest

from w2s_export.errors import OutputError
from w2s_export.metrics.parity import Parity
from w2s_export.restore.halo import HaloMeasurement
from w2s_export.verify.cases import noise_cases
from w2s_export.verify.clients.core_tests import CoreTest, Result
from w2s_export.verify.findings import Client, Code, Finding, Severity
from w2s_export.verify.report import Gathered, Kind, PackageFacts, Report
from w2s_export.verify.verdicts import Answer, judge

SCHEMA = json.loads(
    (Path(__file__).resolve().parents[2] / "docs" / "report.schema.json").read_text("utf-8")
)
CLIENTS = (Client.deepimagej_3_1, Client.zoo)


def rows(package: str = "m.zip"):
    gathered = Gathered()
    for subject, far in (("ONNX Runtime", 0.0), ("TensorFlow", math.inf)):
        measured = Parity(subject, "sample", (1, 1, 4, 4), far, far, -far if far else math.inf)
        gathered.compared(
            measured, Kind.output, "Keras", package=package, weights_format=subject.lower()
        )
    return tuple(gathered.comparisons)


HALO = HaloMeasurement(2, 5, 1e-4, ((0, 0.5), (1, math.nan)))


def report(*findings, asked=(), halo=HALO):
    return Report(
        packages=(PackageFacts("m.zip", "0.5.10", "ab" * 32, 3, {"rdf.yaml": "cd" * 32}, CLIENTS),),
        verdicts=judge("m.zip", findings, CLIENTS, asked=asked),
        findings=findings,
        parity=rows(),
        core_tests=(CoreTest("m.zip", "onnx", Result.passed, (), 1.5),),
        seconds={"client rules": 0.1},
        tolerance=1e-4,
        asked=asked,
        environment={"versions": {"numpy": "2"}, "patched": ["x"], "isolation": []},
        halo=halo,
        seam_limit=1e-3,
    )


def finding(code, severity=Severity.error, *clients):
    return Finding(code, "w.onnx", "said", severity, clients, package="m.zip")


ERROR = finding(Code.onnx_ir_too_new, Severity.error, Client.deepimagej_3_1)
WARNING = finding(Code.license_unknown, Severity.warning, Client.zoo)
FOR_ALL = finding(Code.output_differs)
BROKEN = finding(Code.internal_error, Severity.warning, Client.zoo)
NOTE = finding(Code.not_compared, Severity.note)
FOR_OTHERS = finding(Code.format_unsupported, Severity.error, Client.deepimagej_2_1)


def answers(report: Report) -> list[str]:
    return [v.answer.value for v in report.verdicts if v.client in CLIENTS]


@pytest.mark.parametrize(
    ("findings", "deepimagej", "zoo"),
    [
        ((), "accepts", "accepts"),
        ((NOTE,), "accepts", "accepts"),
        ((WARNING,), "accepts", "accepts-with-warnings"),
        ((ERROR,), "refuses", "accepts"),
        ((FOR_ALL, BROKEN), "refuses", "refuses"),
        ((BROKEN,), "accepts", "unproven"),
        ((FOR_OTHERS,), "accepts", "accepts"),
    ],
)
def test_a_client_answers_by_what_it_minds(findings, deepimagej, zoo):
    said = report(*findings)
    assert answers(said) == [deepimagej, zoo]
    assert said.passed is not bool({deepimagej, zoo} & {"refuses", "unproven"})


def test_a_package_is_meant_for_some():
    said = {v.client: (v.answer, v.would) for v in report(FOR_OTHERS).verdicts}
    assert said[Client.deepimagej_2_1] == (Answer.not_meant, Answer.refuses)
    assert said[Client.core_0_11] == (Answer.not_meant, Answer.accepts)


@pytest.mark.parametrize(
    ("asked", "barred", "answer"),
    [
        ((), (), Answer.not_meant),
        ((Client.zoo,), (), Answer.accepts),
        ((Client.zoo,), (Client.zoo,), Answer.not_meant),
    ],
)
def test_who_is_asked_is_judged_by_what_it_would_do(asked, barred, answer):
    verdicts = judge("m.zip", (), (Client.core_0_11,), asked=asked, barred=barred)
    assert verdicts[-1].client is Client.zoo
    assert verdicts[-1].answer is answer


def test_nothing_compared_is_not_accepted():
    verdicts = judge("m.zip", (WARNING,), CLIENTS, unproven=CLIENTS)
    assert {v.answer for v in verdicts if v.meant} == {Answer.unproven}


@pytest.mark.parametrize(
    "said", [report(), report(ERROR, BROKEN, NOTE), report(WARNING, asked=(Client.zoo,), halo=None)]
)
def test_json_is_strict_and_as_its_schema_says(tmp_path, said):
    said.write_json(tmp_path / "report.json")
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    written = json.loads((tmp_path / "report.json").read_text("utf-8"), parse_constant=pytest.fail)
    jsonschema.Draft202012Validator(SCHEMA).validate(written)
    equal, different = written["parity"]
    assert (equal["max_abs"], equal["psnr_db"]) == (0.0, "inf")
    assert (different["max_relative"], different["psnr_db"]) == ("inf", "-inf")


def test_the_schema_knows_every_word():
    """Of the program; and nothing that it never says."""
    definitions = SCHEMA["$defs"]
    assert set(definitions["client"]["enum"]) == {client.value for client in Client}
    assert set(definitions["answer"]["enum"]) == {answer.value for answer in Answer}
    assert all(re.fullmatch(definitions["code"]["pattern"], code.value) for code in Code)
    assert set(definitions["result"]["enum"]) == {result.value for result in Result}
    assert set(definitions["kind"]["enum"]) == {kind.value for kind in Kind}
    assert set(definitions["severity"]["enum"]) == {severity.value for severity in Severity}


@pytest.mark.parametrize(
    ("part", "value"),
    [("version", 1), ("extra", 1), ("verdicts", [{"client": "Icy"}]), ("passed", "yes")],
)
def test_the_schema_refuses_what_is_no_report(part, value):
    wrong = {**report().as_json(), part: value}
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(wrong)


def test_an_unwritable_place_is_refused(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        report().write_json(tmp_path / "missing" / "report.json")


def test_tables_hold_what_there_is():
    tables = {table.title: table for table in report(ERROR).tables()}
    assert tables["The same image in every format"].rows[0][-1] == "equal"
    assert ("m.zip", "DeepImageJ 3.1", "refuses", "onnx-ir-too-new") in tables["Clients"].rows
    for table in tables.values():
        assert all(len(row) == len(table.columns) for row in table.rows)
    asked = {table.title: table for table in report(asked=(Client.zoo,)).tables()}
    assert [row[1] for row in asked["Clients"].rows] == ["bioimage.io zoo"]


@pytest.mark.parametrize("step", [1, 2, 3, 4, 8, 16])
def test_noise_is_of_the_sizes_that_go_wrong(step):
    least, odd, batch = (case.batch for case in noise_cases(3, 10 * step, step))
    assert least.shape == (1, 3, 10 * step, 10 * step)
    assert odd.shape[2] != odd.shape[3]
    assert all(size % step == 0 and size // step % 2 == 1 for size in odd.shape[2:])
    assert batch.shape[0] == 2
    assert all(size % step == 0 for size in batch.shape[2:])
    large = noise_cases(3, 10 * step, step, smallest=64)[1:]
    assert min(size for case in large for size in case.batch.shape[2:]) >= 64
    assert abs(batch[0] - batch[1]).max() > 0.5
