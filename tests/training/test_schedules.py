"""Learning rates by hand."""

import pytest

from w2s_export.training.schedules import Schedule


def test_halving_starts_with_the_initial_rate_and_halves_after_each_epoch() -> None:
    schedule = Schedule(kind="halving", initial=1e-4)
    rates = [schedule.rate(step, 10, 1000) for step in (0, 9, 10, 19, 20)]
    assert rates == pytest.approx([1e-4, 1e-4, 5e-5, 5e-5, 2.5e-5])


def test_halving_stops() -> None:
    schedule = Schedule(kind="halving", initial=1.0, halving_epochs=2)
    assert schedule.rate(999, 10, 1000) == 0.25
    assert Schedule(kind="halving", initial=1.0, final=0.3).rate(999, 10, 1000) == 0.3


def test_cosine_ends_and_middle() -> None:
    schedule = Schedule(kind="cosine", initial=1.0, final=0.2)
    rates = [schedule.rate(step, 10, 100) for step in (0, 50, 100)]
    assert rates == pytest.approx([1.0, 0.6, 0.2])


def test_warmup_rises_linearly() -> None:
    schedule = Schedule(kind="constant", initial=1.0, warmup_steps=4)
    assert [schedule.rate(s, 10, 100) for s in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_milestones_by_hand() -> None:
    """A fault of the original: it decayed at step 0, before anything was learned."""
    schedule = Schedule(kind="milestones", initial=1e-4, milestones=(3, 5), factor=0.5)
    rates = [schedule.rate(step, 1, 10) for step in (0, 2, 3, 4, 5, 9)]
    assert rates == pytest.approx([1e-4, 1e-4, 5e-5, 5e-5, 2.5e-5, 2.5e-5])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "milestones"}, "go together"),
        ({"kind": "cosine", "milestones": (3,)}, "go together"),
        ({"kind": "milestones", "milestones": (5, 3)}, "must rise"),
    ],
)
def test_unusable_milestones_are_named(values: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Schedule(**values)
