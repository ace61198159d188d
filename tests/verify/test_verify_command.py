"""`w2s-export verify`: its table, its JSON, its exit codes, and what it does not import."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys

import pytest

from w2s_export.cli import run
from w2s_export.package.opening import OpenedPackage
from w2s_export.verify.findings import Client
from w2s_export.verify.verdicts import CLIENT_NAMES, Answer, named_clients

from .conftest import copy, rdf


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def test_a_good_package_is_taken(good, wide, capsys):
    assert run(["verify", str(good.packages.deepimagej), "--rules-only"]) == 0
    said = capsys.readouterr().out
    for client in Client:
        assert client.value in said
    assert "refuses" not in said


def test_a_finding_is_printed_with_its_reason_and_remedy(good, tmp_path, wide, capsys):
    change = rdf(lambda rdf: rdf["config"]["deepimagej"].update(allow_tiling=False))
    broken = copy(good.packages.deepimagej, tmp_path, change)
    assert run(["verify", str(broken), "--rules-only"]) == 1
    said = capsys.readouterr().out
    assert "deepimagej-tiling" in said
    assert "set allow_tiling: true" in said
    assert "without it every reference-tensor model breaks in 3.1" in said


@pytest.mark.parametrize(
    ("clients", "code"),
    [
        ([], 0),  # format 0.5 is not meant for 2.1 and 3.0
        (["--client", "deepimagej-2.1"], 1),
        (["--client", "deepimagej-3.1"], 0),
        (["--client", "deepimagej"], 1),
        (["--client", "core", "--client", "zoo"], 0),
        (["--client", "zoo", "deepimagej-3.0"], 1),
        (["--client", "icy"], 2),
    ],
)
def test_the_exit_code_is_of_the_clients_asked_about(good, capsys, clients, code):
    assert run(["verify", str(good.packages.bioimageio), "--rules-only", *clients]) == code


def test_json_is_the_whole_report(good, tmp_path, capsys):
    change = rdf(lambda rdf: rdf.pop("name"))
    broken = copy(good.packages.bioimageio, tmp_path, change)
    assert run(["verify", str(broken), "--rules-only", "--json"]) == 1
    report = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert [verdict["client"] for verdict in report["verdicts"]] == [c.value for c in Client]
    assert {verdict["would"] for verdict in report["verdicts"]} == {"refuses"}
    assert "name-missing" in {finding["code"] for finding in report["findings"]}
    assert report["packages"][0]["format_version"] == "0.5.10"


def test_only_who_is_asked_is_shown(good, wide, capsys):
    package = str(good.packages.bioimageio)
    assert run(["verify", package, "--rules-only", "--client", "deepimagej-2.1"]) == 1
    said = capsys.readouterr().out
    assert "refuses" in said
    assert "format-unsupported" in said
    for client in set(Client) - {Client.deepimagej_2_1}:
        assert client.value not in said


def test_nobody_submits_a_package_without_a_maintainer(good, tmp_path, wide, capsys):
    orphan = copy(good.packages.bioimageio, tmp_path, rdf(lambda rdf: rdf.pop("maintainers")))
    assert run(["verify", str(orphan), "--rules-only"]) == 0
    capsys.readouterr()
    assert run(["verify", str(orphan), "--rules-only", "--client", "zoo"]) == 1
    said = capsys.readouterr().out
    assert "not meant for" in said
    assert "accepts" not in said


def torchscript_alone(files: dict[str, bytes]) -> None:
    """Weights that are never run here, so that nothing can be compared."""

    def edit(description):
        source = {**description["weights"]["onnx"], "pytorch_version": "2.4"}
        del source["opset_version"]
        source.pop("parent", None)
        description["weights"] = {"torchscript": source}

    rdf(edit)(files)


def test_what_is_not_compared_is_not_accepted(good, tmp_path, wide, capsys):
    package = str(copy(good.packages.bioimageio, tmp_path, torchscript_alone))
    assert run(["verify", package, "--client", "core-0.11"]) == 1
    said = capsys.readouterr().out
    assert "unproven" in said
    assert "accepts" not in said
    assert "weights-not-run" in said
    assert run(["verify", package, "--client", "core-0.11", "--unproven-is-fine"]) == 0


def test_the_help_says_what_the_words_and_codes_mean(capsys):
    assert run(["verify", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for words in ("Exit code 0:", "1:", "2:", *(answer.words for answer in Answer)):
        assert words in said


def test_the_page_is_written(good, tmp_path, wide, capsys):
    page = tmp_path / "page.html"
    command = ["verify", str(good.packages.deepimagej), "--rules-only", "--page", str(page)]
    assert run(command) == 0
    assert "DeepImageJ 2.1 accepts, DeepImageJ 3.0 accepts" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [None, b""])
def test_bad_input(tmp_path, capsys, content):
    path = tmp_path / "package.zip"
    if content is not None:
        path.write_bytes(content)
    assert run(["verify", str(path), "--rules-only"]) == (2 if content is None else 1)
    assert "Traceback" not in "".join(capsys.readouterr())


def test_clients_are_named_by_how_they_begin():
    assert named_clients(["deepimagej"]) == tuple(Client)[:3]
    assert named_clients(["ZOO", "core-0.11", "zoo"]) == (Client.zoo, Client.core_0_11)
    assert set(CLIENT_NAMES.values()) == set(Client)


def test_rules_alone_are_quick_and_need_no_framework(good, tmp_path):
    """Nothing heavy, nothing left behind; the validator, imported in haste, still finds a fault."""
    program = (
        "import sys, time\n"
        "from w2s_export.cli import run\n"
        "code = run(['verify', sys.argv[1], '--rules-only'])\n"
        "heavy = {'tensorflow', 'keras', 'onnx', 'onnxruntime', 'bioimageio.core', 'torch'}\n"
        "print(code, time.process_time(), sorted(heavy & set(sys.modules)))\n"
        "run(['verify', sys.argv[2], '--rules-only', '--json'])\n"
    )
    nameless = rdf(lambda description: description.update(authors=["Ada"]))
    (tmp_path / "work").mkdir()
    packages = (good.packages.bioimageio, copy(good.packages.bioimageio, tmp_path, nameless))
    command = [sys.executable, "-c", program, *map(str, packages)]
    folder = tmp_path / "work"
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
    said, report = done.stdout[: (start := done.stdout.index("\n{") + 1)], done.stdout[start:]
    code, seconds, heavy = said.splitlines()[-1].split(maxsplit=2)
    assert (code, heavy) == ("0", "[]")
    assert float(seconds) < 4  # of processor time: 2.5 on two loaded cores with AVX2
    found = [one for one in json.loads(report)["findings"] if one["code"] == "rdf-invalid"]
    assert "authors" in found[0]["where"]
    assert list(folder.iterdir()) == []


def test_a_package_beside_the_reports_of_another_run_is_told(good, other, tmp_path, capsys):
    """As after files of two runs were copied into one folder."""
    package = good.packages.bioimageio
    for name, command in (("report.json", ["--json"]), ("report.html", [])):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copyfile(other.packages.bioimageio, folder / package.name)
        path = str(folder / package.name)
        page = [] if command else ["--page", str(folder / name)]
        assert run(["verify", path, "--rules-only", *command, *page]) == 0
        if command:
            (folder / name).write_text(capsys.readouterr().out)
        assert found(path, capsys) == set()
        shutil.copyfile(package, path)
        assert found(path, capsys) == {("report-of-another-run", "warning", name)}
        shutil.copyfile(package, folder / "else.zip")
        assert found(str(folder / "else.zip"), capsys) == set()


def found(path, capsys):
    capsys.readouterr()
    assert run(["verify", path, "--rules-only", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    return {(f["code"], f["severity"], f["where"]) for f in findings if "report" in f["where"]}


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"report": ' + b"9" * 5000 + b"}", b"\xff\xfe", b"[1]", b"{}", None],
)
def test_what_only_has_the_name_of_a_report_says_nothing(good, tmp_path, capsys, content):
    path = tmp_path / "p.zip"
    shutil.copyfile(good.packages.bioimageio, path)
    for name in ("report.json", "report.html"):
        if content is None:
            os.mkfifo(tmp_path / name)
        else:
            (tmp_path / name).write_bytes(content)
    assert found(str(path), capsys) == set()


def test_a_full_disk_is_no_verdict(good, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(OpenedPackage, "extract", full)
    assert run(["verify", str(good.packages.bioimageio)]) == 2
    assert "disk-full" in capsys.readouterr().out
