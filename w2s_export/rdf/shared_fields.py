"""What both rdf formats say in the same words."""

from __future__ import annotations

from typing import Any

from w2s_export.package.recorded import record
from w2s_export.rdf import description as files
from w2s_export.rdf.description import Description, Hashes, without_nothing


def people_and_words(description: Description) -> dict[str, Any]:
    """Name, people, citations, licence, tags and documents.

    The documents are plain strings: what every client of both formats reads.
    """
    metadata = description.metadata
    stated = metadata.model_dump(mode="json", exclude_none=True)
    return without_nothing(
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


def own_config(description: Description, hashes: Hashes) -> dict[str, Any]:
    """`config` of the rdf: the nickname, and what rebuilds the package from itself.

    The hash of the fast CPU graph too: attachments of format 0.4 have none.
    """
    checkpoint = description.checkpoint
    how = checkpoint.normalisation
    fast = {"source": files.CPU_FAST, "sha256": hashes.get(files.CPU_FAST)}
    return {
        "bioimageio": {"nickname": description.nickname},
        "w2s_export": {
            "generator": checkpoint.config.model_dump(mode="json"),
            "normalisation": how.model_dump(mode="json") if how else {"kind": "none"},
            "provenance": checkpoint.provenance.model_dump(mode="json", exclude_defaults=True),
            "export": record(description),
            **({"cpu_fast": fast} if files.CPU_FAST in hashes else {}),
        },
    }


def worth_stating(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out a linear scaling by 1 and 0, which the specification refuses as redundant."""
    identity = {"gain": 1.0, "offset": 0.0}
    return [
        step for step in steps if {key: step["kwargs"].get(key) for key in identity} != identity
    ]
