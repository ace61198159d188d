"""Which versions of the format each client reads: the one table of them.

docs/clients.md repeats it; a test compares it with the bioimageio.spec that is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from w2s_export.verify.findings import Client

Release = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reads:
    """The versions that a client reads."""

    families: tuple[Release, ...]
    """Major and minor numbers that it reads."""
    last: Release | None
    """Newest version it reads; None where it reads every later one of the families."""
    words: str
    """The same, for people."""

    def covers(self, release: Release) -> bool:
        """Whether a description of this version is read."""
        known = release[:2] in self.families
        return known and (self.last is None or release <= self.last)


_04 = Reads(((0, 4),), None, "these versions read 0.4 alone")
_SPEC_0510 = Reads(((0, 3), (0, 4), (0, 5)), (0, 5, 10), "the zoo reads up to 0.5.10")
READS: Mapping[Client, Reads] = MappingProxyType(
    {
        # deepimagej-plugin 2.1.16 and 3.0.1: config.deepimagej of format 0.4
        Client.deepimagej_2_1: _04,
        Client.deepimagej_3_0: _04,
        # JDLL 0.6.1, ModelDescriptorFactory: a text that starts with 0.4 or 0.5
        Client.deepimagej_3_1: Reads(((0, 4), (0, 5)), None, "JDLL reads 0.4.x and 0.5.x"),
        # bioimageio.spec 0.5.10.0
        Client.core_0_10: _SPEC_0510,
        Client.zoo: _SPEC_0510,
        # bioimageio.spec 0.5.12.0: 0.3 is converted ✔, later versions are read as CORE_KNOWS ✔
        Client.core_0_11: Reads(
            ((0, 3), (0, 4), (0, 5), (0, 6)), None, "bioimageio.spec reads 0.3 to 0.5"
        ),
    }
)
CORE_KNOWS: Release = (0, 5, 12)
"""Newest version that bioimageio.core 0.11.0 knows, by the bioimageio.spec it pins."""
