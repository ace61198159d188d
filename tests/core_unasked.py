"""Exports and verifications without bioimageio.core's own test, which takes half of their time.

For tests that ask something else of a package.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from w2s_export.verify import run_weights
from w2s_export.verify.clients import core_tests


class _Unasked:
    def __init__(self, packages: Sequence[Path] = ()) -> None:
        self._packages = packages

    def prepare(self, _: object) -> None:
        pass

    def test(self, packages: Sequence[Path]) -> _Unasked:
        return _Unasked(packages)

    def finish(self) -> tuple[core_tests.CoreTest, ...]:
        return tuple(
            core_tests.CoreTest(package.name, name, core_tests.Result.passed)
            for package in self._packages
            for name in (core_tests.ONNX, core_tests.SAVED_MODEL)
        )


def leave_core_out(patch: pytest.MonkeyPatch) -> None:
    """Until the patch is undone; exports report it as passed, verifications as not made."""
    patch.setattr(run_weights, "TESTED", ())
    patch.setattr(core_tests, "core_program", lambda *_, **__: nullcontext(_Unasked()))
