"""The licences that bioimage.io knows."""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def spdx_licenses() -> frozenset[str]:
    """SPDX identifiers of bioimageio.spec's data file; empty where it is not installed.

    Without the deprecated ones (`GPL-3.0` is `GPL-3.0-only` or `GPL-3.0-or-later`), for which
    bioimageio.spec warns. The file is read because importing the package is slow.
    """
    spec = find_spec("bioimageio.spec")
    for folder in (spec and spec.submodule_search_locations) or ():
        listing = Path(folder) / "static" / "spdx_licenses.json"
        if listing.is_file():
            entries = json.loads(listing.read_text(encoding="utf-8"))["licenses"]
            return frozenset(
                entry["licenseId"] for entry in entries if not entry["isDeprecatedLicenseId"]
            )
    return frozenset()
