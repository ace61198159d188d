"""What a package of others says beside its weights: people, licence, citations, sample."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import parse_config
from w2s_export.data.normalise import normalise
from w2s_export.errors import ConfigError, ImageError, PackageError, W2SExportError
from w2s_export.io.images import read_image
from w2s_export.io.temporary import temporary_folder
from w2s_export.network import Network
from w2s_export.package.opening import OpenedPackage, open_package
from w2s_export.package.reexport import Recorded
from w2s_export.package.sample import SMALLEST, RawSample, read_sample
from w2s_export.rdf.metadata import NAME_CHARACTERS, NOT_STATED, Metadata
from w2s_export.rdf.reading import axes, example_tensors, listed
from w2s_export.sources.earlier_fields import in_common_fields

_log = logging.getLogger(__name__)

_LARGEST = 1 << 28
"""Bytes of a test image."""
_PICTURES = (".tif", ".tiff", ".png")
"""Endings of test images that are no arrays, as N2V and CSBDeep write them."""
_NEEDED = {"authors": "name", "maintainers": "github_user", "cite": "text"}
"""What an entry of a list cannot do without."""


def read_others(path: Path, channels: int) -> Recorded:
    """Metadata and test image of a package that this tool did not write.

    Args:
        path: the zip.
        channels: of its network's input.

    Raises:
        PackageError: unsafe or damaged.
    """
    package = _opened(path)
    return Recorded(_metadata(package.rdf), _sample(package, channels))


def differs_from_test(path: Path, network: Network) -> float | None:
    """How far the network is from what the package says it makes of its test image.

    Args:
        path: the package.
        network: of its weights and its description.

    Returns:
        The largest difference, part of the range; None without test images that fit.

    Raises:
        PackageError: unsafe or damaged.
    """
    package = _opened(path)
    given, expected = (_test_image(package, side) for side in ("inputs", "outputs"))
    if given is None or expected is None or given.shape[0] != network.channels_in:
        return None
    try:
        made = network.reference()(normalise(given, network.normalisation)[np.newaxis])[0]
    except W2SExportError:
        return None
    if made.shape != expected.shape:
        return float("inf")
    return float(np.abs(made - expected).max() / (np.ptp(expected) or 1.0))


def _opened(path: Path) -> OpenedPackage:
    package = open_package(path)
    return replace(package, rdf=dict(in_common_fields(package.rdf)))


def _metadata(rdf: Mapping[str, Any]) -> Metadata:
    """What of the description passes today's checks; the rest is named in a warning."""
    values = {
        key: rdf.get(key)
        for key in ("name", "description", "license", "tags", "version", "git_repo")
    }
    values["name"] = _name(values["name"])
    kept = {key: value for key, value in values.items() if value and _passes(key, value)}
    people = [_person(person, with_user=False) for person in listed(rdf, "authors")]
    keepers = [_person(person, with_user=True) for person in listed(rdf, "maintainers")]
    place = rdf.get("git_repo") or NOT_STATED.url  # format 0.3 asks for none
    works = [_citation(entry, place) for entry in listed(rdf, "cite")]
    for key, entries in (("authors", people), ("maintainers", keepers), ("cite", works)):
        if found := [good for entry in entries if (good := _usable(key, entry)) is not None]:
            kept[key] = found
    return parse_config(Metadata, kept, "its rdf")


def _name(stated: Any) -> Any:
    """The name without characters that today's format has none of, such as the point."""
    if not isinstance(stated, str):
        return stated
    kept = "".join(c if c in NAME_CHARACTERS else " " for c in stated)
    return " ".join(kept.split())


def _passes(key: str, value: Any) -> bool:
    try:
        parse_config(Metadata, {key: value}, "its rdf")
    except ConfigError as error:
        _log.warning("left out of the package's metadata: %s", error)
        return False
    return True


def _usable(key: str, entry: dict[str, Any]) -> dict[str, Any] | None:
    """A person or a citation without what does not pass; None where it says too little."""
    with suppress(ConfigError):
        parse_config(Metadata, {key: [entry]}, "its rdf")
        return entry
    kept = {k: v for k, v in entry.items() if k == _NEEDED[key]}
    kept |= {k: v for k, v in entry.items() if k not in kept and _passes(key, [{**kept, k: v}])}
    return kept if _passes(key, [kept]) else None


def _person(person: Any, *, with_user: bool) -> dict[str, Any]:
    keys = ("name", "affiliation", "email", "orcid", "github_user")
    stated = person if isinstance(person, Mapping) else {"name": str(person)}
    found = {key: stated[key] for key in keys if stated.get(key)}
    if "name" in found:
        found["name"] = str(found["name"]).replace("/", " ").replace("\\", " ")
    return found if with_user or "name" in found else {**found, "name": "Author not stated"}


def _citation(entry: Any, place: Any) -> dict[str, Any]:
    stated = entry if isinstance(entry, Mapping) else {"text": str(entry)}
    found = {key: str(stated[key]) for key in ("text", "doi", "url") if stated.get(key)}
    if "doi" not in found and re.match(r"10\.\d{4,}/", found.get("url", "")):
        found["doi"] = found.pop("url")  # as StarDist's packages have it
    if "doi" in found:
        found["doi"] = found["doi"].split("doi.org/")[-1]
    if not found.keys() & {"doi", "url"}:
        found["url"] = str(place)
    return found


def _sample(package: OpenedPackage, channels: int) -> RawSample | None:
    """The test image, else the sample image; None where neither fits the network."""
    image = _test_image(package, "inputs")
    if image is not None and image.shape[0] == channels and min(image.shape[1:]) >= SMALLEST:
        return RawSample(image, None, f"the test image of {package.path.name}")
    name = next(iter(example_tensors(package.rdf, "sample", "inputs")), None)
    if name is not None and name in package.sizes:
        with temporary_folder() as folder, suppress(ImageError):
            package.extract(folder, name)
            sample = read_sample(folder / name, channels)
            return replace(sample, name=f"the sample image of {package.path.name}")
    _log.warning(
        "%s: holds no image of at least %d×%d pixels that fits the network of %d channels; give "
        "one with --sample",
        package.path,
        SMALLEST,
        SMALLEST,
        channels,
    )
    return None


def _test_image(package: OpenedPackage, side: str) -> NDArray[Any] | None:
    """The first test tensor's first image, (C, H, W); None where there is none."""
    names = example_tensors(package.rdf, "test", side)
    name = names[0] if names else None
    if name is None or name not in package.sizes:
        return None
    try:
        if name.lower().endswith(_PICTURES):
            with temporary_folder() as folder:
                package.extract(folder, name)
                image: NDArray[Any] = read_image(folder / name).pixels[0]
                return image
        array = np.load(BytesIO(package.read(name, _LARGEST)), allow_pickle=False)
    except (ImageError, ValueError, EOFError, OSError) as error:
        raise PackageError(f"{package.path}: its test image '{name}' is damaged: {error}") from None
    return _planes(array, axes(listed(package.rdf, side)[0]))


def _planes(array: NDArray[Any], letters: str) -> NDArray[Any] | None:
    """The first image of a batch, (C, H, W)."""
    if len(letters) != array.ndim or set(letters) - set("bcyx") or not {"y", "x"} <= set(letters):
        return None
    if "b" in letters:
        array, letters = array.take(0, letters.index("b")), letters.replace("b", "")
    if "c" not in letters:
        array, letters = array[np.newaxis], f"c{letters}"
    image: NDArray[Any] = array.transpose([letters.index(axis) for axis in "cyx"])
    return image
