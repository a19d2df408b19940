"""One call before the fan-out: the prompt cache holds the rubric only once a first answer has begun."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from markbook.scoring.fair_queue import NOBODY, Caller, FairQueue

MAX_WAIT_S = 20.0
"""Seconds that calls wait for the first one. Paying for the rubric twice is better than standing still."""


class CacheWarmup:
    """While the cache is cold, calls go one at a time; the first that writes it lets all others go.

    A real call is the warm-up: nothing is sent for its sake. `ttl_s` is the life of an entry in seconds; None: nothing
    is cached, so nobody waits.
    """

    def __init__(self, ttl_s: float | None, clock: Callable[[], float]) -> None:
        self._ttl_s = ttl_s
        self._clock = clock
        self._until = float("inf") if ttl_s is None else float("-inf")
        self.queue = FairQueue(lambda: 1)

    def is_warm(self) -> bool:
        return self._clock() < self._until

    @asynccontextmanager
    async def acquire(self, caller: Caller = NOBODY) -> AsyncIterator[None]:
        """Waits while another call warms the cache, then yields. `caller`: whose turn it takes."""
        async with AsyncExitStack() as held:
            if not self.is_warm():
                try:
                    async with asyncio.timeout(MAX_WAIT_S):
                        await held.enter_async_context(self.queue.slot(caller))
                except TimeoutError:
                    await held.aclose()
                if self.is_warm():
                    await held.aclose()
            yield

    def answered(self, begun: float, *, cached: bool) -> None:
        """An answer to a call that began at `begun`. `cached`: it wrote or read the cache, which starts its life anew.

        A server that does neither has no cache for this prompt, so nobody waits for it again.
        """
        self._until = max(self._until, begun + self._ttl_s if cached and self._ttl_s is not None else float("inf"))
