"""Every format a network is written in. A new one is a module beside these and a name below."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from w2s_export.formats import cpu_fast, onnx, saved_model
from w2s_export.formats.artifact import Artifact

if TYPE_CHECKING:
    from w2s_export.network import Network
    from w2s_export.runtime.protocol import Runtime


class Format(Protocol):
    """What a format's module offers."""

    KEY: str
    """Its name in an rdf, e.g. `onnx`."""
    FILE: str
    """Its file in a package."""
    TITLE: str
    """Its name for people."""

    def write(self, network: Network, path: Path) -> Artifact:
        """Write a network to a file, at once or not at all."""

    def rdf_entry(self, format_version: str) -> dict[str, Any]:
        """What an rdf says of it beside source and hash, by format version ("0.4", "0.5")."""

    def load(self, path: Path) -> Runtime:
        """Load the file back in its own runtime."""


WEIGHTS: tuple[Format, ...] = (saved_model, onnx)
"""Formats of an rdf's `weights`; the first of them that a package holds is the parent of others."""
ATTACHMENTS: tuple[Format, ...] = (cpu_fast,)
"""Formats that travel beside the weights, for this tool's own use."""


def format_of(key: str) -> Format:
    """The format of this key.

    Raises:
        KeyError: there is none.
    """
    return {known.KEY: known for known in (*WEIGHTS, *ATTACHMENTS)}[key]
