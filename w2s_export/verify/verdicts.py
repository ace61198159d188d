"""The answer for each client: does it take the package?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from w2s_export.errors import ConfigError
from w2s_export.verify.findings import Client, Finding, Severity

CLIENT_NAMES = {
    "deepimagej-2.1": Client.deepimagej_2_1,
    "deepimagej-3.0": Client.deepimagej_3_0,
    "deepimagej-3.1": Client.deepimagej_3_1,
    "core-0.10": Client.core_0_10,
    "core-0.11": Client.core_0_11,
    "zoo": Client.zoo,
}
"""What a user calls each client."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one client takes a package."""

    client: Client
    meant: bool
    """Whether the package is meant for it."""
    accepts: bool
    """Whether it opens the package and shows the right pixels."""
    findings: tuple[Finding, ...]
    """Everything that concerns it, warnings included."""

    def as_json(self) -> dict[str, Any]:
        """The verdict as plain values."""
        return {
            "client": self.client.value,
            "meant": self.meant,
            "accepts": self.accepts,
            "codes": sorted({finding.code.value for finding in self.findings}),
        }


def judge(findings: Sequence[Finding], meant: Iterable[Client]) -> tuple[Verdict, ...]:
    """A verdict for every client.

    Args:
        findings: of one package.
        meant: clients it is meant for.
    """
    intended = frozenset(meant)
    verdicts = []
    for client in Client:
        own = tuple(
            finding
            for finding in findings
            if (client in finding.clients or not finding.clients)
            and finding.severity is not Severity.note
        )
        accepts = all(finding.severity is not Severity.error for finding in own)
        verdicts.append(Verdict(client, client in intended, accepts, own))
    return tuple(verdicts)


def named_clients(names: Iterable[str]) -> tuple[Client, ...]:
    """Clients by their names, or by how several names begin: `deepimagej` is all three.

    Raises:
        ConfigError: a name that no client has.
    """
    chosen: dict[Client, None] = {}
    for name in names:
        matching = [client for key, client in CLIENT_NAMES.items() if key.startswith(name.lower())]
        if not name or not matching:
            raise ConfigError(
                f"--client {name}: no such client; there are {', '.join(CLIENT_NAMES)}"
            )
        chosen.update(dict.fromkeys(matching))
    return tuple(chosen)
