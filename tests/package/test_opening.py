from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from w2s_export.errors import PackageError
from w2s_export.package import opening
from w2s_export.package.archive import open_package


@pytest.fixture
def good(good_zip: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "good.zip"
    path.write_bytes(good_zip)
    return path


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def add(name: str, data: bytes = b"x") -> Callable[[Path], None]:
    def inflict(path: Path) -> None:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(entry(name), data)

    return inflict


def add_link(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry("link", stat.S_IFLNK | 0o777), "/etc/passwd")


def add_duplicate(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(entry("README.md"), b"another")


def add_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.npy", bytes(65 << 20), zipfile.ZIP_DEFLATED)


def add_many(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        for index in range(1000):
            archive.writestr(f"file{index}", b"")


def add_other_compression(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("packed", b"x" * 99, zipfile.ZIP_LZMA)


def central_header(data: bytearray, name: bytes) -> int:
    place = -1
    while (place := data.find(b"PK\x01\x02", place + 1)) >= 0:
        length = struct.unpack_from("<H", data, place + 28)[0]
        if data[place + 46 : place + 46 + length] == name:
            return place
    raise AssertionError(name)


def encrypt(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[central_header(data, b"README.md") + 8] |= 1
    path.write_bytes(data)


def claim_gigabytes(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for name in (b"weights.onnx", b"cover.png", b"test_input.npy"):
        struct.pack_into("<II", data, central_header(data, name) + 20, *[0xFFFF_FFF0] * 2)
    path.write_bytes(data)


def rewrite(path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    change(contents)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)


def set_rdf(text: bytes) -> Callable[[Path], None]:
    return lambda path: rewrite(path, lambda contents: contents.update({"rdf.yaml": text}))


def nest(path: Path) -> None:
    def move(contents: dict[str, bytes]) -> None:
        for name in list(contents):
            contents[f"model/{name}"] = contents.pop(name)

    rewrite(path, move)


BILLION = b"a: &a [x,x]\n" + b"".join(
    b"%c: &%c [*%c%s]\n" % (97 + n, 97 + n, 96 + n, b",*%c" % (96 + n) * 9) for n in range(1, 9)
)
ENDLESS = b"a: &a [x, *a]\n"
CHAIN = b"a0: &a0 [x]\n" + b"".join(b"a%d: &a%d [*a%d]\n" % (n, n, n - 1) for n in range(1, 60))
CODE = b"!!python/object/apply:os.system ['true']\n"
FAULTS: list[tuple[str, Callable[[Path], object], str]] = [
    ("absolute path", add("/etc/cron.d/x"), "outside the folder"),
    ("parent folder", add("../x"), "outside the folder"),
    ("parent folder inside", add("a/../../x"), "outside the folder"),
    ("backslash", add("..\\x"), "outside the folder"),
    ("drive", add("C:x"), "outside the folder"),
    ("symbolic link", add_link, "link or a device"),
    ("duplicate", add_duplicate, "is there twice"),
    ("duplicate but for case", add("readme.MD"), "is there twice"),
    ("zip bomb", add_bomb, "more than real files do"),
    ("gigabytes claimed", claim_gigabytes, "claims .* bytes unpacked"),
    ("too many members", add_many, "members, a package at most 1000"),
    ("encrypted", encrypt, "is encrypted"),
    ("unknown compression", add_other_compression, "method 14"),
    ("truncated", lambda path: path.write_bytes(path.read_bytes()[:-300]), "not a readable zip"),
    ("no zip", lambda path: path.write_bytes(b"PK nonsense"), "not a readable zip"),
    ("empty", lambda path: path.write_bytes(b""), "not a readable zip"),
    ("missing", lambda path: path.unlink(), "No such file"),
    ("nested", nest, "zip the files and not their folder"),
    ("alias bomb", set_rdf(BILLION), "aliases"),
    ("endless alias", set_rdf(ENDLESS), "or for itself"),
    ("chain of aliases", set_rdf(CHAIN), "nests more than 50"),
    ("code in YAML", set_rdf(CODE), "not readable YAML"),
    ("rdf is a list", set_rdf(b"- a\n"), "not a mapping"),
    ("rdf is empty", set_rdf(b""), "not a mapping"),
    ("rdf is huge", set_rdf(b"#" * (1 << 20) + b"\na: 1"), "at most 1048576 are read"),
    ("rdf is binary", set_rdf(b"\xff\xfe\x00"), "not readable YAML"),
]


@pytest.mark.parametrize(("fault", "inflict", "words"), FAULTS, ids=[f[0] for f in FAULTS])
def test_an_unsafe_package_is_refused(
    good: Path, fault: str, inflict: Callable[[Path], object], words: str
) -> None:
    inflict(good)
    with pytest.raises(PackageError, match=words) as caught:
        open_package(good)
    assert str(good) in str(caught.value)


def test_a_good_package_opens(good: Path, tmp_path: Path) -> None:
    package = open_package(good)
    assert package.rdf_name == "rdf.yaml"
    assert package.rdf["format_version"] == "0.5.10"
    assert package.read("weights.onnx") == b"any bytes"
    (tmp_path / "unpacked").mkdir()
    package.extract(tmp_path / "unpacked")
    unpacked = {path.name: path.stat().st_size for path in (tmp_path / "unpacked").iterdir()}
    assert unpacked == package.sizes


def test_an_unknown_or_large_file_is_not_read(good: Path) -> None:
    package = open_package(good)
    with pytest.raises(PackageError, match="holds no 'weights_pt'"):
        package.read("weights_pt")
    with pytest.raises(PackageError, match="at most 5 are read"):
        package.read("weights.onnx", limit=5)


def test_damage_inside_a_member_is_found(good: Path) -> None:
    good.write_bytes(good.read_bytes().replace(b"any bytes", b"ANY bytes"))
    package = open_package(good)
    with pytest.raises(PackageError, match=r"'weights\.onnx' is damaged"):
        package.read("weights.onnx")


def test_aliases_that_stay_small_are_read(good: Path) -> None:
    set_rdf(b"type: model\na: &a {b: [1, 2]}\nc: [*a, *a]\n")(good)
    assert open_package(good).rdf["c"] == [{"b": [1, 2]}] * 2


def test_members_in_folders_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "others.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rdf.yaml", "type: model\n")
        archive.writestr("src/", b"")
        archive.writestr("src/code.py", b"print()")
    package = open_package(path)
    assert set(package.sizes) == {"rdf.yaml", "src/code.py"}
    package.extract(tmp_path, "src/code.py")
    assert (tmp_path / "src" / "code.py").read_bytes() == b"print()"


def test_the_limits_are_those_documented() -> None:
    assert (opening.MAX_MEMBERS, opening.MAX_BYTES) == (1000, 8 * 2**30)
