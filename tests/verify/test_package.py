"""A stranger's package: any zip gets a verdict, and what only running it shows is found."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import re
import shutil
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from w2s_export.cli import run
from w2s_export.errors import PackageError
from w2s_export.package.opening import OpenedPackage, OpeningFault
from w2s_export.verify import run_weights
from w2s_export.verify.findings import Client, Code, Severity
from w2s_export.verify.rules import registry
from w2s_export.verify.verdicts import Answer
from w2s_export.verify.verify import Report, verify
from w2s_export.verify.worker import jobs

from .conftest import (
    copy,
    exchange,
    flipped_sample,
    npy,
    other_onnx,
    other_output,
    put_at,
    rdf,
    refusing,
    shifted_output,
    tiff,
)

pytestmark = pytest.mark.xdist_group("verified")
JDLL_AND_CORE = {Client.deepimagej_3_1, Client.core_0_10, Client.core_0_11, Client.zoo}


@pytest.fixture(scope="module")
def verified(good) -> dict[str, Report]:
    """Both packages, the weights of one run.

    `test_default_model.py` runs those of a package for DeepImageJ 2.1 and 3.0, `tests/package` has
    core take them.
    """
    return {
        "bioimageio": verify(good.packages.bioimageio),
        "deepimagej": verify(good.packages.deepimagej, rules_only=True),
    }


@pytest.mark.parametrize("kind", ["bioimageio", "deepimagej"])
def test_a_good_package_yields_nothing(verified, kind):
    report = verified[kind]
    meant = {verdict.client for verdict in report.verdicts if verdict.meant}
    assert [f for f in report.findings if not f.clients or meant & set(f.clients)] == []
    assert report.passed
    assert json.loads(json.dumps(report.as_json(), allow_nan=False))["passed"] is True


def test_its_weights_give_its_test_output(verified):
    report = verified["bioimageio"]
    runtimes = {row.subject.split()[0] for row in report.parity}
    assert runtimes == {"ONNX", "TensorFlow"}
    # measured 2e-7; core's default tolerance is 1e-3, a shifted pixel 5e-1
    assert max(row.max_relative for row in report.parity) < 1e-5


def test_core_takes_a_good_package(verified):
    tests = [(test.format, test.passed) for test in verified["bioimageio"].core_tests]
    assert tests == [("tensorflow_saved_model_bundle", True), ("onnx", True)]


def without_tensorflow(good) -> Callable[[dict[str, bytes]], None]:
    """ONNX alone: the checks are the same, and TensorFlow takes seconds to start."""

    def edit(description: dict[str, Any]) -> None:
        description["weights"] = {"onnx": description["weights"]["onnx"]}
        del description["weights"]["onnx"]["parent"]

    return rdf(edit)


@pytest.fixture
def without_core(monkeypatch):
    """Leave bioimageio.core out: seconds a run, and it has its own tests."""
    monkeypatch.setattr(run_weights, "TESTED", ())


def run_faulty(good, tmp_path, *changes) -> Report:
    def change(files: dict[str, bytes]) -> None:
        for each in (without_tensorflow(good), *changes):
            each(files)

    return verify(copy(good.packages.bioimageio, tmp_path, change))


def of_another_image(good, other):
    image = np.flip(good.description.sample.image[None].astype(np.float32), -1)
    return exchange("test_input.npy", npy(np.ascontiguousarray(image)))


def put(path: str, value: Any) -> Callable[[dict[str, bytes]], None]:
    return rdf(lambda description: put_at(description, path, value))


def another_normalisation(good, other):
    return put("inputs.0.preprocessing.0.kwargs.max_percentile", 90.0)


def undescribed_postprocessing(good, other):
    return put("outputs.0.postprocessing", [{"id": "sigmoid"}])


def wrong_factor(good, other):
    """Three times the size: only running the network tells what it returns."""

    def edit(description: dict[str, Any]) -> None:
        for side, scale in (("inputs", 9), ("outputs", 3)):
            for axis in description[side][0]["axes"][2:]:
                axis["scale"] = scale

    return rdf(edit)


def unknown_step(good, other):
    return put("outputs.0.postprocessing", [{"id": "stardist_postprocessing"}])


def blank_sample(good, other):
    image = good.description.sample.image[0]
    return exchange("sample_input.tif", tiff(np.full_like(image, 7)))


def boundless_sample(good, other):
    """A few bytes that claim ten gigapixels."""
    import tifffile

    stream = io.BytesIO(tiff(np.zeros((8, 8), np.uint8)))
    with tifffile.TiffFile(stream, mode="r+") as tif:
        for tag in ("ImageWidth", "ImageLength"):
            tif.pages.first.tags[tag].overwrite(10**5)
    return exchange("sample_input.tif", stream.getvalue())


RUNNING = [
    (shifted_output, Code.test_output_differs, Severity.error),
    (other_output, Code.test_output_differs, Severity.error),
    (of_another_image, Code.test_output_differs, Severity.error),
    (other_onnx, Code.test_output_differs, Severity.error),
    (another_normalisation, Code.test_output_differs, Severity.error),
    (undescribed_postprocessing, Code.test_output_differs, Severity.error),
    (flipped_sample, Code.sample_differs, Severity.warning),
    (wrong_factor, Code.output_off_plan, Severity.error),
    (unknown_step, Code.not_compared, Severity.note),
    (blank_sample, Code.sample_blank, Severity.warning),
    (boundless_sample, Code.not_compared, Severity.note),
]


def name_of(value: object) -> str:
    """The same in every process: xdist compares the names of tests."""
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize(
    ("inflict", "code", "severity"),
    RUNNING,
    ids=name_of,
)
def test_what_only_running_shows_is_found(
    good, other, tmp_path, without_core, inflict, code, severity
):
    report = run_faulty(good, tmp_path, inflict(good, other))
    found = [finding for finding in report.findings if finding.code is code]
    assert found
    assert {finding.severity for finding in found} == {severity}
    refused = refusing(report)
    if severity is Severity.error:
        assert refused >= JDLL_AND_CORE
    elif severity is Severity.warning:
        assert not refused & JDLL_AND_CORE


def two_inputs(swap: bool) -> dict[str, bytes]:
    """A network of two inputs, first − 2·second, and its test tensors in order or swapped."""
    import onnx
    import yaml
    from onnx import TensorProto, helper

    names = ("first", "second", "output")
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 1, "y", "x"]) for name in names
    ]
    nodes = [
        helper.make_node("Add", ["second", "second"], ["twice"]),
        helper.make_node("Sub", ["first", "twice"], ["output"]),
    ]
    graph = helper.make_graph(nodes, "g", values[:2], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    random = np.random.default_rng(5)
    first, second = random.random((2, 1, 1, 16, 20), np.float32)
    files = {"a.npy": npy(first), "b.npy": npy(second), "c.npy": npy(first - 2 * second)}

    def tensor(name: str, file: str, size: Any) -> dict[str, Any]:
        spatial = [{"type": "space", "id": axis, "size": size(axis)} for axis in "yx"]
        channel = {"type": "channel", "channel_names": ["signal"]}
        return {
            "id": name,
            "axes": [{"type": "batch"}, channel, *spatial],
            "test_tensor": {"source": file},
        }

    order = ("b.npy", "a.npy") if swap else ("a.npy", "b.npy")
    description = {
        "format_version": "0.5.10",
        "type": "model",
        "name": "two inputs",
        "description": "A difference.",
        "authors": [{"name": "A. Scientist"}],
        "cite": [{"text": "Arithmetic", "url": "https://example.com"}],
        "license": "MIT",
        "documentation": "README.md",
        "inputs": [
            tensor(name, file, lambda axis: {"min": 4, "step": 1})
            for name, file in zip(names, order, strict=False)
        ],
        "outputs": [tensor("output", "c.npy", lambda a: {"tensor_id": "first", "axis_id": a})],
        "weights": {"onnx": {"source": "w.onnx", "opset_version": 17}},
    }
    files |= {"w.onnx": model.SerializeToString(), "README.md": b"# Use\n"}
    return files | {"rdf.yaml": yaml.safe_dump(description).encode()}


@pytest.mark.parametrize("swap", [False, True])
def test_swapped_inputs_are_found(tmp_path, without_core, swap):
    path = tmp_path / "two.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in two_inputs(swap).items():
            archive.writestr(name, data)
    report = verify(path)
    assert (Code.test_output_differs in {f.code for f in report.findings}) is swap
    assert (Client.core_0_11 in refusing(report)) is swap
    assert Client.deepimagej_3_1 in refusing(report)  # one current image


def entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def appended(name: str, data: bytes = b"x", mode: int = 0o100644) -> Callable[[Path], None]:
    def inflict(path: Path) -> None:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(entry(name, mode), data)

    return inflict


def description(text: bytes) -> Callable[[Path], None]:
    def inflict(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("rdf.yaml", text)

    return inflict


def nested(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/rdf.yaml", "type: model")


def deflated_zeros(path: Path) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.npy", bytes(65 << 20))


def many_small_bombs(path: Path) -> None:
    """No member is large, the whole is: 0.6 GB in 0.7 MB."""
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for index in range(10):
            archive.writestr(f"{index}.npy", bytes(60 << 20))


def crowd(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        for index in range(1001):
            archive.writestr(f"{index}", b"")


def lzma(path: Path) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_LZMA) as archive:
        archive.writestr("packed", b"x" * 99)


def twice(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("README.md", b"")


def encrypted(path: Path) -> None:
    data = bytearray(path.read_bytes())
    place = data.rfind(b"PK\x01\x02")
    flags = struct.unpack_from("<H", data, place + 8)[0]
    struct.pack_into("<H", data, place + 8, flags | 1)
    path.write_bytes(data)


def spoiled_description(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(b"format_version: 0.5.10", b"format_version: 0.5.11", 1))


ALIASES = b"a: &a [x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 10)) for n in range(9)
)
OPENING: list[tuple[OpeningFault, Callable[[Path], object]]] = [
    (OpeningFault.not_a_zip, lambda path: path.write_bytes(b"no zip")),
    (OpeningFault.truncated, lambda path: path.write_bytes(path.read_bytes()[:-900])),
    (OpeningFault.crowded, crowd),
    (OpeningFault.bomb, deflated_zeros),
    (OpeningFault.bomb, many_small_bombs),
    (OpeningFault.escapes, appended("../../escaped")),
    (OpeningFault.link, appended("link", b"/etc/passwd", 0o120777)),
    (OpeningFault.encrypted, encrypted),
    (OpeningFault.compression, lzma),
    (OpeningFault.duplicate, twice),
    (OpeningFault.nested, nested),
    (OpeningFault.rdf_missing, lambda path: zipfile.ZipFile(path, "w").close()),
    (OpeningFault.rdf_damaged, spoiled_description),
    (OpeningFault.rdf_too_large, description(b"#" * (1 << 20) + b"\na: 1")),
    (OpeningFault.rdf_aliases, description(ALIASES)),
    (OpeningFault.rdf_too_deep, description(b"[" * 60 + b"]" * 60)),
    (OpeningFault.rdf_not_yaml, description(b"!!python/object/apply:os.system ['true']\n")),
    (OpeningFault.rdf_not_a_mapping, description(b"- a\n")),
    (OpeningFault.rdf_long_number, description(b"format_version: 0x" + b"f" * 5000)),
]


@pytest.mark.parametrize(("fault", "inflict"), OPENING, ids=name_of)
def test_a_package_that_cannot_be_opened_says_why(good, tmp_path, monkeypatch, fault, inflict):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    path = copy(good.packages.bioimageio, tmp_path, lambda files: None)
    inflict(path)
    report = verify(path)
    (finding,) = report.findings
    assert finding.code.value == fault.value
    assert finding.remedy
    assert refusing(report) == set(Client)
    assert sorted(p.name for p in tmp_path.rglob("*")) == [path.name, "tmp"]


def test_every_reason_not_to_open_is_tried():
    assert {fault for fault, _ in OPENING} == set(OpeningFault) - {OpeningFault.absent}
    assert {fault.value for fault in OpeningFault} <= {code.value for code in Code}


@pytest.mark.parametrize(
    ("make", "message"),
    [(lambda path: None, "cannot be read"), (Path.mkdir, "is a folder")],
    ids=["absent", "a folder"],
)
def test_a_file_that_cannot_be_read_is_bad_input(tmp_path, make, message):
    path = tmp_path / "package.zip"
    make(path)
    with pytest.raises(PackageError, match=message):
        verify(path)


@pytest.mark.parametrize("version", ["0.5." + "9" * 5000, "1:" * 60_000 + "1"])
def test_an_absurd_version_is_no_version(tmp_path, version):
    path = tmp_path / "package.zip"
    description(f"type: model\nformat_version: {version}\n".encode())(path)
    report = verify(path, rules_only=True)
    assert Code.format_unsupported in {finding.code for finding in report.findings}
    assert not report.passed


@pytest.mark.parametrize(
    "text",
    [
        "inputs: [" + "a," * 50_000 + "]",
        "inputs: [" + "{}," * 20_000 + "]",
        "outputs: [{axes: " + "byxc" * 40_000 + "}]",
        "outputs: [{axes: [" + "{type: space}," * 20_000 + "]}]",
        "inputs: [{preprocessing: [" + "{id: x}," * 20_000 + "]}]",
        "inputs: [{axes: [{more: [" + "[]," * 20_000 + "]}]}]",
    ],
)
def test_more_tensors_axes_or_steps_than_any_model_has_are_not_compared(tmp_path, text):
    """Each is looked at beside all others: ten thousand took minutes."""
    path = tmp_path / "package.zip"
    description(f"type: model\nformat_version: 0.5.3\n{text}\n".encode())(path)
    before = time.process_time()
    report = verify(path, rules_only=True)
    assert time.process_time() - before < 10
    assert {finding.code for finding in report.findings} == {Code.rdf_too_large}


def test_what_a_finding_says_is_bounded_and_printable(good, tmp_path, capsys):
    def edit(description: dict[str, Any]) -> None:
        description["weights"] |= {f"\x1b[2J{'k' * 220}{n}": {} for n in range(2000)}
        description["attachments"] = [{"source": f"x{n}"} for n in range(9000)]

    path = copy(good.packages.bioimageio, tmp_path, rdf(edit))
    report = verify(path, rules_only=True)
    assert len(report.findings) > 9000
    for finding in report.findings:
        assert len(finding.where) <= 200
        assert len(finding.message) <= 2000
        assert finding.message.replace("\n", "").isprintable()
    assert run(["verify", str(path), "--rules-only"]) == 1
    said = capsys.readouterr().out
    assert "more of file-missing" in said
    assert len(said) < 100_000


def test_a_package_whose_name_is_no_utf_8_has_a_page(good, tmp_path, capsys):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/p\xff.zip"))
    try:
        shutil.copyfile(good.packages.bioimageio, path)
    except OSError:
        pytest.skip("this file system has UTF-8 names alone")
    page = tmp_path / "p.html"
    assert run(["verify", str(path), "--rules-only", "--page", str(page)]) == 0
    capsys.readouterr().out.encode()
    assert "SHA-256" in page.read_text("utf-8")
    verify(path, rules_only=True).write_json(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["packages"][0]["name"] == path.name


def test_a_full_disk_is_named_and_the_package_not_blamed(good, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(OpenedPackage, "extract", full)
    report = verify(good.packages.bioimageio)
    (finding,) = [f for f in report.findings if f.code is Code.disk_full]
    assert "TMPDIR" in finding.remedy
    assert Code.file_damaged not in {f.code for f in report.findings}
    assert {v.answer for v in report.verdicts if v.meant} == {Answer.unproven}


def test_a_rule_that_breaks_is_our_bug(good, monkeypatch):
    def broken(subject):
        raise ZeroDivisionError("ours")
        yield

    verify(good.packages.bioimageio, rules_only=True)  # registers the rules
    rule = next(rule for rule in registry.RULES if rule.clients == (Client.zoo,))
    monkeypatch.setattr(registry, "RULES", [dataclasses.replace(rule, check=broken)])
    report = verify(good.packages.bioimageio, rules_only=True)
    (finding,) = [f for f in report.findings if f.code is Code.internal_error]
    assert re.search(r"ZeroDivisionError at test_package.py:\d+: ours", finding.message)
    said = {v.client: v.answer for v in report.verdicts}
    assert said[Client.zoo] is Answer.unproven
    assert said[Client.core_0_11] is Answer.accepts
    assert not report.passed


def flip_a_byte(files: dict[str, bytes], name: str) -> None:
    data = bytearray(files[name])
    data[len(data) // 2] ^= 0xFF
    files[name] = bytes(data)


FILES = [
    ("cover.png", Code.file_missing, lambda files: files.pop("cover.png")),
    ("weights.onnx", Code.hash_mismatch, lambda files: flip_a_byte(files, "weights.onnx")),
    ("SavedModel", Code.file_missing, lambda f: f.pop("tensorflow_saved_model_bundle.zip")),
]


@pytest.mark.parametrize(("name", "code", "change"), FILES, ids=[f[0] for f in FILES])
def test_files_are_checked_without_unpacking(good, tmp_path, name, code, change):
    report = verify(copy(good.packages.bioimageio, tmp_path, change), rules_only=True)
    assert code in {finding.code for finding in report.findings}
    assert refusing(report) >= JDLL_AND_CORE


def test_an_invalid_description_is_refused_by_core(good, tmp_path):
    """bioimageio.spec's own validator: authors are mappings, never names."""
    change = rdf(lambda description: description.update(authors=["Ada"]))
    report = verify(copy(good.packages.bioimageio, tmp_path, change), rules_only=True)
    (finding,) = [f for f in report.findings if f.code is Code.rdf_invalid]
    assert "authors" in finding.where
    assert refusing(report) & JDLL_AND_CORE == JDLL_AND_CORE - {Client.deepimagej_3_1}


