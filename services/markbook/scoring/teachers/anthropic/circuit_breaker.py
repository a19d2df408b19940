"""A circuit breaker: while the teacher is down, requests fail at once instead of queueing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from markbook.scoring.teachers.protocol import Outage

log = logging.getLogger("markbook")

FAILURES = 10
"""Consecutive failures that open it.

If every third call fails by chance, ten in a row happen once in 60,000.
"""
COOLDOWN_S = 10.0
"""Seconds between probes while it is open."""


class CircuitBreaker:
    """Opens after FAILURES consecutive failures; then lets one call through every COOLDOWN_S
    until one succeeds.
    """

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
        """0 if a call may be made now, else the seconds until the next probe."""
        now = self._clock()
        if not self.open:
            return 0.0
        if now < self._next_try:
            return self._next_try - now
        # this caller makes the probe; the others wait for its result
        self._next_try = now + COOLDOWN_S
        return 0.0

    @property
    def outage(self) -> Outage | None:
        return Outage(self._first_failed_s, self._cause) if self.open else None

    def on_success(self) -> None:
        if self.open:
            log.warning("the teacher is up again after %.0f s", self._wall() - self._first_failed_s)
        self._failures = 0

    def on_failure(self, cause: str = "") -> None:
        if not self._failures:
            self._first_failed_s = self._wall()
        self._failures += 1
        self._cause = cause
        if self._failures == FAILURES:
            log.warning(
                "the teacher is down: %d consecutive calls failed; probing every %g s: %s",
                FAILURES,
                COOLDOWN_S,
                cause,
            )
        if self.open:
            self._next_try = self._clock() + COOLDOWN_S
