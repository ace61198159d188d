"""Opens packages of anybody's making: nothing in them is trusted, nothing is executed."""

from __future__ import annotations

import hashlib
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any

from w2s_export.errors import ConfigError, PackageError
from w2s_export.io.files import regular_size
from w2s_export.io.yaml_files import YamlAliasError, YamlDepthError, YamlNumberError, parse_yaml

MAX_MEMBERS = 1000
"""A package holds a dozen files; no zoo package comes near this."""
MAX_BYTES = 8 << 30
"""Unpacked size of all members together."""
MAX_RATIO = 200
"""Unpacked bytes per packed byte of a large member. Deflate reaches 1032 on zeros; images, weights
and text stay below 50, small label images may not."""
MAX_SMALL_TOTAL = 512 << 20
MAX_TOTAL_RATIO = 50
"""Unpacked bytes of all members together: so many in any case, or so many per byte of the zip. A
thousand members that are small each were 7.5 GB in 8.7 MB."""
MAX_VALUES = 100_000
"""Values of a description with its aliases written out; the longest in the zoo have a thousand."""
MAX_ENTRIES = 100
"""Tensors of a side, and axes or steps of a tensor. Each is looked at beside all others, so that
ten thousand would take minutes; the largest in the zoo have five."""
_LISTS = ("inputs", "outputs", "axes", "preprocessing", "postprocessing", "shape", "halo")
RDF_NAMES = ("rdf.yaml", "bioimageio.yaml", "model.yaml")
"""A description is called so, or anything that ends in a point and one of these names."""

_SMALL = 64 << 20
_CHUNK = 1 << 20
_READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError)


class OpeningFault(str, Enum):
    """Why a package cannot be opened; one stable code a reason."""

    absent = "package-absent"
    not_a_zip = "package-unreadable"
    truncated = "zip-truncated"
    crowded = "zip-crowded"
    bomb = "zip-bomb"
    escapes = "zip-escapes"
    link = "zip-link"
    encrypted = "zip-encrypted"
    compression = "zip-compression"
    duplicate = "zip-duplicate"
    nested = "zip-nested"
    rdf_missing = "rdf-missing"
    rdf_damaged = "rdf-damaged"
    rdf_too_large = "rdf-too-large"
    rdf_aliases = "rdf-aliases"
    rdf_too_deep = "rdf-too-deep"
    rdf_not_yaml = "rdf-not-yaml"
    rdf_not_a_mapping = "rdf-not-a-mapping"
    rdf_long_number = "rdf-long-number"


class OpeningError(PackageError):
    """A package that cannot be opened, and why."""

    def __init__(self, fault: OpeningFault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class OpenedPackage:
    """A package whose members have been checked.

    path: the zip.
    sizes: unpacked bytes of each file, by its name in the zip.
    rdf_name: which of them is the description.
    rdf: its content, through the safe YAML loader.
    """

    path: Path
    sizes: dict[str, int]
    rdf_name: str
    rdf: dict[str, Any]

    def read(self, name: str, limit: int = 64 << 20) -> bytes:
        """Content of one file.

        Raises:
            PackageError: no such file, larger than `limit` bytes, or damaged.
        """
        if name not in self.sizes:
            raise PackageError(f"{self.path}: holds no '{name}'")
        if self.sizes[name] > limit:
            raise PackageError(
                f"{self.path}: '{name}' has {self.sizes[name]} bytes, at most {limit} are read"
            )
        return b"".join(self._chunks(name))

    def sha256(self, name: str) -> str:
        """SHA-256 of one file, hexadecimal.

        Raises:
            PackageError: no such file, or damaged.
        """
        if name not in self.sizes:
            raise PackageError(f"{self.path}: holds no '{name}'")
        digest = hashlib.sha256()
        for chunk in self._chunks(name):
            digest.update(chunk)
        return digest.hexdigest()

    def extract(self, folder: Path, *names: str) -> None:
        """Unpack the files, all of them by default, into the folder, which must exist.

        Raises:
            PackageError: no such file, or damaged.
        """
        for name in names or self.sizes:
            if name not in self.sizes:
                raise PackageError(f"{self.path}: holds no '{name}'")
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as stream:
                for chunk in self._chunks(name):
                    stream.write(chunk)

    def _chunks(self, name: str) -> Iterator[bytes]:
        return _chunks(self.path, name, self.sizes[name])


def open_package(path: Path) -> OpenedPackage:
    """Check every member's claims and read the description.

    Raises:
        OpeningError: missing, no zip, damaged; members that are encrypted, links, duplicates or
            would unpack outside the folder; sizes that explode; no rdf.yaml at the root, or one
            that is no mapping, no safe YAML, or one whose aliases explode.
    """
    try:
        regular_size(path, PackageError)
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except PackageError as error:
        raise OpeningError(OpeningFault.absent, f"{path}: {error}") from None
    except _DAMAGE as error:
        raise _unreadable(path, error) from None
    sizes = _checked_sizes(path, members)
    rdf_name = next(iter(description_names(sizes)), None)
    if rdf_name is None:
        inner = [name for name in sizes if PurePosixPath(name).name in RDF_NAMES]
        hint = f"; it lies in '{inner[0]}', zip the files and not their folder" if inner else ""
        fault = OpeningFault.nested if inner else OpeningFault.rdf_missing
        raise OpeningError(fault, f"{path}: has no rdf.yaml at its root{hint}")
    return OpenedPackage(path, sizes, rdf_name, _read_rdf(path, rdf_name, sizes[rdf_name]))


def description_names(names: Iterable[str]) -> list[str]:
    """Descriptions at the root of a package, the one that is read first.

    bioimageio.spec 0.5.12.0, `identify_bioimageio_yaml_file_name`: the names in their order, of
    each the first file in alphabetical order.
    """
    at_root = sorted(name for name in names if "/" not in name)
    found = [n for name in RDF_NAMES for n in at_root if n == name or n.endswith("." + name)]
    return sorted(found, key=lambda name: name != RDF_NAMES[0])


def _unreadable(path: Path, error: Exception) -> OpeningError:
    if isinstance(error, OSError) and error.strerror:
        return OpeningError(OpeningFault.absent, f"{path}: cannot be read: {error.strerror}")
    with path.open("rb") as stream:
        cut = stream.read(4) == b"PK\3\4"
    fault = OpeningFault.truncated if cut else OpeningFault.not_a_zip
    hint = "; it begins as one and is cut short" if cut else ""
    return OpeningError(fault, f"{path}: is not a readable zip: {error}{hint}")


def _checked_sizes(path: Path, members: list[zipfile.ZipInfo]) -> dict[str, int]:
    if len(members) > MAX_MEMBERS:
        message = f"{path}: has {len(members)} members, a package at most {MAX_MEMBERS}"
        raise OpeningError(OpeningFault.crowded, message)
    total = sum(member.file_size for member in members)
    most = min(MAX_BYTES, max(MAX_SMALL_TOTAL, MAX_TOTAL_RATIO * path.stat().st_size))
    if total > most:
        message = f"{path}: claims {total} bytes unpacked, at most {most} are read"
        raise OpeningError(OpeningFault.bomb, message)
    sizes: dict[str, int] = {}
    seen: set[str] = set()
    for member in members:
        found = _fault(member)
        if member.filename.casefold() in seen:
            found = OpeningFault.duplicate, "is there twice"
        if found:
            fault, message = found
            raise OpeningError(fault, f"{path}: member {member.filename!r:.120} {message}")
        seen.add(member.filename.casefold())
        if not member.is_dir():
            sizes[member.filename] = member.file_size
    return sizes


def _fault(member: zipfile.ZipInfo) -> tuple[OpeningFault, str] | None:
    """What makes a member unsafe to unpack, if anything."""
    name = member.orig_filename
    parts = name.removesuffix("/").split("/")
    # On Windows a backslash separates, a colon names a drive; NUL ends a name early.
    if name.startswith("/") or {"", ".", ".."} & set(parts) or set(name) & set("\\:\0"):
        return OpeningFault.escapes, "would unpack outside the folder"
    mode = member.external_attr >> 16
    if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) and stat.S_IFMT(mode):
        return OpeningFault.link, "is a link or a device"
    if member.flag_bits & 1:
        return OpeningFault.encrypted, "is encrypted"
    if member.compress_type not in _READABLE:
        method = f"is compressed by method {member.compress_type}"
        return OpeningFault.compression, f"{method}; Java's and Python's zip read 0, 8"
    if member.file_size > max(_SMALL, MAX_RATIO * member.compress_size):
        claim = f"claims {member.file_size} bytes from {member.compress_size}"
        return OpeningFault.bomb, f"{claim}: more than real files do"
    return None


