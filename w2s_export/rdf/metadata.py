"""What people write about a model: authors, citations, licence, tags.

Formats checked here are those of the bioimage.io model description 0.5 (bioimageio.spec 0.5.12),
so that a mistake is named when the file is read and not after minutes of conversion.
"""

from __future__ import annotations

import re
import string
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, StringConstraints, model_validator

from w2s_export.config import Frozen, parse_config
from w2s_export.errors import ConfigError
from w2s_export.io.yaml_files import read_yaml
from w2s_export.rdf.licenses import spdx_licenses

if TYPE_CHECKING:
    from w2s_export.network import Network

NAME_CHARACTERS = string.ascii_letters + string.digits + "_+- ()"
NAME_LENGTH = (5, 128)


def check_name(name: str) -> str:
    """Return the name if bioimage.io accepts it.

    Raises:
        ConfigError: says which characters or which length are at fault, and what is allowed.
    """
    shortest, longest = NAME_LENGTH
    foreign = "".join(dict.fromkeys(c for c in name if c not in NAME_CHARACTERS))
    fault = None
    if foreign:
        fault = f"it holds {foreign!r}"
    elif not shortest <= len(name) <= longest:
        fault = f"it has {len(name)} character{'' if len(name) == 1 else 's'}"
    elif name != name.strip():
        fault = "it begins or ends with a space"
    if fault:
        raise ConfigError(
            f"name {name!r:.80} cannot be used: {fault}; bioimage.io allows {shortest} to "
            f"{longest} letters, digits, spaces and _ + - ( )"
        )
    return name


def _name(value: str) -> str:
    try:
        return check_name(value)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _person_name(value: str) -> str:
    if "/" in value or "\\" in value:
        raise ValueError("holds a slash, which bioimage.io does not allow in a person's name")
    return value


def _orcid(value: str) -> str:
    digits = value.replace("-", "")
    total = 0
    for digit in digits[:-1]:
        total = 2 * (total + int(digit))
    if "0123456789X"[(12 - total % 11) % 11] != digits[-1]:
        raise ValueError("its check digit is wrong: a digit is mistyped (ISO 7064)")
    return value


def _license(value: str) -> str:
    known = spdx_licenses()
    if known and value not in known:
        near = [name for name in known if name.lower() == value.lower().replace(" ", "-")]
        hint = f"did you mean {near[0]}?" if near else "e.g. CC-BY-4.0, MIT, BSD-3-Clause"
        raise ValueError(f"is no SPDX licence identifier (https://spdx.org/licenses); {hint}")
    return value


def _version(value: str) -> str:
    from packaging.version import InvalidVersion, Version

    try:
        Version(value)
    except InvalidVersion:
        raise ValueError("is no version; write e.g. 0.1.0") from None
    return value


def _matching(pattern: str, words: str) -> AfterValidator:
    """Text of this form; `words` say what to write."""

    def check(value: str) -> str:
        if re.search(pattern, value) is None:
            raise ValueError(words)
        return value

    return AfterValidator(check)


Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256)]
ModelName = Annotated[str, AfterValidator(_name)]
Url = Annotated[
    str,
    StringConstraints(max_length=2048),
    _matching(r"^https?://[^\s/]+\.\S+$", "write an address, e.g. https://example.org/paper"),
]
PersonName = Annotated[Line, AfterValidator(_person_name)]
GithubUser = Annotated[
    str,
    StringConstraints(max_length=39),
    _matching(
        r"^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$", "write the name of the account alone, e.g. ada-example"
    ),
]


class _Contact(Frozen):
    affiliation: Line | None = None
    """Institution."""
    email: (
        Annotated[
            str,
            _matching(r"^[^\s@]+@[^\s@.]+(\.[^\s@.]+)+$", "write an address, e.g. ada@example.org"),
        ]
        | None
    ) = None
    """Address that may be published."""
    orcid: (
        Annotated[
            str,
            _matching(
                r"^(\d{4}-){3}\d{3}[\dX]$",
                "write 0000-0001-2345-6789, without https://orcid.org/",
            ),
            AfterValidator(_orcid),
        ]
        | None
    ) = None
    """ORCID iD, e.g. 0000-0001-2345-6789."""


class Person(_Contact):
    """An author."""

    name: PersonName
    """Full name."""
    github_user: GithubUser | None = None
    """Account on GitHub; with one, an author can maintain the model in the zoo."""


class Maintainer(_Contact):
    """Somebody the zoo may ask about the model."""

    name: PersonName | None = None
    """Full name."""
    github_user: GithubUser
    """Account on GitHub."""


class Citation(Frozen):
    """One entry to cite; `doi` or `url` is needed."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2048)]
    """Authors, title, place, year."""
    doi: (
        Annotated[
            str, _matching(r"^10\.\d{4}\S*/\S+$", "write 10.1234/abc, without https://doi.org/")
        ]
        | None
    ) = None
    """Digital object identifier without https://doi.org/."""
    url: Url | None = None
    """Address, where there is no DOI."""

    @model_validator(mode="after")
    def _found_somewhere(self) -> Citation:
        if not self.doi and not self.url:
            raise ValueError("needs a doi or a url")
        return self


