"""What both rdf formats say in the same words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from w2s_export.config import Frozen
from w2s_export.formats.registry import format_of
from w2s_export.rdf import description as files
from w2s_export.rdf.description import Description, Hashes, without_empty
from w2s_export.rdf.metadata import Metadata

if TYPE_CHECKING:
    from w2s_export.network import Network


def people_and_words(description: Description) -> dict[str, Any]:
    """Name, people, citations, licence, tags and documents.

    The documents are plain strings: what every client of both formats reads.
    """
    metadata = description.metadata
    stated = metadata.model_dump(mode="json", exclude_none=True)
    return without_empty(
        {
            "name": description.name,
            "description": metadata.description,
            "authors": stated["authors"],
            "maintainers": stated["maintainers"],
            "cite": stated["cite"],
            "license": metadata.license,
            "tags": stated["tags"],
            "version": metadata.version,
            "git_repo": metadata.git_repo,
            "timestamp": stated.get("timestamp"),
            "documentation": files.README,
            "covers": [files.COVER],
        }
    )


class Record(Frozen):
    """`config.w2s_export.export` of the rdf: what exporting the package again needs."""

    metadata: Metadata
    """All that people wrote about the model, and its name."""
    sample_name: str
    """Where the sample image comes from."""


def own_config(description: Description, hashes: Hashes) -> dict[str, Any]:
    """`config` of the rdf: the nickname, and what rebuilds the package from itself.

    The hash of each attached format too: attachments of format 0.4 have none. `seams` is the
    largest that tiles show, a part of the range, where no halo makes them exact.
    """
    network = description.network
    how = network.normalisation
    named = description.metadata.model_copy(update={"name": description.name})
    record = Record(metadata=named, sample_name=description.sample.name)
    return {
        "bioimageio": {"nickname": description.nickname},
        "w2s_export": {
            **_identity(network),
            "normalisation": how.model_dump(mode="json", exclude_none=True)
            if how
            else {"kind": "none"},
            "provenance": network.provenance.model_dump(mode="json", exclude_defaults=True),
            "export": record.model_dump(mode="json", exclude_defaults=True),
            **({} if description.halo.visible is None else {"seams": description.halo.visible}),
            **{
                extra.format: {"source": name, "sha256": hashes[name]}
                for name, extra in description.attached.items()
            },
        },
    }


def _identity(network: Network) -> dict[str, Any]:
    """What the graph alone does not say: the family's configuration, or what the network is."""
    if network.checkpoint is not None:
        return {"generator": network.checkpoint.config.model_dump(mode="json")}
    stated = ("architecture", "channels_in", "channels_out", "scale", "step", "minimum")
    fixed = {} if network.fixed is None else {"fixed": list(network.fixed)}
    return {"network": {**{name: getattr(network, name) for name in stated}, **fixed}}


def weights_entries(
    description: Description, hashes: Hashes, format_version: str
) -> dict[str, dict[str, Any]]:
    """`weights` of the rdf. Exactly one entry, the first, has no parent."""
    entries: dict[str, dict[str, Any]] = {}
    for name, artifact in description.weights.items():
        parent = {"parent": next(iter(entries))} if entries else {}
        entries[artifact.format] = {
            "source": name,
            "sha256": hashes[name],
            **format_of(artifact.format).rdf_entry(format_version),
            **parent,
        }
    return entries


def without_identity(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out a linear scaling by 1 and 0, which the specification refuses as redundant."""
    identity = {"gain": 1.0, "offset": 0.0}
    return [
        step for step in steps if {key: step["kwargs"].get(key) for key in identity} != identity
    ]
