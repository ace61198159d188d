"""The choice of an engine, by faked ones on a faked clock."""

from __future__ import annotations

import gc
import json
import sys
import weakref
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from w2s_export.errors import PackageError
from w2s_export.io import user_cache
from w2s_export.runtime import choice_cache
from w2s_export.runtime.choice_cache import Key
from w2s_export.runtime.choose import Candidate
from w2s_export.runtime.trial import AutoRuntime

TILE = np.random.default_rng(0).random((1, 1, 300, 280), np.float32)
LONG = 1000 * TILE.size
KEY = Key("a" * 64, 2)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Fake:
    """Doubles an image, so many seconds a pixel and so far from exact."""

    name: str
    clock: Clock
    speed: float
    error: float = 0.0
    seen: list[tuple[int, ...]] = field(default_factory=list)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.seen.append(batch.shape)
        self.clock.now += self.speed * batch.size
        result = batch.repeat(2, 2).repeat(2, 3)
        result[..., 0, 0] += np.float32(self.error * np.ptp(result))
        return result

    def candidate(self) -> Candidate:
        return Candidate(self.name, lambda: self, 0.5)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(user_cache, "folder", lambda kind: tmp_path / kind)
    return Clock()


def auto(clock: Clock, *others: Fake, pixels: int = LONG, key: Key | None = None) -> AutoRuntime:
    reference = Fake("reference", clock, 1e-5)
    candidates = [other.candidate() for other in others]
    return AutoRuntime(reference, candidates, pixels=pixels, key=key, clock=clock)


def test_the_fastest_is_taken_and_a_slow_one_is_not(clock: Clock) -> None:
    slow, fast = Fake("slow", clock, 3e-5), Fake("fast", clock, 0.5e-5)
    runtime = auto(clock, slow, fast)
    expected = TILE.repeat(2, 2).repeat(2, 3)
    np.testing.assert_array_equal(runtime(TILE), expected)
    assert (runtime.choice.engine, runtime.choice.reason) == ("fast", "fastest")
    assert runtime.name == "fast"
    assert "fast 0.42" in str(runtime.choice)  # half a hundred-thousandth of a second × 300 × 280
    before = len(slow.seen)
    np.testing.assert_array_equal(runtime(TILE), expected)
    assert fast.seen[-1] == TILE.shape
    assert len(slow.seen) == before
    assert len(slow.seen) <= 2  # once for its result, once timed: hopeless


def test_an_engine_that_compiles_in_its_second_run_is_judged_by_its_third(clock: Clock) -> None:
    class Compiled(Fake):
        def __call__(self, batch: np.ndarray) -> np.ndarray:
            self.speed = {0: 1.4e-5, 1: 5e-5}.get(len(self.seen), 0.8e-5)
            return super().__call__(batch)

    runtime = auto(clock, Compiled("compiled", clock, 0))
    runtime(TILE)
    assert (runtime.choice.engine, runtime.choice.reason) == ("compiled", "fastest")


def test_engines_that_lost_are_let_go(clock: Clock) -> None:
    reference, fast = Fake("reference", clock, 1e-5), Fake("fast", clock, 1e-6)
    held = weakref.ref(reference)
    runtime = AutoRuntime(reference, [fast.candidate()], pixels=LONG, clock=clock)
    runtime(TILE)
    del reference
    gc.collect()
    assert runtime.choice.engine == "fast"
    assert held() is None


def test_where_all_others_are_slower_the_reference_stays(clock: Clock) -> None:
    runtime = auto(clock, Fake("slow", clock, 1.1e-5))
    runtime(TILE)
    assert (runtime.choice.engine, runtime.choice.reason) == ("cpu", "fastest")


@pytest.mark.parametrize("error", [2e-4, float("nan"), 1.0])
def test_an_inexact_engine_is_never_chosen_and_is_named(clock: Clock, error: float) -> None:
    wrong, right = Fake("wrong", clock, 1e-7, error), Fake("right", clock, 0.9e-5, 5e-5)
    runtime = auto(clock, wrong, right)
    runtime(TILE)
    assert runtime.choice.engine == "right"
    assert "wrong differs from ONNX Runtime" in str(runtime.choice)
    assert set(runtime.choice.as_dict()["refused"]) == {"wrong"}


