"""A circuit breaker: while the teacher is down, requests fail at once instead of piling up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from markbook.scoring.teachers.protocol import Outage

log = logging.getLogger("markbook")

FAILURES = 10
"""Failed calls in a row that open it. With every third call failing by chance, ten in a row are one in 60,000."""
COOLDOWN_S = 10.0
"""Seconds without any call before one is let through to try."""


class CircuitBreaker:
    """Closed until FAILURES calls in a row found the teacher down; then one call every COOLDOWN_S till one succeeds."""

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._wall = wall
        self._first_failed_s = 0.0
        self._cause = ""
        self._failures = 0
        self._next_try = 0.0

    @property
    def open(self) -> bool:
        return self._failures >= FAILURES

    def wait_s(self) -> float:
        """0 to go ahead with one call now, else the seconds after which to ask again."""
        now = self._clock()
        if not self.open:
            return 0.0
        if now < self._next_try:
            return self._next_try - now
        # this caller is the one that tries; the others wait for what it finds
        self._next_try = now + COOLDOWN_S
        return 0.0

    @property
    def outage(self) -> Outage | None:
        return Outage(self._first_failed_s, self._cause) if self.open else None

    def succeeded(self) -> None:
        if self.open:
            log.warning("the teacher answers again, after %.0f s", self._wall() - self._first_failed_s)
        self._failures = 0

    def failed(self, cause: str = "") -> None:
        if not self._failures:
            self._first_failed_s = self._wall()
        self._failures += 1
        self._cause = cause
        if self._failures == FAILURES:
            log.warning(
                "the teacher is down: %d calls in a row failed; one is tried every %g s: %s",
                FAILURES,
                COOLDOWN_S,
                cause,
            )
        if self.open:
            self._next_try = self._clock() + COOLDOWN_S
