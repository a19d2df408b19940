"""A semaphore with fair scheduling: round-robin over API keys, then over a key's runs, FIFO
within a run.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from markbook.scoring.errors import ServiceError


class Caller(NamedTuple):
    """For whom a slot is taken: the name of the API key (None where there are no keys) and the
    run.
    """

    key: str | None
    run: str


NOBODY = Caller(None, "")
"""The service itself."""


class FairQueue:
    """At most `capacity()` slots are held at a time. Only the next waiter is woken.

    However much one key queues, the first waiter of another key waits for at most one slot per key;
    the same holds for the runs of one key. `held`, `waiting`: the numbers of slots held and of
    waiters. Not thread-safe.
    """

    def __init__(self, capacity: Callable[[], int]) -> None:
        self._capacity = capacity
        self.held = self.waiting = 0
        self._queues: OrderedDict[str | None, OrderedDict[str, deque[asyncio.Future[None]]]] = (
            OrderedDict()
        )
        self._closed: ServiceError | None = None
        self._idle = asyncio.Event()

    @asynccontextmanager
    async def slot(self, caller: Caller = NOBODY) -> AsyncIterator[None]:
        """Waits for the caller's turn and holds a slot until the context ends.

        Raises the error given to `close`.
        """
        await self.acquire(caller)
        try:
            yield
        finally:
            self.release()

    async def acquire(self, caller: Caller = NOBODY) -> None:
        """Waits for the caller's turn and takes a slot, which `release` gives back.

        Raises as `slot` does.
        """
        self.raise_if_closed()
        if not self.waiting and self.held < self._capacity():
            self.held += 1
            return
        waiter = asyncio.get_running_loop().create_future()
        runs = self._queues.setdefault(caller.key, OrderedDict())
        runs.setdefault(caller.run, deque()).append(waiter)
        self.waiting += 1
        try:
            await waiter
        except asyncio.CancelledError:
            self._give_up(caller, waiter)
            raise

    def release(self) -> None:
        """Give a slot back, to the next waiter if there is one."""
        self.held -= 1
        self.refill()
        if not self.held:
            self._idle.set()

    async def idle(self) -> None:
        """Returns once no slot is held."""
        self._idle.clear()
        if self.held:
            await self._idle.wait()

    def refill(self) -> None:
        """Give free slots to waiters. Call it when `capacity()` has grown."""
        while self._queues and self.held < self._capacity():
            waiter = self._next()
            if not waiter.done():  # it may have been cancelled
                self.held += 1
                waiter.set_result(None)

    def close(self, error: ServiceError) -> None:
        """Refuse all waiters, now and later, with `error`; slots that are held stay held."""
        self._closed = error
        while self._queues:
            _refuse(self._next(), error)

    def raise_if_closed(self) -> None:
        if self._closed:
            raise self._closed

    def is_full(self) -> bool:
        """Whether the next caller has to wait."""
        return self.waiting > 0 or self.held >= self._capacity()

    def queued(self, key: str | None) -> dict[str, int]:
        """The number of waiters of each of the key's runs that has any."""
        return {run: len(queue) for run, queue in self._queues.get(key, {}).items()}

    def refuse_last(self, caller: Caller, error: ServiceError) -> None:
        """Refuse the caller's newest waiter with `error`. Raises KeyError where it has none."""
        waiter = self._queues[caller.key][caller.run][-1]
        self._remove(caller, waiter)
        _refuse(waiter, error)

    def _give_up(self, caller: Caller, waiter: asyncio.Future[None]) -> None:
        """A cancelled waiter leaves the queue, or passes on the slot that it was just given."""
        runs = self._queues.get(caller.key)
        if runs is not None and waiter in runs.get(caller.run, ()):
            self._remove(caller, waiter)
        elif not waiter.cancelled() and waiter.exception() is None:
            self.release()

    def _remove(self, caller: Caller, waiter: asyncio.Future[None]) -> None:
        runs = self._queues[caller.key]
        runs[caller.run].remove(waiter)
        self.waiting -= 1
        if not runs[caller.run]:
            del runs[caller.run]
        if not runs:
            del self._queues[caller.key]

    def _next(self) -> asyncio.Future[None]:
        """The first waiter of the next run of the next key; both go to the end of their queues."""
        key, runs = next(iter(self._queues.items()))
        run, queue = next(iter(runs.items()))
        waiter = queue.popleft()
        self.waiting -= 1
        if queue:
            runs.move_to_end(run)
        else:
            del runs[run]
        if runs:
            self._queues.move_to_end(key)
        else:
            del self._queues[key]
        return waiter


def _refuse(waiter: asyncio.Future[None], error: ServiceError) -> None:
    if not waiter.done():  # a cancelled one may still be in the queue
        waiter.set_exception(error)
