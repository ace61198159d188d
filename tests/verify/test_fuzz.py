"""Damaged and hostile packages: a finding or a W2SExportError, never a traceback, never a write.

Every case runs under a limit on memory: what a few kilobytes can demand stays bounded. W2S_FUZZ
multiplies the examples; `nox -s thorough` has four times as many, more than 2,000.
"""

from __future__ import annotations

import contextlib
import copy as copying
import hashlib
import io
import json
import os
import re
import signal
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from w2s_export.cli import run
from w2s_export.errors import W2SExportError
from w2s_export.verify.findings import Code
from w2s_export.verify.verify import Report, verify

from .conftest import Plain, npy
from .test_others import images, onnx, saved_model

pytestmark = pytest.mark.xdist_group("verify-fuzz")

MEMORY = 512 << 20
"""Bytes a case may add to the process. Measured: below 100 MB; a bomb that went off took 8 GB."""

SECONDS = 30
"""A case may take. Measured: below 1 s."""

EXAMPLES = {
    "description": 200,
    "text": 75,
    "truncated": 40,
    "random": 50,
    "flipped": 90,
    "weights": 65,
    "command": 15,
}
TIMES = int(os.environ.get("W2S_FUZZ", 1))


def fuzzed(name: str) -> Any:
    """So many examples, no database, no clock."""
    return settings(
        max_examples=TIMES * EXAMPLES[name],
        deadline=None,
        database=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
        ],
    )


class Hang(BaseException):
    """Not an Exception, which somebody might catch."""


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """End what takes longer than any package may."""

    def end(*_: object) -> None:
        raise Hang(f"no verdict after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Base:
    """Two packages with weights of a few hundred bytes, and a place to put what becomes of them."""

    files: dict[str, dict[str, bytes]]
    folder: Path

    def verify(self, data: bytes) -> Report | None:
        """Verify bytes as a package; None where they are refused as a whole."""
        path = self.folder / "package.zip"
        path.write_bytes(data)
        try:
            with watched():
                report = verify(path, rules_only=True)
        except W2SExportError:
            return None
        json.dumps(report.as_json(), allow_nan=False).encode()
        assert all(isinstance(finding.code, Code) for finding in report.findings)
        assert [f for f in report.findings if f.code is Code.internal_error] == []
        assert [item.name for item in self.folder.iterdir()] == ["package.zip"]
        return report


def small(package: Path) -> dict[str, bytes]:
    """The files of a package, its weights exchanged for small ones."""
    with zipfile.ZipFile(package) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    given, restored = images((1, 1, 66, 73), (1, 1, 132, 146))
    for name, data in (
        ("weights.onnx", onnx(1, [["b", 1, "h", "w"]])),
        ("tensorflow_saved_model_bundle.zip", saved_model(1, last=False)),
        ("test_input.npy", given),
        ("test_output.npy", restored),
        ("sample_input.tif", b"II*\0"),
        ("sample_output.tif", b"II*\0"),
        ("cover.png", b"\x89PNG\r\n\x1a\n"),
    ):
        before, files[name] = hashlib.sha256(files[name]).hexdigest(), data
        after = hashlib.sha256(data).hexdigest()
        files["rdf.yaml"] = files["rdf.yaml"].replace(before.encode(), after.encode())
    return files


@pytest.fixture(scope="module")
def base(good, tmp_path_factory) -> Base:
    packages = {"0.5": good.packages.bioimageio, "0.4": good.packages.deepimagej}
    files = {kind: small(path) for kind, path in packages.items()}
    return Base(files, tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(autouse=True)
def bounded(tmp_path, monkeypatch) -> Iterator[None]:
    """A limit on memory, and a look at the folders where a careless program would write."""
    resource = pytest.importorskip("resource")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    status = Path("/proc/self/status")
    if status.exists():
        held = 1024 * int(re.search(r"VmSize:\s+(\d+)", status.read_text()).group(1))
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert [path.name for path in tmp_path.rglob("*")] == ["temporary"]


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        [
            2**63,
            -(10**400),
            "../../etc/passwd",
            "x" * 5000,
            "0.5.10",
            "rdf.yaml",
            "input",
            "\x1b[2J",
        ]
    )
)
keys = st.text(max_size=8) | st.integers() | st.sampled_from(["source", "id", "name"])


