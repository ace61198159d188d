"""A finished package, unpacked: its description and files, as a client would read them."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import PackageError
from w2s_export.io.files import sha256_of
from w2s_export.io.npy import read_header
from w2s_export.package.opening import OpenedPackage
from w2s_export.rdf.reading import file_references, weights_file
from w2s_export.verify.findings import Code, Finding


@dataclass(frozen=True, slots=True)
class Contents:
    """Files of a package in a folder of their own.

    Files that are damaged are not there.
    """

    package: OpenedPackage
    folder: Path
    hashes: dict[str, str]
    """SHA-256 of each file that was there and whole."""

    @property
    def name(self) -> str:
        """Name of the zip."""
        return self.package.path.name

    @property
    def rdf(self) -> dict[str, Any]:
        """The description."""
        return self.package.rdf

    def weights(self, weights_format: str) -> Path | None:
        """Path of a weights file, None where the package has none (whole)."""
        name = weights_file(self.rdf, weights_format)
        return self.folder / name if name in self.hashes else None

    def array(self, name: str | None) -> NDArray[Any]:
        """A `.npy` file.

        Raises:
            PackageError: not there, no NumPy file, holding objects, or not of the size it claims.
        """
        if name is None or name not in self.hashes:
            raise PackageError(f"{self.name}: holds no whole test tensor '{name}'")
        try:
            with (self.folder / name).open("rb") as stream:
                return _read_array(stream)
        except Exception as error:  # NumPy's header reader lets TokenError and others out
            raise PackageError(f"{self.name}: '{name}' is no NumPy array: {error}") from None


def unpack(package: OpenedPackage, folder: Path) -> tuple[Contents, list[Finding]]:
    """Unpack a package and check every file it names.

    Raises:
        OSError: the folder cannot be written, e.g. because the disk is full.
    """

    def unpacked(name: str) -> str:
        package.extract(folder, name)
        return sha256_of(folder / name)

    hashes, findings = _hashed(package, unpacked)
    return Contents(package, folder, hashes), findings


def check_files(package: OpenedPackage) -> list[Finding]:
    """What is wrong with the files a package names, without unpacking them anywhere."""
    return _hashed(package, package.sha256)[1]


def _hashed(
    package: OpenedPackage, sha256: Callable[[str], str]
) -> tuple[dict[str, str], list[Finding]]:
    """SHA-256 of every file that is whole, and what is wrong with those that are named."""
    hashes: dict[str, str] = {}
    findings = []
    for name in package.sizes:
        try:
            hashes[name] = sha256(name)
        except (PackageError, OSError, ValueError) as error:  # a name no file can have: ValueError
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            again, zipped = "write or fetch the package again", package.path.name
            damaged = Finding(Code.file_damaged, name, str(error), remedy=again, package=zipped)
            findings.append(damaged)
    return hashes, findings + _file_findings(package, hashes)


def _file_findings(package: OpenedPackage, hashes: Mapping[str, str]) -> list[Finding]:
    findings: list[Finding] = []

    def fault(code: Code, where: str, message: str, remedy: str) -> None:
        findings.append(Finding(code, where, message, remedy=remedy, package=package.path.name))

    for reference in file_references(package.rdf):
        if reference.name not in package.sizes:
            message = f"names '{reference.name}', which the zip does not hold"
            remedy = "put the file at the zip's root, or correct its name in the rdf"
            fault(Code.file_missing, reference.where, message, remedy)
            continue
        actual = hashes.get(reference.name)
        if actual and reference.sha256 and actual != reference.sha256.lower():
            message = (
                f"'{reference.name}' has {actual[:12]}…, the rdf says {reference.sha256[:12]}…"
            )
            remedy = "the file was exchanged after the rdf was written: export again"
            fault(Code.hash_mismatch, reference.where, message, remedy)
    return findings


def _read_array(stream: BinaryIO) -> NDArray[Any]:
    """Read an array whose claimed size is the file's; NumPy would allocate what is claimed."""
    shape, _, dtype = read_header(stream)
    start = stream.tell()
    held = stream.seek(0, 2) - start
    claimed = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or claimed != held:
        raise ValueError(f"claims {claimed} bytes of {dtype}, holds {held}")
    stream.seek(0)
    array: NDArray[Any] = np.load(stream, allow_pickle=False)
    return array
