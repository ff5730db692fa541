"""How long a counted piece of work still takes."""

import pytest

from mace_app.jobs.progress_writer import TimeLeft


class Clock:
    time = 100.0

    def __call__(self) -> float:
        return self.time


def test_it_is_reckoned_from_what_was_done_since_the_work_began() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    work = {"phase": "evaluating", "message": "Errors", "total": 1000}
    assert left.added({**work, "done": 200})["eta_seconds"] is None
    clock.time += 10
    assert left.added({**work, "done": 400})["eta_seconds"] == pytest.approx(30)
    clock.time += 30
    assert left.added({**work, "done": 1000})["eta_seconds"] == pytest.approx(0)


def test_another_message_or_a_count_that_falls_begins_anew() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    left.added({"phase": "preparing", "message": "Reading", "done": 0, "total": 10})
    clock.time += 10
    assert left.added({"phase": "preparing", "message": "Fitting", "done": 5, "total": 10})["eta_seconds"] is None
    clock.time += 1
    assert left.added({"phase": "preparing", "message": "Fitting", "done": 6, "total": 10})["eta_seconds"] == 4
    assert left.added({"phase": "preparing", "message": "Fitting", "done": 1, "total": 10})["eta_seconds"] is None


def test_who_knows_better_is_believed_and_who_does_not_count_is_not_asked() -> None:
    left = TimeLeft(Clock())
    for fields in ({"phase": "training", "done": 0.5, "total": 1, "eta_seconds": None}, {"phase": "exporting"}):
        assert left.added(fields) == fields
    assert left.added({"phase": "x", "done": 1, "total": 0}) == {"phase": "x", "done": 1, "total": 0}
