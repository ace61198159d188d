"""The specification's own validator, which bioimageio.core runs before anything else."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from w2s_export.package.opening import OpenedPackage
from w2s_export.verify.findings import Client, Code, Finding, Severity

_CLIENTS = (Client.core_0_10, Client.core_0_11, Client.zoo)
_BECAUSE = "bioimageio.core refuses a description that bioimageio.spec calls invalid."
_MOST = 10


def check_specification(package: OpenedPackage) -> list[Finding]:
    """What bioimageio.spec says of the description, as installed; it opens no file and no address.

    A note where it does not work here, which says nothing of the package.
    """
    try:
        with _without_collection():
            from bioimageio.spec import ValidationContext, build_description
    except Exception as error:  # any at all, of any library that it imports
        return [
            Finding(
                Code.core_unavailable,
                "bioimageio.spec",
                f"cannot be imported: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
                Severity.note,
                _CLIENTS,
                "mend the environment, then verify again",
                package=package.path.name,
            )
        ]
    # Told to collect errors, it draws each of its own failures as a picture of the traceback.
    context = ValidationContext(
        perform_io_checks=False, update_hashes=False, log_warnings=False, raise_errors=True
    )
    try:
        build_description(_plain(package.rdf), context=context)
        return []
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        found = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in faults]
    except MemoryError:
        raise  # not the description's doing
    except Exception as error:  # the validator stumbles over what it should refuse
        found = [(package.rdf_name, f"{type(error).__name__}: {error}")]
    return [
        Finding(
            Code.rdf_invalid,
            where or package.rdf_name,
            " ".join(message.split())[:300],
            clients=_CLIENTS,
            remedy="write what the specification asks for",
            because=_BECAUSE,
            package=package.path.name,
        )
        for where, message in (found or [("", "invalid")])[:_MOST]
    ]


@contextmanager
def _without_collection() -> Iterator[None]:
    """Import without looking for garbage meanwhile: a tenth faster."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _plain(value: Any) -> Any:
    """A copy: the validator may edit what it is given."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
