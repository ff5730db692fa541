"""Progress of a job of several phases: shares, the time that is left, and a cancellation that reaches everything."""

import subprocess
import sys
import time

import pytest

from mace_app.jobs import FoundationProgress
from mace_app.tasks.phases import HEAD_PHASES, USUAL_SECONDS, Phases


def test_what_is_left_is_what_is_planned_and_a_slow_machine_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    phases = Phases()
    phases.begin("reading", "Reading")
    phases.plan(["rebuilding", *HEAD_PHASES * 2])
    every = sum(USUAL_SECONDS[phase] for phase in ("reading", "rebuilding", *HEAD_PHASES * 2))
    assert phases.now().eta_seconds == pytest.approx(every)
    clock = 0.1  # the imports were done before: nothing is known of this machine yet
    phases.begin("rebuilding", "Building")
    assert phases.now().eta_seconds == pytest.approx((every - USUAL_SECONDS["reading"]), rel=0.6)
    for phase in ("rebuilding", *HEAD_PHASES):
        phases.begin(phase, "Head 1", head="a")
        clock += 5 * USUAL_SECONDS[phase]
    phases.begin(HEAD_PHASES[0], "Head 2", head="b")
    now, usual = phases.now(), sum(USUAL_SECONDS[phase] for phase in HEAD_PHASES)
    assert now.eta_seconds is not None and 3 * usual < now.eta_seconds < 5 * usual
    assert now.fraction == pytest.approx(clock / (clock + now.eta_seconds))


def test_a_download_tells_its_own_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    phases = Phases()
    phases.begin("downloading", "Downloading")
    phases.count(0, 1000)
    clock = 30.0
    phases.count(250)
    now = phases.now()
    assert (now.done, now.total, now.eta_seconds) == (250, 1000, pytest.approx(90.0))
    assert now.fraction == pytest.approx(0.25)
    phases.begin("reading", "Reading")
    assert phases.now().fraction >= now.fraction, "a bar never goes back"


def test_a_phase_that_begins_while_the_listener_is_told_is_not_lost() -> None:
    phases = Phases()
    heard: list[str] = []

    class Slow:
        def __call__(self, now: FoundationProgress) -> None:
            heard.append(now.phase)
            if now.phase == "reading":
                phases.begin("rebuilding", "Building")

    phases._listener = Slow()
    phases.begin("reading", "Reading")
    with phases.told():
        time.sleep(1.3)
    assert heard == ["reading", "rebuilding"]


def test_a_cancellation_interrupts_the_work_and_ends_what_it_started() -> None:
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    heard: list[FoundationProgress] = []
    asked = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Phases(heard.append).told(lambda: time.monotonic() - asked > 1):
        started.wait()
    assert time.monotonic() - asked < 10
    assert started.wait(10) < 0
    assert 1 <= len(heard) <= 4, "about twice a second"
