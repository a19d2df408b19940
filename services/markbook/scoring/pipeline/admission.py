"""Limits concurrent requests; waiting requests are scheduled round-robin by run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from markbook.scoring.errors import TooManyRequestsError, stopping
from markbook.scoring.fair_queue import Caller, FairQueue
from markbook.scoring.pipeline.rate_limits import RateLimiter
from markbook.scoring.store import ApiKey

MAX_RETRY_AFTER_S = 60
_EWMA_WEIGHT = 0.1  # of the newest request in the mean duration


class RequestSlots:
    """At most `max_concurrent` requests at a time; `max_queued` more wait, round-robin by run.

    When the queue is full, a newcomer whose run has fewer waiting requests than another run takes
    the place of that run's last one, which is refused instead. Not thread-safe.
    """

    def __init__(
        self, max_concurrent: int, max_queued: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_concurrent = max_concurrent
        self._max_queued = max_queued
        self._clock = clock
        self._queue = FairQueue(lambda: max_concurrent)
        self._mean_s = 0.0

    async def acquire(self, run: str) -> float:
        """Wait for a slot; returns when it was acquired, which `release` takes.

        Raises TooManyRequestsError when the queue is full, ServiceStoppingError once the service
        shuts down.
        """
        self._queue.raise_if_closed()
        if self._queue.is_full() and self._queue.waiting >= self._max_queued:
            self._shed(run)
        await self._queue.acquire(Caller(None, run))
        return self._clock()

    def release(self, since: float) -> None:
        """Give the slot to the next run's first request, if any waits."""
        self._mean_s += _EWMA_WEIGHT * (self._clock() - since - self._mean_s)
        self._queue.release()

    def stop(self) -> None:
        """Refuse all waiting requests and all later ones."""
        self._queue.close(stopping())

    def _shed(self, run: str) -> None:
        queued = self._queue.queued(None)
        longest = max(queued, key=lambda name: queued[name], default=run)
        if longest == run or queued[longest] <= queued.get(run, 0) + 1:
            raise self._refusal()
        self._queue.refuse_last(Caller(None, longest), self._refusal())

    def _refusal(self) -> TooManyRequestsError:
        wait_s = math.ceil(self._queue.waiting * self._mean_s / self._max_concurrent)
        return TooManyRequestsError(
            f"{self._queue.held} requests are in progress and {self._queue.waiting} are queued: "
            "retry later",
            retry_after_s=min(max(wait_s, 1), MAX_RETRY_AFTER_S),
        )


class AdmissionController:
    """RequestSlots and rate limits per API key; slots are shared by all requests where there are
    no keys.
    """

    def __init__(self, max_concurrent: int, max_queued: int) -> None:
        self._size = max_concurrent, max_queued
        self._slots: dict[str | None, RequestSlots] = {}
        self._rates = RateLimiter()
        self._stopping = False

    def check_rate(self, key: ApiKey | None, samples: int) -> None:
        """Count samples that take no slot.

        Raises TooManyRequestsError where they are over the key's rate limits.
        """
        self._rates.take(key, samples)

    def slots_for(self, key: ApiKey | None, samples: int) -> RequestSlots:
        """For a request of so many samples.

        Raises TooManyRequestsError where it is over the key's rate limits.
        """
        self._rates.take(key, samples)
        name = key.name if key else None
        slots = self._slots.get(name)
        if slots is None:
            slots = self._slots[name] = RequestSlots(*self._size)
            if self._stopping:
                slots.stop()
        return slots

    def stop(self) -> None:
        self._stopping = True
        for slots in self._slots.values():
            slots.stop()
