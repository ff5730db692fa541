"""How often somebody may do something."""

import time
from collections import deque
from collections.abc import Callable

MOST_NAMES = 4096


class Rate:
    """At most ``most`` times in any ``seconds``, for each name by itself.

    Names that were quiet are forgotten; when there are too many at once, the one that was quiet longest.
    """

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.seconds = seconds
        self._clock = clock
        self._times: dict[str, deque[float]] = {}

    def wait(self, name: str) -> float:
        """Seconds until ``name`` may again; 0 if it may now."""
        times = self._recent(name)
        return 0.0 if len(times) < self.most else times[0] + self.seconds - self._clock()

    def note(self, name: str) -> None:
        """``name`` has done it now."""
        times = self._recent(name)
        times.append(self._clock())
        self._times.pop(name, None)
        self._times[name] = times
        while len(self._times) > MOST_NAMES:
            del self._times[next(iter(self._times))]

    def _recent(self, name: str) -> deque[float]:
        times = self._times.get(name, deque())
        while times and times[0] <= self._clock() - self.seconds:
            times.popleft()
        if not times:
            self._times.pop(name, None)
        return times
