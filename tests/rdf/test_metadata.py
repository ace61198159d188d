from __future__ import annotations

from pathlib import Path

import pytest

from tests import factories
from w2s_export.config import Provenance
from w2s_export.errors import ConfigError
from w2s_export.network import Network
from w2s_export.rdf.metadata import Metadata, check_name, default_metadata, read_metadata

COMPLETE = """
name: my model (2x)
description: Widefield in, SIM-like out.
authors:
  - name: Ada Lovelace
    affiliation: London
    email: ada@example.org
    orcid: 0000-0002-1825-0097
    github_user: ada-l
maintainers:
  - github_user: ada-l
cite:
  - text: A paper.
    doi: 10.1038/s41592-020-01048-5
  - text: A page.
    url: https://example.org/paper
license: BSD-3-Clause
tags: [microtubules]
version: 1.2.0
git_repo: https://example.org/repo
timestamp: 2024-05-06T07:08:09
data: My own pairs.
limitations: Only microtubules.
notes: Nothing else.
"""


def network(**origin: str) -> Network:
    return factories.network(provenance=Provenance(**origin))


def write(folder: Path, text: str) -> Path:
    path = folder / "metadata.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_complete_file_is_read(tmp_path: Path) -> None:
    metadata = read_metadata(write(tmp_path, COMPLETE))
    assert metadata.authors[0].orcid == "0000-0002-1825-0097"
    assert metadata.cite[1].url == "https://example.org/paper"
    assert metadata.license == "BSD-3-Clause"
    assert metadata.timestamp is not None
    assert metadata.timestamp.isoformat() == "2024-05-06T07:08:09"


def test_an_empty_file_leaves_everything_to_the_defaults(tmp_path: Path) -> None:
    assert read_metadata(write(tmp_path, "")) == Metadata()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("licence: MIT", ["licence", "known keys"]),
        ("license: CC-BY 4.0", ["'license'", "CC-BY-4.0"]),
        ("license: cc-by-4.0", ["did you mean CC-BY-4.0"]),
        ("license: GPL-3.0", ["'license'", "SPDX"]),  # deprecated: -only or -or-later
        ("authors: Ada", ["'authors'"]),
        ("authors: [{affiliation: London}]", ["authors.0.name"]),
        ("authors: [{name: A/B}]", ["authors.0.name", "slash"]),
        ("authors: [{name: A, orcid: 0000-0002-1825-0098}]", ["authors.0.orcid", "check digit"]),
        ("authors: [{name: A, orcid: '1825'}]", ["authors.0.orcid"]),
        ("authors: [{name: A, email: ada}]", ["authors.0.email"]),
        ("maintainers: [{name: Ada}]", ["maintainers.0.github_user"]),
        ("maintainers: [{github_user: -ada}]", ["maintainers.0.github_user"]),
        ("cite: [{text: A paper.}]", ["cite.0", "doi or a url"]),
        (
            "cite: [{text: A, doi: 'https://doi.org/10.1000/1'}]",
            ["cite.0.doi", "write 10.1234/abc"],
        ),
        ("cite: [{text: A, url: example}]", ["cite.0.url"]),
        ("name: abc", ["'name'", "5 to 128"]),
        ("version: one", ["'version'", "0.1.0"]),
        ("description: 5\nversion: 1", ["'description'", "'version'"]),
        ("- a list", ["metadata.yaml"]),
        ("a: &a 1\nb: *a", ["aliases"]),
        ("authors: [", ["YAML"]),
    ],
)
def test_a_malformed_file_names_every_fault(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read_metadata(write(tmp_path, text))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["abcde", "a" * 128, "wf2sim-microtubules-s", "My_model+ (v2)"])
def test_names_the_zoo_accepts(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("abcd", "4 characters"),
        ("a" * 129, "129 characters"),
        ("a/b/c", "'/'"),
        ("naïve model", "'ï'"),
        ("two\nlines", r"'\n'"),
        ("..%model", "'.%'"),
        ("model ", "space"),
        ("", "0 characters"),
    ],
)
def test_names_the_zoo_refuses(name: str, word: str) -> None:
    with pytest.raises(ConfigError, match="5 to 128 letters, digits, spaces") as caught:
        check_name(name)
    assert word in str(caught.value)


def test_defaults_cite_what_the_network_and_its_data_stand_on() -> None:
    metadata = default_metadata(
        network(data="BioSR (Qiao & Li 2020)", license="CC-BY-4.0", name="a model")
    )
    assert [entry.doi for entry in metadata.cite] == [
        "10.48550/arXiv.1809.00219",
        "10.6084/m9.figshare.13264793",
        "10.1038/s41592-020-01048-5",
    ]
    assert metadata.license == "CC-BY-4.0"
    assert metadata.name == "a model"


@pytest.mark.parametrize(
    ("data", "cited"),
    [
        ("W2S (Zhou et al. 2020), 360 fields", True),
        ("pairs of the w2s set", True),
        ("my own pairs, by w2s-export simulate", False),
        ("my own pairs", False),
        ("", False),
    ],
)
def test_only_networks_of_w2s_cite_it(data: str, cited: bool) -> None:
    dois = {entry.doi for entry in default_metadata(network(data=data)).cite}
    assert ({"10.48550/arXiv.2003.05961", "10.48550/arXiv.2004.10884"} <= dois) == cited
    assert "10.48550/arXiv.1809.00219" in dois


def test_other_data_are_not_credited_to_biosr() -> None:
    dois = {entry.doi for entry in default_metadata(network(data="my own pairs")).cite}
    assert "10.6084/m9.figshare.13264793" not in dois


def test_no_licence_is_invented() -> None:
    assert default_metadata(network()).license is None


def test_what_the_user_wrote_wins_but_the_data_stay_cited() -> None:
    given = Metadata.model_validate(
        {"cite": [{"text": "Mine.", "doi": "10.1000/mine"}], "license": "MIT", "tags": ["mine"]}
    )
    metadata = default_metadata(network(data="BioSR", license="CC-BY-4.0"), given)
    assert [entry.doi for entry in metadata.cite] == [
        "10.1000/mine",
        "10.6084/m9.figshare.13264793",
        "10.1038/s41592-020-01048-5",
    ]
    assert (metadata.license, metadata.tags) == ("MIT", ("mine",))


def test_a_provenance_the_zoo_refuses_is_named() -> None:
    with pytest.raises(ConfigError, match=r"provenance of the checkpoint.*'license'"):
        default_metadata(network(license="free for all"))


def test_our_name_rule_is_the_specifications() -> None:
    from bioimageio.spec.model.v0_5 import ModelDescr
    from pydantic import TypeAdapter, ValidationError

    field = ModelDescr.model_fields["name"]
    rule = TypeAdapter(field.rebuild_annotation())

    def accepted(name: str) -> bool:
        try:
            rule.validate_python(name)
        except ValidationError:
            return False
        return True

    def ours(name: str) -> bool:
        try:
            check_name(name)
        except ConfigError:
            return False
        return True

    names = [f"name{chr(code)}x" for code in range(1, 300)] + ["a" * n for n in (4, 5, 128, 129)]
    assert [ours(name) for name in names] == [accepted(name) for name in names]
