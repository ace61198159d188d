"""What every test process starts with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

# `export` sets it too, but a process that has loaded TensorFlow before does not heed it: with
# oneDNN the same input does not always give the same bytes.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What runs on this machine have found out is neither used nor added to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def core_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports that pass without bioimageio.core's own test, which takes half of their time: for
    tests that ask something else of a package."""
    from w2s_export.verify.clients import core_tests

    class Unasked:
        def __init__(self, packages: Sequence[Path] = ()) -> None:
            self._packages = packages

        def prepare(self, _: object) -> None:
            pass

        def test(self, packages: Sequence[Path]) -> Unasked:
            return Unasked(packages)

        def finish(self) -> tuple[core_tests.CoreTest, ...]:
            return tuple(
                core_tests.CoreTest(package.name, name, core_tests.Result.passed)
                for package in self._packages
                for name in (core_tests.ONNX, core_tests.SAVED_MODEL)
            )

    monkeypatch.setattr(core_tests, "core_program", lambda *_, **__: nullcontext(Unasked()))
