"""The answer for each client: what does it make of the package?"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from w2s_export.errors import ConfigError
from w2s_export.verify.findings import Client, Code, Finding, Severity

CLIENT_NAMES = {
    "deepimagej-2.1": Client.deepimagej_2_1,
    "deepimagej-3.0": Client.deepimagej_3_0,
    "deepimagej-3.1": Client.deepimagej_3_1,
    "core-0.10": Client.core_0_10,
    "core-0.11": Client.core_0_11,
    "zoo": Client.zoo,
}
"""What a user calls each client."""


class Answer(str, Enum):
    """What a client makes of a package; the same words everywhere."""

    accepts = "accepts"
    """It opens the package and shows the right pixels."""
    accepts_with_warnings = "accepts-with-warnings"
    """So it does; a submission or a user would ask for more."""
    refuses = "refuses"
    """It does not open the package, or shows wrong pixels."""
    not_meant = "not-meant"
    """The package is made for other clients."""
    unproven = "unproven"
    """Nothing speaks against it; not all weights it runs were compared, or our check broke."""

    @property
    def words(self) -> str:
        """For people."""
        return "not meant for" if self is Answer.not_meant else self.value.replace("-", " ")

    @property
    def takes(self) -> bool:
        """Whether the package can be used there."""
        return self in (Answer.accepts, Answer.accepts_with_warnings)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one client makes of one package."""

    package: str
    client: Client
    meant: bool
    """Whether the package is meant for it."""
    answer: Answer
    would: Answer
    """The same, whether the package is meant for it or not."""
    findings: tuple[Finding, ...]
    """Everything that concerns it, warnings included; notes are left out."""


def judge(
    package: str,
    findings: Sequence[Finding],
    meant: Iterable[Client],
    *,
    asked: Collection[Client] = (),
    barred: Collection[Client] = (),
    unproven: Collection[Client] = (),
) -> tuple[Verdict, ...]:
    """A verdict for every client.

    Args:
        package: name of the zip.
        findings: of that package.
        meant: clients it is meant for.
        asked: clients judged by what they would do, though the package be meant for others.
        barred: clients that it cannot be given to, whatever they would make of it.
        unproven: clients for which not all weights that they run were compared.
    """
    intended = frozenset(meant)
    verdicts = []
    for client in Client:
        concerning = [finding for finding in findings if finding.concerns(client)]
        own = tuple(f for f in concerning if f.severity is not Severity.note)
        broken = any(finding.code is Code.internal_error for finding in concerning)
        if any(finding.severity is Severity.error for finding in own):
            would = Answer.refuses
        elif client in unproven or broken:
            would = Answer.unproven
        else:
            would = Answer.accepts_with_warnings if own else Answer.accepts
        judged = client in intended or (client in asked and client not in barred)
        answer = would if judged else Answer.not_meant
        verdicts.append(Verdict(package, client, client in intended, answer, would, own))
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