@pytest.mark.parametrize("kind", [PackageError, RuntimeError, AttributeError])
def test_an_engine_that_cannot_run_is_passed_over(clock: Clock, kind: type[Exception]) -> None:
    def broken() -> Fake:
        raise kind("no driver")

    runtime = AutoRuntime(
        Fake("reference", clock, 1e-5),
        [Candidate("broken", broken, 0.5), Fake("fast", clock, 1e-6).candidate()],
        pixels=LONG,
        clock=clock,
    )
    runtime(TILE)
    assert runtime.choice.engine == "fast"
    assert runtime.choice.refused == {"broken": "cannot run: no driver"}


@pytest.mark.parametrize("fault", ["raises", "inexact", "smaller"])
def test_an_engine_that_fails_in_a_later_run_of_the_trial_is_passed_over(
    clock: Clock, fault: str
) -> None:
    """OpenVINO compiles for the size in its second run: that is what would restore the job."""

    class Later(Fake):
        def __call__(self, batch: np.ndarray) -> np.ndarray:
            if self.seen and fault == "raises":
                raise RuntimeError("no kernel for this size")
            self.error = 1e-2 if self.seen and fault == "inexact" else 0.0
            cut = -1 if self.seen and fault == "smaller" else None
            return super().__call__(batch)[..., :cut]

    runtime = auto(clock, Later("later", clock, 1e-7), Fake("fast", clock, 1e-6))
    np.testing.assert_array_equal(runtime(TILE), TILE.repeat(2, 2).repeat(2, 3))
    assert runtime.choice.engine == "fast"
    assert set(runtime.choice.refused) == {"later"}


@pytest.mark.parametrize("remembered", [False, True])
@pytest.mark.parametrize("fault", ["raises", "nan"])
def test_where_the_chosen_engine_fails_later_the_reference_goes_on(
    clock: Clock, fault: str, remembered: bool
) -> None:
    @dataclass
    class Failing(Fake):
        broken: bool = False

        def __call__(self, batch: np.ndarray) -> np.ndarray:
            if self.broken and fault == "raises":
                raise RuntimeError("out of its memory")
            result = super().__call__(batch)
            result[..., 3, 3] += np.float32("nan") if self.broken else 0
            return result

    def auto_with(engine: Failing) -> AutoRuntime:
        return AutoRuntime(
            Fake("reference", clock, 1e-5),
            [engine.candidate()],
            pixels=LONG,
            key=KEY,
            reopen=lambda: Fake("again", clock, 1e-5),
            clock=clock,
        )

    expected = TILE.repeat(2, 2).repeat(2, 3)
    engine = Failing("fast", clock, 1e-6)
    runtime = auto_with(engine)
    np.testing.assert_array_equal(runtime(TILE), expected)
    assert runtime.choice.engine == "fast"
    engine.broken = True
    runtime = auto_with(engine) if remembered else runtime
    np.testing.assert_array_equal(runtime(TILE), expected)
    assert (runtime.choice.engine, runtime.choice.reason) == ("cpu", "fallback")
    assert runtime.name == "again"
    assert set(runtime.choice.refused) == {"fast"}
    seen = len(engine.seen)
    np.testing.assert_array_equal(runtime(TILE), expected)
    assert len(engine.seen) == seen


def test_a_run_that_the_user_stops_does_not_go_on_elsewhere(clock: Clock) -> None:
    class Stopped(Fake):
        def __call__(self, batch: np.ndarray) -> np.ndarray:
            if batch.shape[-1] == 7:
                runtime.stop()
                raise RuntimeError("stopped")
            return super().__call__(batch)

    def reopen() -> Fake:
        raise AssertionError("opened again")

    runtime = AutoRuntime(
        Fake("reference", clock, 1e-5),
        [Stopped("fast", clock, 1e-6).candidate()],
        pixels=LONG,
        reopen=reopen,
        clock=clock,
    )
    runtime(TILE)
    with pytest.raises(RuntimeError, match="stopped"):
        runtime(TILE[..., :7])


