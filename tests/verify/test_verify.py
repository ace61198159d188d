from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from w2s_export.package.archive import Packages
from w2s_export.runtime.caching import CachingRuntime
from w2s_export.verify.after_export import Source
from w2s_export.verify.findings import Client, Code, Severity
from w2s_export.verify.verdicts import Answer
from w2s_export.verify.verify import Report, verify

from .conftest import (
    Good,
    copy,
    exchange,
    flipped_sample,
    npy,
    other_onnx,
    other_output,
    put_at,
    rdf,
    shifted_output,
)

BOTH = ("bioimageio", "deepimagej")


class NoCore:
    """Leaves bioimageio.core out: seconds a run, and it has its own tests."""

    def test(self, packages):
        return self

    def finish(self):
        return ()


def checked(packages: Packages, good: Good, source: Any = None, loaded: Any = None) -> Report:
    """The verification of an export, without core."""
    source = Source(source or good.source, good.description, loaded or {})
    return verify((packages.bioimageio, packages.deepimagej), source, core=NoCore())


def refused(report: Report) -> set[tuple[str, Client]]:
    """Package and client, where the package is meant for the client and refused by it."""
    return {(v.package, v.client) for v in report.verdicts if v.answer is Answer.refuses}


def test_a_good_export_passes(good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    steps = []
    source = Source(good.source, good.description)
    packages = (good.packages.bioimageio, good.packages.deepimagej)
    report = verify(packages, source, progress=steps.append)
    assert report.findings == ()
    assert report.passed
    assert {v.answer for v in report.verdicts if v.meant} == {Answer.accepts}
    assert [(test.package, test.format, test.passed) for test in report.core_tests] == [
        ("good-model.bioimageio.zip", "onnx", True),
        ("good-model.bioimageio.zip", "tensorflow_saved_model_bundle", True),
        ("good-model.deepimagej.zip", "onnx", True),
        ("good-model.deepimagej.zip", "tensorflow_saved_model_bundle", True),
    ]
    cases = {(row.subject.split()[0], row.case) for row in report.parity}
    halo = good.description.halo.halo
    least = good.description.halo.minimum
    for case in (
        "sample, 66×73",
        f"noise, smallest, {least}×{least}",
        "noise, odd, 17×29",
        "noise, batch of 2, 24×15",
        f"tiles, halo {halo}",
    ):
        assert {("ONNX", case), ("TensorFlow", case)} <= cases
    assert max(row.max_relative for row in report.parity if "tiles" not in row.case) < 1e-5
    assert [r.max_abs for r in report.parity if r.case == "as DeepImageJ 3.1 tiles it"] == [0.0]
    assert "bioimageio.core" in steps
    assert list(tmp_path.iterdir()) == []

    restored = good.description.sample.restored
    assert {name.split()[0] for name in report.sample.outputs} == {"ONNX", "TensorFlow"}
    for output in report.sample.outputs.values():
        assert output.shape == restored.shape
        assert abs(output - restored).max() < 1e-5 * np.ptp(restored)

    report.write_json(tmp_path / "report.json")
    written = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    assert written["passed"] is True
    assert written["findings"] == []
    assert written["environment"]["versions"]["onnxruntime"]
    assert {row["psnr_db"] for row in written["parity"] if row["max_abs"] == 0} == {"inf"}
    with zipfile.ZipFile(good.packages.deepimagej) as archive:
        assert set(written["packages"][1]["files"]) == set(archive.namelist())


def other_saved_model(good, other):
    data = other.description.artifact("tensorflow_saved_model_bundle").path.read_bytes()
    return exchange("tensorflow_saved_model_bundle.zip", data)


def other_input(good, other):
    return exchange("test_input.npy", npy(good.description.sample.image[None] + np.float32(1)))


def swapped_percentiles(good, other):
    def edit(description):
        kwargs = description["inputs"][0]["preprocessing"][0]["kwargs"]
        kwargs["min_percentile"], kwargs["max_percentile"] = 0.1, 99.9

    return rdf(edit)


def unknown_preprocessing(good, other):
    def edit(description):
        step = description["inputs"][0]["preprocessing"][0]
        step["id" if "id" in step else "name"] = "magic"

    return rdf(edit)


def with_halo(value):
    def edit(description):
        output = description["outputs"][0]
        if "halo" in output:
            output["halo"] = [0, 0, value, value]
        else:
            for axis in output["axes"][2:]:
                axis["halo"] = value

    return rdf(edit)


def halved_halo(good, other):
    return with_halo(2)


def odd_halo(good, other):
    return with_halo(3)


def wrong_hash(good, other):
    return rdf(lambda description: put_at(description, "weights.onnx.sha256", "0" * 64))


def missing_macro(good, other):
    return lambda files: files.pop("preprocessing.ijm")


def other_macro(good, other):
    return exchange("preprocessing.ijm", b'run("Invert");')


def empty_macro(good, other):
    return exchange("postprocessing.ijm", b"")


def broken_onnx(good, other):
    return exchange("weights.onnx", b"not an ONNX file")


def nested_saved_model(good, other):
    import io

    stream = io.BytesIO()
    with (
        zipfile.ZipFile(good.description.artifact("tensorflow_saved_model_bundle").path) as before,
        zipfile.ZipFile(stream, "w") as after,
    ):
        for name in before.namelist():
            after.writestr(f"model/{name}", before.read(name))
    return exchange("tensorflow_saved_model_bundle.zip", stream.getvalue())


def array_with_false_claim(good, other):
    data = npy(good.description.sample.image[None].astype(np.float32))
    return exchange("test_input.npy", data[:-100])


# Each fault is put into both zips, so that the copies still agree with each other.
FAULTS = [
    (other_onnx, Code.output_differs),
    (other_saved_model, Code.output_differs),
    (shifted_output, Code.test_output_differs),
    (other_output, Code.test_output_differs),
    (other_input, Code.test_input_differs),
    (flipped_sample, Code.sample_differs),
    (swapped_percentiles, Code.preprocessing_differs),
    (unknown_preprocessing, Code.preprocessing_unsupported),
    (halved_halo, Code.halo_differs),
    (halved_halo, Code.seams_visible),
    (odd_halo, Code.halo_odd),
    (wrong_hash, Code.hash_mismatch),
    (missing_macro, Code.file_missing),
    (missing_macro, Code.macro_differs),
    (other_macro, Code.macro_differs),
    (empty_macro, Code.macro_differs),
    (broken_onnx, Code.weights_unloadable),
    (broken_onnx, Code.onnx_unreadable),
    (nested_saved_model, Code.weights_unloadable),
    (nested_saved_model, Code.saved_model_layout),
    (array_with_false_claim, Code.test_input_differs),
]


@pytest.mark.parametrize(
    ("inflict", "code"), FAULTS, ids=[f"{fault.__name__}-{code.value}" for fault, code in FAULTS]
)
def test_a_fault_in_both_packages_is_found(good, other, tmp_path, inflict, code):
    change = inflict(good, other)
    broken = Packages(*(copy(getattr(good.packages, kind), tmp_path, change) for kind in BOTH))
    report = checked(broken, good, loaded=good.loaded)
    assert not report.passed
    errors = [f for f in report.findings if f.severity is Severity.error and f.code is code]
    assert errors
    assert all(finding.remedy for finding in errors)
    # Each package has the fault, so each has the finding, and some client refuses each.
    for path in (broken.bioimageio, broken.deepimagej):
        assert path.name in {finding.package for finding in errors}
        assert path.name in {name for name, _ in refused(report)}


def test_files_that_are_loaded_already_are_not_run_again(good):
    ran = []

    class Counted:
        name = "counted"

        def __init__(self, runtime):
            self.runtime = runtime

        def __call__(self, batch):
            ran.append(batch.shape)
            return self.runtime(batch)

    sha256 = good.description.artifact("onnx").sha256
    loaded = {**good.loaded, sha256: CachingRuntime(Counted(good.loaded[sha256]))}
    first = checked(good.packages, good, loaded=loaded)
    assert first.passed
    assert len(ran) > 5
    assert {row.subject for row in first.parity} >= {"counted"}
    before = len(ran)
    again = checked(good.packages, good, loaded=loaded)
    assert (again.parity, len(ran)) == (first.parity, before)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    ("inflict", "code"),
    [
        (other_onnx, Code.packages_differ),
        (other_onnx, Code.output_differs),
        (swapped_percentiles, Code.preprocessing_differs),
        (halved_halo, Code.halo_differs),
    ],
)
def test_a_fault_in_one_package_is_found_there(good, other, tmp_path, inflict, code, kind):
    broken = copy(getattr(good.packages, kind), tmp_path, inflict(good, other))
    packages = {k: getattr(good.packages, k) for k in BOTH} | {kind: broken}
    report = checked(Packages(**packages), good, loaded=good.loaded)
    places = {finding.package for finding in report.findings if finding.code is code}
    assert places
    if code is not Code.packages_differ:
        assert places == {broken.name}
        assert broken.name in {name for name, _ in refused(report)}


