"""A semaphore with fair scheduling: round-robin over API keys, then over a key's runs, FIFO within a run."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from markbook.scoring.errors import ServiceError


class Caller(NamedTuple):
    """For whom a slot is taken: the name of the API key (None where there are no keys) and the run."""

    key: str | None
    run: str


NOBODY = Caller(None, "")
"""The service itself."""


class FairQueue:
    """At most `capacity()` slots are held at a time. Only the next waiter is woken.

    However much one key queues, the first waiter of another key waits for at most one slot per key; the same holds for
    the runs of one key. `waiting`: the number of waiters. Not thread-safe.
    """

    def __init__(self, capacity: Callable[[], int]) -> None:
        self._capacity = capacity
        self._held = 0
        self.waiting = 0
        self._waiting: OrderedDict[str | None, OrderedDict[str, deque[asyncio.Future[None]]]] = OrderedDict()
        self._closed: ServiceError | None = None
        self._idle = asyncio.Event()

    @asynccontextmanager
    async def slot(self, caller: Caller = NOBODY) -> AsyncIterator[None]:
        """Waits for the caller's turn and holds a slot until the context ends. Raises the error given to `close`."""
        await self._acquire(caller)
        try:
            yield
        finally:
            self._held -= 1
            self.refill()
            if not self._held:
                self._idle.set()

    async def idle(self) -> None:
        """Returns once no slot is held."""
        self._idle.clear()
        if self._held:
            await self._idle.wait()

    def refill(self) -> None:
        """Give free slots to waiters. Call it when `capacity()` has grown."""
        while self._waiting and self._held < self._capacity():
            waiter = self._next()
            if not waiter.done():  # it may have been cancelled
                self._held += 1
                waiter.set_result(None)

    def close(self, error: ServiceError) -> None:
        """Refuse all waiters, now and later, with `error`; slots that are held stay held."""
        self._closed = error
        while self._waiting:
            waiter = self._next()
            if not waiter.done():
                waiter.set_exception(error)

    async def _acquire(self, caller: Caller) -> None:
        if self._closed:
            raise self._closed
        if not self._waiting and self._held < self._capacity():
            self._held += 1
            return
        waiter = asyncio.get_running_loop().create_future()
        runs = self._waiting.setdefault(caller.key, OrderedDict())
        runs.setdefault(caller.run, deque()).append(waiter)
        self.waiting += 1
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._held -= 1  # it was just given a slot: pass it on
                self.refill()
            raise
        finally:
            self.waiting -= 1

    def _next(self) -> asyncio.Future[None]:
        """The first waiter of the next run of the next key; both go to the end of their queues."""
        key, runs = next(iter(self._waiting.items()))
        run, queue = next(iter(runs.items()))
        waiter = queue.popleft()
        if queue:
            runs.move_to_end(run)
        else:
            del runs[run]
        if runs:
            self._waiting.move_to_end(key)
        else:
            del self._waiting[key]
        return waiter
