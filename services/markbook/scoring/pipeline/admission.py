"""Limits concurrent requests; waiting requests are scheduled round-robin by run."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from markbook.scoring.errors import ServiceError, TooManyRequestsError, stopping

MAX_RETRY_AFTER_S = 60
_EWMA_WEIGHT = 0.1  # of the newest request in the mean duration


class RequestSlots:
    """At most `max_concurrent` requests at a time; `max_queued` more wait, round-robin by run.

    When the queue is full, a newcomer whose run has fewer waiting requests than another run takes the place of that
    run's last one, which is refused instead. Not thread-safe.
    """

    def __init__(self, max_concurrent: int, max_queued: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_concurrent = max_concurrent
        self._max_queued = max_queued
        self._clock = clock
        self._active = self._waiting = 0
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._mean_s = 0.0
        self._stopping = False

    async def acquire(self, run: str) -> float:
        """Wait for a slot; returns when it was acquired, which `release` takes.

        Raises TooManyRequestsError when the queue is full, ServiceStoppingError once the service shuts down.
        """
        if self._stopping:
            raise stopping()
        if self._active < self._max_concurrent:
            self._active += 1
            return self._clock()
        waiter = self._join(run)
        try:
            await waiter
        except asyncio.CancelledError:
            self._give_up(run, waiter)
            raise
        return self._clock()

    def release(self, since: float) -> None:
        """Give the slot to the next run's first request, if any waits."""
        self._mean_s += _EWMA_WEIGHT * (self._clock() - since - self._mean_s)
        while self._queues:
            waiter = self._next()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._active -= 1

    def stop(self) -> None:
        """Refuse all waiting requests and all later ones."""
        self._stopping = True
        for queue in self._queues.values():
            for waiter in queue:
                _refuse(waiter, stopping())
        self._queues.clear()
        self._waiting = 0

    def _join(self, run: str) -> asyncio.Future[None]:
        waiter = asyncio.get_running_loop().create_future()
        if self._waiting >= self._max_queued:
            self._shed(run)
        self._queues.setdefault(run, deque()).append(waiter)
        self._waiting += 1
        return waiter

    def _next(self) -> asyncio.Future[None]:
        run, queue = next(iter(self._queues.items()))
        waiter = queue.popleft()
        self._waiting -= 1
        if queue:
            self._queues.move_to_end(run)
        else:
            del self._queues[run]
        return waiter

    def _shed(self, run: str) -> None:
        longest = max(self._queues, key=lambda name: len(self._queues[name]), default=run)
        if longest == run or len(self._queues[longest]) <= len(self._queues.get(run, ())) + 1:
            raise self._refusal()
        _refuse(self._queues[longest].pop(), self._refusal())
        self._waiting -= 1

    def _give_up(self, run: str, waiter: asyncio.Future[None]) -> None:
        """A cancelled request leaves the queue, or hands on the slot that it was just given."""
        queue = self._queues.get(run, deque())
        if waiter in queue:
            queue.remove(waiter)
            self._waiting -= 1
            if not queue:
                del self._queues[run]
        elif not waiter.cancelled() and waiter.exception() is None:
            self.release(self._clock())

    def _refusal(self) -> TooManyRequestsError:
        wait_s = math.ceil(self._waiting * self._mean_s / self._max_concurrent)
        return TooManyRequestsError(
            f"{self._active} requests are in progress and {self._waiting} are queued: retry later",
            retry_after_s=min(max(wait_s, 1), MAX_RETRY_AFTER_S),
        )


class AdmissionController:
    """RequestSlots per API key; shared by all requests where there are no keys."""

    def __init__(self, max_concurrent: int, max_queued: int) -> None:
        self._size = max_concurrent, max_queued
        self._slots: dict[str | None, RequestSlots] = {}
        self._stopping = False

    def slots_for(self, key: str | None) -> RequestSlots:
        slots = self._slots.get(key)
        if slots is None:
            slots = self._slots[key] = RequestSlots(*self._size)
            if self._stopping:
                slots.stop()
        return slots

    def stop(self) -> None:
        self._stopping = True
        for slots in self._slots.values():
            slots.stop()


def _refuse(waiter: asyncio.Future[None], error: ServiceError) -> None:
    if not waiter.done():  # a cancelled one may still be in the queue
        waiter.set_exception(error)