def holding(inner: Any) -> Any:
    return st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4)


# Not `st.recursive`: its count of leaves lies outside of the data, and a replay was once refused
# as inconsistent.
values = leaves | holding(leaves | holding(leaves | holding(leaves)))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in children:
        yield (*path, key)
        if isinstance(inner, (dict, list)):
            yield from places(inner, (*path, key))


GENTLE = ["drop", "retype", "nest", "copy", "deep"]
LAST = [*GENTLE, "repeat", "huge"]
"""What multiplies comes once and at the end: else the test itself would take the memory."""


def mutate(draw: Any, description: Any, ways: list[str] = LAST) -> None:
    """Drop, retype, nest, copy, repeat or blow up one place of a description."""
    everywhere = list(places(description))
    if not everywhere:
        return
    *parents, last = draw(st.sampled_from(everywhere))
    holder = description
    for key in parents:
        holder = holder[key]
    how = draw(st.sampled_from(ways))
    if how == "drop":
        del holder[last]
    elif how == "retype":
        holder[last] = draw(values)
    elif how == "nest":
        holder[last] = draw(st.sampled_from([[holder[last]], {"source": holder[last]}]))
    elif how == "copy":
        *others, other = draw(st.sampled_from(everywhere))
        source = description
        with contextlib.suppress(KeyError, IndexError, TypeError):
            for key in others:
                source = source[key]
            holder[last] = copying.deepcopy(source[other])
    elif how == "huge":
        huge = [[0] * 20_000, "A" * 200_000, {f"k{n}": n for n in range(5000)}, [[{}]] * 3000]
        holder[last] = draw(st.sampled_from(huge))
    elif how == "repeat":
        holder[last] = [holder[last]] * 50
    else:
        for _ in range(draw(st.integers(1, 60))):
            holder[last] = [holder[last]]


@fuzzed("description")
@given(data=st.data())
def test_no_description_makes_it_stumble(base, data):
    files = base.files[data.draw(st.sampled_from(["0.5", "0.4"]))]
    description = yaml.load(files["rdf.yaml"], yaml.CSafeLoader)
    for _ in range(data.draw(st.integers(0, 2))):
        mutate(data.draw, description, GENTLE)
    mutate(data.draw, description)
    aliases = data.draw(st.booleans())
    dumper = yaml.CSafeDumper if aliases else Plain
    text = yaml.dump(description, Dumper=dumper, sort_keys=False, allow_unicode=True)
    base.verify(zipped({**files, "rdf.yaml": text.encode("utf-8", "replace")}))


@fuzzed("text")
@given(data=st.data())
def test_no_text_makes_it_stumble(base, data):
    """Lines of YAML dropped, doubled, cut, indented, or with other characters in them."""
    files = base.files[data.draw(st.sampled_from(["0.5", "0.4"]))]
    text = bytearray(files["rdf.yaml"])
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 30))
        tokens = [
            b"*a",
            b"&a ",
            b"<<: ",
            b"!!python/name:os.system",
            b"\t",
            b"- ",
            b": ",
            b"{[",
            b"%",
        ]
        text[place : place + length] = data.draw(
            st.sampled_from(tokens) | st.binary(max_size=6) | st.just(bytes(text[: 4 * length]))
        )
    base.verify(zipped({**files, "rdf.yaml": bytes(text)}))


@fuzzed("truncated")
@given(data=st.data())
def test_no_truncated_zip_makes_it_stumble(base, data):
    whole = zipped(base.files[data.draw(st.sampled_from(["0.5", "0.4"]))])
    cut = data.draw(st.integers(0, len(whole) - 1))
    report = base.verify(whole[:cut])
    assert report is None or not any(verdict.would.takes for verdict in report.verdicts)


@fuzzed("random")
@given(st.binary(max_size=2000), st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(18)]))
def test_no_bytes_make_it_stumble(base, data, start):
    report = base.verify(start + data)
    assert report is None or not any(verdict.would.takes for verdict in report.verdicts)


