"""Writes the two packages: flat zips, at once or not at all, the same bytes for the same model."""

from __future__ import annotations

import io
import logging
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import OutputError, PackageError
from w2s_export.formats.artifact import Artifact
from w2s_export.io.files import sha256_of
from w2s_export.io.images import write_imagej_tiff
from w2s_export.io.yaml_files import write_yaml
from w2s_export.package.card import write_card
from w2s_export.package.cover import draw_cover
from w2s_export.package.macros import postprocessing_macro, preprocessing_macro
from w2s_export.package.opening import OpenedPackage, open_package
from w2s_export.rdf import description as files
from w2s_export.rdf.description import Description
from w2s_export.rdf.v04 import rdf_04
from w2s_export.rdf.v05 import rdf_05

__all__ = ["OpenedPackage", "Packages", "open_package", "package_paths", "write_packages"]

logger = logging.getLogger(__name__)

_OLDEST_DATE = (1980, 1, 1, 0, 0, 0)
_FILE_MODE = 0o100644
_UNIX = 3


@dataclass(frozen=True, slots=True)
class Packages:
    """The two zips of one model: for the zoo and its runtime, and for every DeepImageJ."""

    bioimageio: Path
    deepimagej: Path


def package_paths(name: str, folder: Path) -> Packages:
    """Where `write_packages` puts the packages of the model `name`."""
    return Packages(folder / f"{name}.bioimageio.zip", folder / f"{name}.deepimagej.zip")


def write_packages(description: Description, folder: Path) -> Packages:
    """Write `NAME.bioimageio.zip` (0.5.10) and `NAME.deepimagej.zip` (0.4.10).

    Args:
        description: the model.
        folder: where the zips go; made if missing. Zips of that name are replaced.

    Raises:
        PackageError: a weights file is missing or no longer the one that was converted.
        OutputError: the folder cannot be written.
    """
    packages = package_paths(description.name, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".package-", dir=folder) as scratch:
            contents = _gather(description, Path(scratch))
            hashes = {name: sha256_of(path) for name, path in contents.items()}
            _check_weights(description, hashes)
            ready: list[tuple[Path, Path]] = []
            for target, rdf in (
                (packages.bioimageio, rdf_05(description, hashes)),
                (packages.deepimagej, rdf_04(description, hashes)),
            ):
                (Path(scratch) / files.RDF).write_bytes(write_yaml(rdf))
                beside = Path(scratch) / target.name
                write_zip({**contents, files.RDF: Path(scratch) / files.RDF}, beside)
                ready.append((beside, target))
            for beside, target in ready:
                beside.replace(target)
    except OSError as error:
        place = error.filename or folder
        raise OutputError(f"{place}: cannot be written: {error.strerror}") from None
    logger.info("wrote %s and %s", packages.bioimageio, packages.deepimagej)
    return packages


def write_zip(contents: Mapping[str, Path], target: Path) -> None:
    """Write a flat zip whose bytes depend on names and contents alone.

    Nothing is compressed: weights and images hardly shrink, and what a compressor emits depends
    on its version.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, path in sorted(contents.items()):
            entry = zipfile.ZipInfo(name, _OLDEST_DATE)
            entry.create_system = _UNIX
            entry.external_attr = _FILE_MODE << 16
            entry.file_size = path.stat().st_size
            with path.open("rb") as source, archive.open(entry, "w") as stream:
                shutil.copyfileobj(source, stream, 1 << 20)


def _gather(description: Description, scratch: Path) -> dict[str, Path]:
    """Every file of a package but the rdf, by its name there."""
    sample, normalisation = description.sample, description.network.normalisation
    texts = {
        files.README: write_card(description).encode(),
        files.COVER: draw_cover(description),
        files.POSTPROCESSING: postprocessing_macro(description.scale).encode(),
        files.TEST_INPUT: _npy(sample.image[np.newaxis]),
        files.TEST_OUTPUT: _npy(sample.restored[np.newaxis]),
    }
    macro = preprocessing_macro(normalisation, description.network.channels_in)
    if macro is not None:
        texts[files.PREPROCESSING] = macro.encode()
    for name, data in texts.items():
        (scratch / name).write_bytes(data)
    write_imagej_tiff(scratch / files.SAMPLE_INPUT, _storable(sample.image), sample.pixel_size_um)
    write_imagej_tiff(
        scratch / files.SAMPLE_OUTPUT,
        _planar(sample.restored.astype(np.float32, copy=False)),
        description.output_pixel_size_um,
    )
    named = {name: scratch / name for name in (*texts, files.SAMPLE_INPUT, files.SAMPLE_OUTPUT)}
    return {**named, **{name: artifact.path for name, artifact in _written(description).items()}}


def _written(description: Description) -> dict[str, Artifact]:
    return {**description.weights, **description.attached}


def _check_weights(description: Description, hashes: Mapping[str, str]) -> None:
    for name, artifact in _written(description).items():
        if hashes[name] != artifact.sha256:
            raise PackageError(
                f"{artifact.path}: is not the file that was converted (SHA-256 "
                f"{hashes[name][:12]}…, expected {artifact.sha256[:12]}…); convert again"
            )


def _npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array, np.float32), allow_pickle=False)
    return stream.getvalue()


def _storable(image: NDArray[Any]) -> NDArray[Any]:
    """The image in a type ImageJ has: its own, or float32, which is what the network sees."""
    kept = image.dtype.newbyteorder("=") in (np.uint8, np.uint16, np.float32)
    return _planar(image if kept else image.astype(np.float32))


def _planar(image: NDArray[Any]) -> NDArray[Any]:
    return image[0] if image.shape[0] == 1 else image
