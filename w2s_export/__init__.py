"""Turns trained image-restoration networks of microscopy into verified packages.

    import w2s_export as w2s

    w2s.load("generator.pth")                                    # → Network
    w2s.export("generator.pth", sample="cell.tif", output="out") # → packages and report
    w2s.verify("out/generator.bioimageio.zip").verdicts
    w2s.restore(array, package="out/generator.bioimageio.zip")   # → array

The names below are the public interface; everything else may change without a word. They are
imported when they are first used, so `import w2s_export` loads no framework.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

# ONNX Runtime from 1.32 on sends telemetry unless told otherwise before it is first imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

if TYPE_CHECKING:
    from w2s_export.api import evaluate, export, load, restore, simulate, submit, train, verify
    from w2s_export.config import (
        FixedRangeNormalisation,
        GeneratorConfig,
        PercentileNormalisation,
        Provenance,
    )
    from w2s_export.errors import W2SExportError
    from w2s_export.export import ExportResult
    from w2s_export.network import Network
    from w2s_export.submit import Submission
    from w2s_export.verify.findings import Client, Code, Finding, Severity
    from w2s_export.verify.report import Report
    from w2s_export.viewer.divider import Divider

_PLACES = {
    "api": ("evaluate", "export", "load", "restore", "simulate", "submit", "train", "verify"),
    "config": (
        "FixedRangeNormalisation",
        "GeneratorConfig",
        "PercentileNormalisation",
        "Provenance",
    ),
    "errors": ("W2SExportError",),
    "export": ("ExportResult",),
    "network": ("Network",),
    "submit": ("Submission",),
    "verify.findings": ("Client", "Code", "Finding", "Severity"),
    "verify.report": ("Report",),
    "viewer.divider": ("Divider",),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}

__all__ = [  # noqa: RUF022 - functions first
    "load",
    "export",
    "verify",
    "restore",
    "train",
    "evaluate",
    "simulate",
    "submit",
    "Client",
    "Code",
    "Divider",
    "ExportResult",
    "Finding",
    "FixedRangeNormalisation",
    "GeneratorConfig",
    "Network",
    "PercentileNormalisation",
    "Provenance",
    "Report",
    "Severity",
    "Submission",
    "W2SExportError",
]


class _Room(ModuleType):
    """A room named as a public function is: called, it is that function.

    `w2s_export.restore` is the package that restores and the function that a user calls. Python
    puts a package into its parent's namespace when it is first imported, over any function there.
    """

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self.__wrapped__(*arguments, **keywords)

    @property
    def __wrapped__(self) -> Any:
        """The function; `inspect.signature` and `help` look here."""
        return getattr(import_module("w2s_export.api"), self.__name__.rpartition(".")[2])


class _House(ModuleType):
    """This package."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _PLACES["api"] and isinstance(value, ModuleType):
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _House


def __getattr__(name: str) -> Any:
    if name not in _PLACE_OF:
        raise AttributeError(f"module 'w2s_export' has no attribute '{name}'")
    return getattr(import_module(f"w2s_export.{_PLACE_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
