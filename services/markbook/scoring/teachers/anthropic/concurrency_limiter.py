"""Limits concurrent calls to what the provider's rate limits allow, learned from its headers and
429s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime

from markbook.scoring.fair_queue import NOBODY, Caller, FairQueue
from markbook.scoring.teachers.anthropic.response import whole_number

MAX_RESET_S = 60.0
"""Rate limits are per minute: a later reset date comes from a differing clock, and a longer
retry-after delays the samples it was sent for, not everybody's.
"""


class ConcurrencyLimiter:
    """Additive increase, multiplicative decrease between 1 and `maximum` calls; pauses all calls at
    an exhausted limit.

    `clock` returns monotonic seconds, `wall` Unix seconds: reset times in headers are dates.
    """

    def __init__(self, maximum: int, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._maximum = maximum
        self._clock = clock
        self._wall = wall
        self.queue = FairQueue(lambda: int(self.limit))
        self._cut_at = float("-inf")
        self._paused_until = float("-inf")
        self.limit = float(maximum)

    def pause_s(self) -> float:
        """Seconds for which no call should start."""
        return max(0.0, self._paused_until - self._clock())

    def slot(self, caller: Caller = NOBODY) -> AbstractAsyncContextManager[None]:
        """Waits until a call may start and it is the caller's turn; holds the slot while the
        context is open.
        """
        return self.queue.slot(caller)

    def on_success(self) -> None:
        self.limit = min(float(self._maximum), self.limit + 1 / self.limit)
        self.queue.refill()

    def on_rate_limited(self, started: float, retry_after_s: float | None) -> None:
        """Handle a 429 for a call started at `started`. Several of the same burst count as one."""
        if started > self._cut_at:
            self._cut_at = self._clock()
            self.limit = max(1.0, self.limit / 2)
        if retry_after_s is not None:
            self._pause(min(retry_after_s, MAX_RESET_S))

    def update_from_headers(self, headers: Mapping[str, str], need: Mapping[str, int]) -> None:
        """Apply an answer's rate-limit headers.

        `need`: what a call of this size takes of each kind of limit.
        """
        for kind, amount in need.items():
            remaining = whole_number(headers.get(f"anthropic-ratelimit-{kind}-remaining"))
            if remaining is None:
                continue
            fits = remaining // max(1, amount)
            self.limit = min(self.limit, max(1.0, float(fits)))
            reset = headers.get(f"anthropic-ratelimit-{kind}-reset")
            if fits == 0 and reset is not None:
                self._pause(min(_unix(reset) - self._wall(), MAX_RESET_S))

    def _pause(self, seconds: float) -> None:
        self._paused_until = max(self._paused_until, self._clock() + seconds)


def _unix(date: str) -> float:
    """RFC 3339 -> Unix seconds; 0 for what is no date."""
    try:
        return datetime.fromisoformat(date).timestamp()
    except (ValueError, OverflowError):  # OverflowError: before year 1 in UTC
        return 0.0