def test_without_its_section_deepimagej_3_1_still_takes_format_04(good, tmp_path):
    """JDLL's ModelDescriptorV04.isTilingAllowed: true where config has no deepimagej."""
    change = rdf(lambda description: description["config"].pop("deepimagej"))
    report = verify(copy(good.packages.deepimagej, tmp_path, change), rules_only=True)
    assert refusing(report) == {Client.deepimagej_2_1, Client.deepimagej_3_0}


def check_stopped(report: Report, words: str) -> None:
    """What is stopped at a limit of ours says nothing of the package, so it is not proven."""
    (finding,) = [f for f in report.findings if f.code is Code.weights_not_run]
    assert words in finding.message
    meant = [verdict.answer for verdict in report.verdicts if verdict.meant]
    assert set(meant) == {Answer.unproven}
    assert not report.passed


def test_what_grows_is_stopped(good, tmp_path, monkeypatch, without_core):
    """So little memory that the runtime cannot start: the other process ends, this one goes on.

    The interpreter alone takes more; at 64 MiB a quick machine was through before a second look.
    """
    monkeypatch.setattr(jobs, "memory_limit", lambda: 16 << 20)
    check_stopped(run_faulty(good, tmp_path), "GiB of memory")


def test_what_hangs_is_ended(good, tmp_path, monkeypatch, without_core):
    monkeypatch.setattr(jobs, "TIME_LIMIT", 0.01)
    check_stopped(run_faulty(good, tmp_path), "had not finished")


def test_a_report_is_frozen(verified):
    with pytest.raises(dataclasses.FrozenInstanceError):
        verified["bioimageio"].packages = ()