class Metadata(Frozen):
    """Content of the `--metadata` file. What it leaves out, `default_metadata` fills in."""

    name: ModelName | None = None
    """Name of the model and of its files; 5 to 128 letters, digits, spaces and _ + - ( )."""
    description: Annotated[str, StringConstraints(strip_whitespace=True, max_length=1024)] = ""
    """What goes in and what comes out, in a sentence or two."""
    authors: tuple[Person, ...] = ()
    """Who trained the model."""
    maintainers: tuple[Maintainer, ...] = ()
    """Who answers for it in the zoo."""
    cite: tuple[Citation, ...] = ()
    """What to cite, each with a `text` and a `doi` (10.1234/abc) or a `url`. Citations of the
    training data are added where a licence asks for them."""
    license: Annotated[str, AfterValidator(_license)] | None = None
    """SPDX identifier of the weights' licence, e.g. CC-BY-4.0."""
    tags: tuple[Line, ...] = ()
    """Search words."""
    modality: Line | None = None
    """Kind of microscopy, e.g. `fluorescence light microscopy`."""
    structures: tuple[Line, ...] = ()
    """What the images show, e.g. `microtubules`."""
    version: Annotated[str, AfterValidator(_version)] = "0.1.0"
    """Version of the model."""
    git_repo: Url | None = None
    """Repository the model is developed in."""
    timestamp: datetime | None = None
    """When the model was made."""
    data: str = ""
    """Markdown for the card: training data and their source."""
    attribution: str = ""
    """Credit that the data's licence asks for."""
    limitations: str = ""
    """Markdown for the card: what the model should not be used for."""
    notes: str = ""
    """Markdown for the card: anything else."""


W2S = Citation(
    text="Zhou, R. et al. W2S: Microscopy Data with Joint Denoising and Super-Resolution for "
    "Widefield to SIM Mapping. ECCV Workshops, 2020.",
    doi="10.48550/arXiv.2003.05961",
)
ESRGAN = Citation(
    text="Wang, X. et al. ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks. "
    "ECCV Workshops, 2018.",
    doi="10.48550/arXiv.1809.00219",
)
REPORT = Citation(
    text="Chatton, M. Microscopy Image Restoration using Deep Learning on W2S. 2020.",
    doi="10.48550/arXiv.2004.10884",
)
AUTHOR_NOT_STATED = "Author not stated"
NOT_STATED = Citation(
    text="The publication of this network is not stated; ask its authors.",
    url="https://bioimage.io",
)
BIOSR = (
    Citation(
        text="Qiao, C. and Li, D. BioSR: a biological image dataset for super-resolution "
        "microscopy. figshare, 2020.",
        doi="10.6084/m9.figshare.13264793",
    ),
    Citation(
        text="Qiao, C. et al. Evaluation and development of deep neural networks for image "
        "super-resolution in optical microscopy. Nature Methods 18, 194-202, 2021.",
        doi="10.1038/s41592-020-01048-5",
    ),
)
# One of each category the zoo asks for: modality, dimensions, content, framework, software,
# network, task (bioimageio.spec, static/tag_categories.json). RRDBs are residual blocks.
TAGS = (
    "super-resolution-microscopy",
    "fluorescence-light-microscopy",
    "2d",
    "cells",
    "tensorflow",
    "fiji",
    "imagej",
    "deepimagej",
    "resnet",
    "image-restoration",
    "denoising",
    "super-resolution",
    "esrgan",
)
GENERAL_TAGS = tuple(tag for tag in TAGS if tag not in ("resnet", "esrgan", "super-resolution"))


def read_metadata(path: Path) -> Metadata:
    """Read a `--metadata` file.

    Raises:
        ConfigError: names every key at fault, what was got and what is allowed.
    """
    values = read_yaml(path)
    return parse_config(Metadata, {} if values is None else values, str(path))


def default_metadata(network: Network, given: Metadata | None = None) -> Metadata:
    """Fill in what is not given, from the network's provenance and this tool's own sources.

    Args:
        network: says what it is and where it comes from.
        given: what the user wrote; wins wherever it says something.

    Raises:
        ConfigError: the provenance holds something bioimage.io does not accept.
    """
    given = given or Metadata()
    origin = network.provenance
    biosr = "biosr" in f"{origin.data} {origin.attribution} {given.data}".lower()
    data_cites = BIOSR if biosr else ()
    cite = given.cite or _family_cites(network)
    known = {citation.doi for citation in cite}
    enlarged = f" and {network.scale}x as many pixels along each axis" if network.scale > 1 else ""
    values = {
        "name": origin.name or None,
        "description": origin.description
        or f"Restores fluorescence-microscopy images of {network.channels_in} channel"
        f"{'s' * (network.channels_in != 1)} ({network.architecture}): less noise{enlarged}.",
        # The formats want an author; inventing one would be worse than saying so.
        "authors": ({"name": AUTHOR_NOT_STATED},),
        "license": origin.license or None,
        "tags": TAGS if network.checkpoint is not None else GENERAL_TAGS,
        "data": origin.data,
        "attribution": origin.attribution,
        **given.model_dump(exclude_defaults=True),
        "cite": (*cite, *(citation for citation in data_cites if citation.doi not in known)),
    }
    return parse_config(Metadata, values, "provenance of the checkpoint")


def _family_cites(network: Network) -> tuple[Citation, ...]:
    """Papers that the network descends from.

    ESRGAN's for its family, and those of W2S where its provenance names W2S: who trains on other
    data owes them nothing.
    """
    if network.checkpoint is None:
        return (NOT_STATED,)
    origin = network.provenance
    told = f"{origin.name} {origin.description} {origin.data} {origin.attribution}"
    return (W2S, ESRGAN, REPORT) if re.search(r"\bw2s\b(?!-export)", told, re.I) else (ESRGAN,)
