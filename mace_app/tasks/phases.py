"""Where a job of several phases is and how long it will still take, told about twice a second. No torch: a process says
where it is before its imports are done."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from mace_app.jobs import FoundationProgress, JobsError
from mace_app.jobs.foundation_folder import FoundationPhase

INTERVAL_SECONDS = 0.5
INTERRUPT_AGAIN_SECONDS = 5.0

# Measured with a file of ten million parameters on two cores; what a job really takes corrects them as it goes on.
USUAL_SECONDS: dict[FoundationPhase, float] = {
    "downloading": 5.0,
    "reading": 4.0,
    "rebuilding": 2.0,
    "building": 2.0,
    "saving": 4.0,
    "comparing": 8.0,
}
# So much work at the usual speed is assumed to have been seen: a first phase of a moment says little of the others.
DOUBT_SECONDS = 4.0
HEAD_PHASES: tuple[FoundationPhase, ...] = ("building", "saving", "comparing")


class Phases:
    """What is done now, and what is planned after it."""

    def __init__(self, listener: Callable[[FoundationProgress], None] | None = None) -> None:
        self._listener = listener
        self._ahead: list[FoundationPhase] = []
        self._now = FoundationProgress()
        self._begun = self._phase_begun = time.monotonic()
        self._usual_done = self._spent = 0.0
        self._fraction = 0.0

    def plan(self, phases: Sequence[FoundationPhase]) -> None:
        """What is still to come, in any order, repetitions included; the phase at work is not one of it."""
        self._ahead = list(phases)

    def begin(self, phase: FoundationPhase, message: str, head: str | None = None, total: float | None = None) -> None:
        now = time.monotonic()
        if self._now.phase not in ("waiting", "downloading"):  # a network says nothing about this machine's speed
            self._usual_done += USUAL_SECONDS.get(self._now.phase, 0.0)
            self._spent += now - self._phase_begun
        if phase in self._ahead:
            self._ahead.remove(phase)
        self._phase_begun = now
        done = None if total is None else 0.0
        self._now = FoundationProgress(phase, message, head, done, total)

    def count(self, done: float, total: float | None = None) -> None:
        """How much of the phase is done, in bytes or structures."""
        now = self._now
        self._now = FoundationProgress(now.phase, now.message, now.head, done, total or now.total)

    def now(self) -> FoundationProgress:
        elapsed, left = time.monotonic() - self._begun, self._left()
        now = self._now  # set by the thread at work, which may go on meanwhile
        share = elapsed / (elapsed + left) if elapsed + left > 0 else 0.0
        self._fraction = min(max(self._fraction, share), 0.99)  # a bar never goes back
        return FoundationProgress(now.phase, now.message, now.head, now.done, now.total, self._fraction, left)

    def _left(self) -> float:
        speed = (self._spent + DOUBT_SECONDS) / (self._usual_done + DOUBT_SECONDS)
        later = sum(USUAL_SECONDS.get(phase, 0.0) for phase in self._ahead) * speed
        spent, now = time.monotonic() - self._phase_begun, self._now
        if now.phase == "downloading" and now.done and now.total:
            return later + spent * (now.total - now.done) / now.done
        usual = USUAL_SECONDS.get(now.phase, 0.0) * speed
        counted = spent * (now.total - now.done) / now.done if now.done and now.total else 0.0
        return later + max(usual - spent, usual / 10, counted)

    @contextmanager
    def told(self, cancelled: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Inside, the listener hears of it, and KeyboardInterrupt is raised in the main thread once ``cancelled``. An
        interrupt, also one from the keyboard, ends the processes that were started: they would be waited for."""
        over = threading.Event()
        before = signal.signal(signal.SIGINT, _interrupted)
        thread = threading.Thread(target=self._tell, args=(over, cancelled), name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)

    def _tell(self, over: threading.Event, cancelled: Callable[[], bool]) -> None:
        interrupted = -INTERRUPT_AGAIN_SECONDS
        while not over.wait(INTERVAL_SECONDS):
            if self._listener is not None:
                with suppress(OSError, JobsError):  # a full disk stops the job when its result is written
                    self._listener(self.now())
            if not cancelled():
                continue
            # Once more after a while: an interrupt that comes while an object is being destroyed is lost.
            if time.monotonic() - interrupted >= INTERRUPT_AGAIN_SECONDS and not over.is_set():
                interrupted = time.monotonic()
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _interrupted(_signal: int, _frame: FrameType | None) -> None:
    """The fresh process of a comparison leads a session of its own, which the keyboard's interrupt does not reach."""
    import psutil

    for child in psutil.Process(os.getpid()).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    raise KeyboardInterrupt
