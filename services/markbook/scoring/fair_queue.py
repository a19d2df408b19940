"""Slots that callers take in turn: by API key, then by run of a key, first come first served within a run."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from markbook.scoring.errors import MarkbookError


class Caller(NamedTuple):
    """Whose work it is: the name of the API key, None where none is asked for, and the run."""

    key: str | None
    run: str


NOBODY = Caller(None, "")
"""Work of the service's own."""


class FairQueue:
    """At most `capacity()` holders at a time. A waiter is woken when its turn has come, and no other is.

    However much one key queues, the next slot of another key's first waiter is at most one turn of each key away; the
    same holds for the runs of one key. `waiting`: how many wait. Not safe across threads.
    """

    def __init__(self, capacity: Callable[[], int]) -> None:
        self._capacity = capacity
        self._held = 0
        self.waiting = 0
        self._waiting: OrderedDict[str | None, OrderedDict[str, deque[asyncio.Future[None]]]] = OrderedDict()
        self._closed: MarkbookError | None = None
        self._idle = asyncio.Event()

    @asynccontextmanager
    async def slot(self, caller: Caller = NOBODY) -> AsyncIterator[None]:
        """Waits for the caller's turn, and holds a slot until the context ends. Raises what `close` was given."""
        await self._acquire(caller)
        try:
            yield
        finally:
            self._held -= 1
            self.refill()
            if not self._held:
                self._idle.set()

    async def idle(self) -> None:
        """Returns once nobody holds a slot."""
        self._idle.clear()
        if self._held:
            await self._idle.wait()

    def refill(self) -> None:
        """Give free slots to those whose turn it is. To be called when `capacity()` has grown."""
        while self._waiting and self._held < self._capacity():
            turn = self._next()
            if not turn.done():  # its waiter may have been cancelled
                self._held += 1
                turn.set_result(None)

    def close(self, error: MarkbookError) -> None:
        """Refuse everybody who waits, and who comes later, with `error`; those who hold a slot keep it."""
        self._closed = error
        while self._waiting:
            turn = self._next()
            if not turn.done():
                turn.set_exception(error)

    async def _acquire(self, caller: Caller) -> None:
        if self._closed:
            raise self._closed
        if not self._waiting and self._held < self._capacity():
            self._held += 1
            return
        turn = asyncio.get_running_loop().create_future()
        runs = self._waiting.setdefault(caller.key, OrderedDict())
        runs.setdefault(caller.run, deque()).append(turn)
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._held -= 1  # it had just got its slot: the next one takes it
                self.refill()
            raise
        finally:
            self.waiting -= 1

    def _next(self) -> asyncio.Future[None]:
        """The first of the run whose turn it is, of the key whose turn it is; both go to the end of their lines."""
        key, runs = next(iter(self._waiting.items()))
        run, line = next(iter(runs.items()))
        turn = line.popleft()
        if line:
            runs.move_to_end(run)
        else:
            del runs[run]
        if runs:
            self._waiting.move_to_end(key)
        else:
            del self._waiting[key]
        return turn
