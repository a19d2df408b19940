"""Where the time goes: seconds by activity, of the lap and of the run."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

STEP = ("generating", "scoring", "learning")
"""What a step consists of; scoring is only what was waited for, marks arrive while later groups are written."""


class Stopwatch:
    def __init__(self) -> None:
        self.total: defaultdict[str, float] = defaultdict(float)
        self._lap: defaultdict[str, float] = defaultdict(float)
        self._started = time.perf_counter()

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            self.total[what] += seconds
            self._lap[what] += seconds

    def lap(self) -> dict[str, float]:
        """`seconds` since the last lap, and `seconds_<activity>` within it; starts the next."""
        now = time.perf_counter()
        lap = {f"seconds_{what}": self._lap[what] for what in STEP} | {"seconds": now - self._started}
        self._lap.clear()
        self._started = now
        return lap