@fuzzed("flipped")
@given(data=st.data())
def test_no_flipped_bytes_make_it_stumble(base, data):
    """Anywhere in the zip, its directory above all: names, sizes, offsets, flags."""
    files = base.files[data.draw(st.sampled_from(["0.5", "0.4"]))]
    method = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    whole = bytearray(zipped(files, method))
    directory = whole.rfind(b"PK\x01\x02") - 600
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(
            st.integers(0, len(whole) - 1) | st.integers(max(0, directory), len(whole) - 1)
        )
        whole[place] = data.draw(
            st.sampled_from([0, 1, 0x2E, 0x2F, 0x7F, 0xFF]) | st.integers(0, 255)
        )
    base.verify(bytes(whole))


@fuzzed("weights")
@given(data=st.data())
def test_no_weights_make_it_stumble(base, data):
    """Any file of the package, its hash corrected: what reads it sees the damage, not the hash."""
    files = dict(base.files[data.draw(st.sampled_from(["0.5", "0.4"]))])
    names = ["weights.onnx", "tensorflow_saved_model_bundle.zip", "test_input.npy", "cover.png"]
    name = data.draw(st.sampled_from(names))
    content = bytearray(files[name])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, max(0, len(content) - 1)))
        length = data.draw(st.integers(0, 8))
        content[place : place + length] = data.draw(
            st.binary(max_size=8) | st.just(b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
        )
    before, after = (hashlib.sha256(value).hexdigest() for value in (files[name], content))
    files[name] = bytes(content)
    files["rdf.yaml"] = files["rdf.yaml"].replace(before.encode(), after.encode())
    assert base.verify(zipped(files)) is not None


@fuzzed("command")
@given(data=st.data())
def test_the_command_prints_whatever_there_is(base, data):
    """Exit code 0, 1 or 2, text that any terminal takes, and no control characters in it."""
    files = base.files["0.5"]
    description = yaml.load(files["rdf.yaml"], yaml.CSafeLoader)
    mutate(data.draw, description, GENTLE)
    mutate(data.draw, description)
    description["name"] = data.draw(st.sampled_from(["\x1b[2J", "[red]", "a [/b] c", "\u202e", 5]))
    text = yaml.dump(description, Dumper=Plain, sort_keys=False)
    text += data.draw(st.sampled_from(["", 'id: "\\uD800"\n', 'run_mode: "\\x07"\n']))
    path = base.folder / "package.zip"
    path.write_bytes(zipped({**files, "rdf.yaml": text.encode("utf-8", "replace")}))
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        code = run(["verify", str(path), "--rules-only"])
    assert code in (0, 1, 2)
    said = stream.getvalue()
    said.encode("utf-8")
    assert "Traceback" not in said
    assert not set(said) & set("\x1b\x07")


def test_there_are_enough_cases():
    assert 4 * sum(EXAMPLES.values()) >= 2000


def many_fields(base: Base) -> dict[str, bytes]:
    """An ONNX file of nothing but empty fields: each would become an object."""
    return {"weights.onnx": b"\x08\x08" + b"\x0a\x00" * 8_000_000}


def false_claim(base: Base) -> dict[str, bytes]:
    import numpy as np

    data = npy(np.zeros((1, 1, 4, 4), np.float32))
    return {"test_input.npy": data.replace(b"(1, 1, 4, 4)", b"(9,9999999,)")}


def deep_header(base: Base) -> dict[str, bytes]:
    header = b"(" * 5000
    return {"test_input.npy": b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header}


def inner_bomb(base: Base) -> dict[str, bytes]:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("saved_model.pb", "w") as member:
            for _ in range(600):
                member.write(bytes(1 << 20))
        archive.writestr("variables/", b"")
    return {"tensorflow_saved_model_bundle.zip": stream.getvalue()}


def wide_description(base: Base) -> dict[str, bytes]:
    text = base.files["0.5"]["rdf.yaml"] + b"more: [" + b"1," * 400_000 + b"]\n"
    return {"rdf.yaml": text}


@pytest.mark.parametrize(
    "bomb", [many_fields, false_claim, deep_header, inner_bomb, wide_description]
)
def test_no_bomb_goes_off(base, bomb):
    report = base.verify(zipped({**base.files["0.5"], **bomb(base)}))
    assert report is not None
    assert not all(verdict.would.takes for verdict in report.verdicts)


def test_the_small_packages_are_good(base):
    """Else the mutations would be lost among faults that were there before."""
    for files in base.files.values():
        report = base.verify(zipped(files))
        assert report is not None
        assert report.passed
