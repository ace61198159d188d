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

    @property
    def KEY(self) -> str:  # noqa: N802 - a module's constant
        """Its name in an rdf, e.g. `onnx`."""

    @property
    def FILE(self) -> str:  # noqa: N802
        """Its file in a package."""

    @property
    def TITLE(self) -> str:  # noqa: N802
        """Its name for people."""

    @property
    def write(self) -> Write:
        """Write a network to a file."""

    @property
    def rdf_entry(self) -> RdfEntry:
        """What an rdf says of it beside source and hash, by format version ("0.4", "0.5")."""

    @property
    def load(self) -> Load:
        """Load the file back in its own runtime."""


class Write(Protocol):
    """Writes a network to a file."""

    def __call__(self, network: Network, path: Path) -> Artifact:
        """Write at once or not at all."""
        ...


class RdfEntry(Protocol):
    """Fields of an rdf's weights entry."""

    def __call__(self, format_version: str) -> dict[str, Any]:
        """Fields for this format version."""
        ...


class Load(Protocol):
    """Loads a written file."""

    def __call__(self, path: Path) -> Runtime:
        """Load it."""
        ...


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