def _chunks(path: Path, name: str, size: int) -> Iterator[bytes]:
    """Unpack a member piecewise, and stop if it is more than it claimed."""
    unpacked = 0
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as stream:
            while chunk := stream.read(_CHUNK):
                unpacked += len(chunk)
                if unpacked > size:
                    raise PackageError(f"{path}: '{name}' is larger than it claims")
                yield chunk
    except _DAMAGE as error:
        raise PackageError(f"{path}: '{name}' is damaged: {error}") from None
    if unpacked != size:
        raise PackageError(f"{path}: '{name}' claims {size} bytes and has {unpacked}")


_YAML_FAULTS = {
    YamlAliasError: OpeningFault.rdf_aliases,
    YamlDepthError: OpeningFault.rdf_too_deep,
    YamlNumberError: OpeningFault.rdf_long_number,
}


def _read_rdf(path: Path, name: str, size: int) -> dict[str, Any]:
    limit = 1 << 20
    if size > limit:
        message = f"{path}: its {name} has {size} bytes, at most {limit} are read"
        raise OpeningError(OpeningFault.rdf_too_large, message)
    try:
        data = b"".join(_chunks(path, name, size))
    except PackageError as error:
        raise OpeningError(OpeningFault.rdf_damaged, str(error)) from None
    try:
        rdf = parse_yaml(data, name, MAX_VALUES)
    except ConfigError as error:
        fault = _YAML_FAULTS.get(type(error), OpeningFault.rdf_not_yaml)
        raise OpeningError(fault, f"{path}: {error}") from None
    if not isinstance(rdf, dict):
        message = f"{path}: its {name} is {type(rdf).__name__}, not a mapping of fields"
        raise OpeningError(OpeningFault.rdf_not_a_mapping, message)
    for side in ("inputs", "outputs"):
        if most := _most_entries({side: rdf.get(side)}):
            message = f"{path}: its {name} lists {most} entries under {side}, over {MAX_ENTRIES}"
            raise OpeningError(OpeningFault.rdf_too_large, message)
    return rdf


def _most_entries(value: object) -> int:
    """Length of the first list below that is too long; else 0. Numbers and names may be many."""
    if isinstance(value, list):
        nested = [inner for inner in value if isinstance(inner, (dict, list))]
        return len(nested) if len(nested) > MAX_ENTRIES else _first(map(_most_entries, nested))
    if not isinstance(value, dict):
        return 0
    listed = [len(value[key]) for key in _LISTS if isinstance(value.get(key), str | list)]
    return _first(length for length in listed if length > MAX_ENTRIES) or _first(
        map(_most_entries, value.values())
    )


def _first(lengths: Iterable[int]) -> int:
    return next(filter(None, lengths), 0)
