"""Several things under way at once: their order, what fails among them, and who interrupts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.factories import Opener
from tests.restore.conftest import MakeNetwork, box_of
from w2s_export.options import ImageOptions
from w2s_export.restore.batch import Outcome, Progress, Status, restore_files
from w2s_export.restore.inputs import find
from w2s_export.restore.pipeline import AHEAD, SerialRuntime, in_order
from w2s_export.runtime.onnx_runtime import OnnxRuntime
from w2s_export.runtime.protocol import EngineError
from w2s_export.runtime.trial import AutoRuntime

RNG = np.random.default_rng(3)


def never() -> None:
    raise AssertionError("nobody interrupted")


def test_results_come_in_the_order_of_their_items() -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * item

    assert list(in_order(slow_first, range(10), never)) == [(n, n * n) for n in range(10)]


def test_a_few_are_under_way_and_no_more() -> None:
    together = threading.Barrier(AHEAD + 1, timeout=10)  # passes once as many have come
    taken: list[int] = []

    def items() -> object:
        for number in range(2 * (AHEAD + 1)):
            taken.append(number)
            yield number

    results = in_order(lambda _: together.wait(), items(), never)  # type: ignore[arg-type]
    next(results)
    assert len(taken) == AHEAD + 1
    assert len(list(results)) == 2 * (AHEAD + 1) - 1


def test_what_fails_is_raised_in_its_turn_and_little_follows() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise ValueError("three")
        return item

    results = in_order(work, range(100), never)
    assert [next(results) for _ in range(3)] == [(0, 0), (1, 1), (2, 2)]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert max(begun) <= 3 + AHEAD


def test_the_engine_works_for_one_at_a_time_until_it_is_stopped() -> None:
    inside = []

    class Runtime:
        name = "counts"

        def __call__(self, batch: np.ndarray) -> np.ndarray:
            inside.append(1)
            assert len(inside) == 1
            time.sleep(0.01)
            inside.clear()
            return batch

    runtime = SerialRuntime(Runtime())
    batch = np.zeros((1, 1, 2, 2), np.float32)
    assert len(list(in_order(lambda _: runtime(batch), range(6), never))) == 6

    def interrupted(item: int) -> int:
        if item == 1:
            raise KeyboardInterrupt
        runtime(batch)
        return item

    with pytest.raises(KeyboardInterrupt):
        list(in_order(interrupted, range(9), runtime.stop))
    with pytest.raises(KeyboardInterrupt):
        runtime(batch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number in range(7):
        image = RNG.integers(0, 200, (40, 50 + number), dtype=np.uint8)
        tifffile.imwrite(tmp_path / "in" / f"{number}.tif", image)
    (tmp_path / "in" / "3.tif").write_bytes(b"II*\0 damaged")
    return tmp_path


def run(
    folder: Path,
    make: MakeNetwork,
    finished: Callable[[Outcome], None],
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[Outcome]:
    network, output = make(), folder / "out"
    options = ImageOptions(engine="cpu", threads=1)
    return restore_files(
        find([str(folder / "in")], output).images,
        output,
        Opener(network.model, lambda _: network),
        options,
        finished=finished,
        progress=progress,
    )


def test_onnx_runtime_gives_up_the_tile_at_work(box_onnx: Callable[[int], Path]) -> None:
    runtime = OnnxRuntime(box_onnx(1))
    batch = np.ones((1, 1, 8, 8), np.float32)
    assert runtime(batch).shape == (1, 1, 16, 16)
    SerialRuntime(AutoRuntime(runtime, [], pixels=0)).stop()  # not at work: nothing to stop
    assert runtime(batch).shape == (1, 1, 16, 16)
    working = AutoRuntime(runtime, [], pixels=0)
    working(batch)
    SerialRuntime(working).stop()
    with pytest.raises(EngineError):
        runtime(batch)


def test_a_folder_is_told_of_in_order_and_a_bad_image_stops_none(
    folder: Path, box_network: MakeNetwork
) -> None:
    told: list[str] = []
    shares: list[float] = []
    outcomes = run(
        folder,
        box_network,
        lambda outcome: told.append(outcome.source.stem),
        lambda now: shares.append(now.done / now.total),
    )
    assert [name for name in told if name != "3"] == ["0", "1", "2", "4", "5", "6"]
    assert [o.status for o in outcomes] == [Status.restored] * 3 + [Status.failed] + [
        Status.restored
    ] * 3
    assert shares == sorted(shares)
    assert shares[-1] == 1
    for number in (0, 6):
        image = tifffile.imread(folder / "in" / f"{number}.tif")
        restored = tifffile.imread(folder / "out" / f"{number}.tif")
        np.testing.assert_array_equal(restored, box_of(image[None]))


def test_an_interrupted_folder_leaves_whole_images_and_is_continued(
    folder: Path, box_network: MakeNetwork
) -> None:
    def interrupt(outcome: Outcome) -> None:
        if outcome.source.stem == "2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, box_network, interrupt)
    left = sorted((folder / "out").iterdir())
    assert {path.suffix for path in left} == {".tif"}  # nothing half-written, no locks
    assert {"0.tif", "1.tif", "2.tif"} <= {path.name for path in left}
    statuses = {o.source.stem: o.status for o in run(folder, box_network, lambda _: None)}
    assert statuses["0"] is statuses["2"] is Status.skipped
    assert statuses["6"] is Status.restored
