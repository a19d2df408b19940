"""Warms the prompt cache: it holds the rubric only once a first answer has started, so one call
goes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from markbook.scoring.fair_queue import NOBODY, Caller, FairQueue

MAX_WAIT_S = 20.0
"""Seconds that calls wait for the first one; then paying for the rubric twice is better than
waiting on.
"""


class CacheWarmup:
    """While the cache is cold, calls go one at a time; once one has written it, all others go.

    A real call does the warm-up, none is made for it. `ttl_s`: seconds that a cache entry lives;
    None: nothing is cached, so that no call waits.
    """

    def __init__(self, ttl_s: float | None, clock: Callable[[], float]) -> None:
        self._ttl_s = ttl_s
        self._clock = clock
        self._warm_until = float("inf") if ttl_s is None else float("-inf")
        self.queue = FairQueue(lambda: 1)

    def is_warm(self) -> bool:
        return self._clock() < self._warm_until

    @asynccontextmanager
    async def acquire(self, caller: Caller = NOBODY) -> AsyncIterator[None]:
        """Waits while another call warms the cache, then yields.

        `caller` is scheduled fairly among those that wait.
        """
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

    def on_answer(self, started: float, *, cached: bool) -> None:
        """Handle the answer to a call started at `started`.

        `cached`: it wrote or read the cache and renewed its TTL.

        A server that did neither does not cache this prompt: no call waits again.
        """
        self._warm_until = max(
            self._warm_until,
            started + self._ttl_s if cached and self._ttl_s is not None else float("inf"),
        )