def test_another_size_is_not_taken_for_the_image(clock: Clock) -> None:
    class Smaller(Fake):
        def __call__(self, batch: np.ndarray) -> np.ndarray:
            return super().__call__(batch)[..., :-1]

    runtime = auto(clock, Smaller("smaller", clock, 1e-7))
    runtime(TILE)
    assert runtime.choice.engine == "cpu"
    assert "smaller" in runtime.choice.refused


@pytest.mark.parametrize("tiles", [200, 1000, 100_000])
def test_timing_takes_at_most_a_fiftieth_of_the_job(clock: Clock, tiles: int) -> None:
    others = [Fake("a", clock, 2e-5), Fake("b", clock, 0.9e-5), Fake("c", clock, 5e-5)]
    runtime = auto(clock, *others, pixels=tiles * TILE.size)
    runtime(TILE)
    one = 1e-5 * TILE.size
    # 0.5 s that each opening was allowed are not spent here; the last run may end over time
    assert clock.now - one <= 0.02 * tiles * one + 5e-5 * 256**2


def test_a_short_job_is_not_delayed(clock: Clock) -> None:
    other = Fake("fast", clock, 1e-6)
    runtime = auto(clock, other, pixels=3 * TILE.size)
    runtime(TILE)
    assert runtime.choice.reason == "short"
    assert other.seen == []
    assert auto(clock).choice.reason == "only"


def test_the_choice_is_remembered_for_its_network_tile_and_threads(clock: Clock) -> None:
    auto(clock, Fake("fast", clock, 1e-6), key=KEY)(TILE)
    fast = Fake("fast", clock, 1e-6)
    later = auto(clock, fast, pixels=TILE.size, key=KEY)
    later(TILE)
    assert (later.choice.engine, later.choice.reason) == ("fast", "remembered")
    assert fast.seen == [TILE.shape]
    for key, tile in [
        (Key("b" * 64, 2), TILE),
        (Key("a" * 64, 1), TILE),
        (KEY, TILE[..., :200]),
    ]:
        other = auto(clock, Fake("fast", clock, 1e-6), pixels=tile.size, key=key)
        other(tile)
        assert other.choice.reason == "short"
    without = auto(clock, Fake("another", clock, 1e-6), pixels=TILE.size, key=KEY)
    without(TILE)
    assert without.choice.engine == "cpu"


def test_another_version_of_an_engine_is_timed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"openvino": "2025.1"}
    monkeypatch.setattr(choice_cache, "version", versions.__getitem__)
    first = KEY.of(TILE.shape, ["openvino"])
    assert KEY.of(TILE.shape, ["openvino"]) == first
    versions["openvino"] = "2025.2"
    assert KEY.of(TILE.shape, ["openvino"]) != first


def test_what_cannot_be_read_is_not_remembered(clock: Clock) -> None:
    place = user_cache.folder("engines")
    assert choice_cache.recall("k") is None
    place.mkdir()
    for content in [
        "",
        "[]",
        "{}",
        '{"engine": 3}',
        '"engine"',
        json.dumps({"engine": "x" * 9999}),
        "[" * 4096,
    ]:
        (place / "k.json").write_text(content)
        assert choice_cache.recall("k") is None


def test_a_cache_that_cannot_be_written_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(user_cache, "folder", lambda _: tmp_path / "file" / "engines")
    choice_cache.remember("k", "cpu")
    assert choice_cache.recall("k") is None


@pytest.mark.skipif(sys.platform == "win32", reason="users of Windows have a folder")
def test_a_user_without_a_home_has_nothing_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pwd

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)  # as in a container run as any number
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    choice_cache.remember("k", "cpu")
    assert choice_cache.recall("k") is None
    assert not any(tmp_path.iterdir())


def test_the_cache_keeps_the_newest(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setattr(user_cache, "MOST", 3)
    for age, key in enumerate("abcd"):
        choice_cache.remember(key, "cpu")
        if (file := user_cache.folder("engines") / f"{key}.json").exists():
            os.utime(file, (1000 - age, 1000 - age) if key != "d" else None)
    assert [key for key in "abcd" if choice_cache.recall(key)] == ["a", "b", "d"]
