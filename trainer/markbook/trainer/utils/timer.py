"""Where the time goes: seconds by activity, of the lap and of the run."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STEP = ("generating", "scoring", "learning")
"""What a step consists of; scoring is only what was waited for, marks arrive while later groups
are written.
"""


class Timer:
    """`clock`: seconds, from any beginning."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.total: defaultdict[str, float] = defaultdict(float)
        self._lap: defaultdict[str, float] = defaultdict(float)
        self._started = clock()

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        started = self._clock()
        try:
            yield
        finally:
            seconds = self._clock() - started
            self.total[what] += seconds
            self._lap[what] += seconds

    def lap(self) -> dict[str, float]:
        """`seconds` since the last lap, `seconds_<activity>` within it, and `frac_waiting`: the
        share of it that was spent waiting for marks. Starts the next.
        """
        now = self._clock()
        seconds = now - self._started
        lap = {f"seconds_{what}": self._lap[what] for what in STEP} | {"seconds": seconds}
        lap["frac_waiting"] = self._lap["scoring"] / seconds if seconds else 0.0
        self._lap.clear()
        self._started = now
        return lap