def test_what_deepimagej_would_make_of_the_sizes_is_checked(good, tmp_path):
    def follow_the_specification(description):
        for axis in description["inputs"][0]["axes"][2:]:
            axis["scale"] = 1.0
        for axis in description["outputs"][0]["axes"][2:]:
            axis["scale"] = 0.5

    broken = copy(good.packages.bioimageio, tmp_path, rdf(follow_the_specification))
    packages = Packages(broken, good.packages.deepimagej)
    report = checked(packages, good)
    found = [f for f in report.findings if f.code is Code.test_output_size]
    assert len(found) == 2  # the sample, and the smallest image
    assert all(f.clients == (Client.deepimagej_3_1,) for f in found)
    assert "(66, 73) plans (33, 36), the network gives (132, 146)" in " ".join(
        f.message for f in found
    )
    assert (broken.name, Client.deepimagej_3_1) in refused(report)
    assert {name for name, _ in refused(report)} == {broken.name}


def flip_a_byte(path: Path) -> Code:
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("weights.onnx")
    data = bytearray(path.read_bytes())
    data[member.header_offset + 30 + len("weights.onnx") + member.file_size // 2] ^= 0xFF
    path.write_bytes(data)
    return Code.file_damaged


def truncate(path: Path) -> Code:
    path.write_bytes(path.read_bytes()[:-5000])
    return Code.zip_truncated


def remove(path: Path) -> Code:
    path.unlink()
    return Code.package_absent


@pytest.mark.parametrize("damage", [flip_a_byte, truncate, remove])
def test_a_damaged_zip_is_a_finding(good, tmp_path, damage):
    packages = Packages(
        good.packages.bioimageio, copy(good.packages.deepimagej, tmp_path, lambda files: None)
    )
    code = damage(packages.deepimagej)
    report = checked(packages, good)
    assert not report.passed
    assert code in {finding.code for finding in report.findings}


def test_another_source_is_noticed(good, other):
    report = checked(good.packages, good, other.source)
    assert {finding.code for finding in report.findings} == {Code.output_differs}
