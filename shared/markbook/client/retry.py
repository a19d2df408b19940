"""Waiting for a service that is away: the one retry layer of the client."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from markbook.client.errors import ServiceUnavailableError

FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 15.0

T = TypeVar("T")
OnFailure = Callable[[ServiceUnavailableError | None], None]


@dataclass(frozen=True)
class RetryPolicy:
    """How a service that is away is waited for: `wait_s` seconds from the first failure of a
    request; 0: not at all.

    Pauses grow from FIRST_PAUSE_S to MAX_PAUSE_S; a `Retry-After` that is longer is kept to.
    `on_failure` receives every failure that is retried, and None for every answer. It is called in
    the client's thread.
    """

    wait_s: float = 60.0
    on_failure: OnFailure = lambda _: None
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """`attempt`, again and again while it raises ServiceUnavailableError and there is time."""
        ends: float | None = None
        pause = FIRST_PAUSE_S
        while True:
            try:
                answer = await attempt()
            except ServiceUnavailableError as error:
                now = self.clock()
                ends = now + self.wait_s if ends is None else ends
                if now >= ends:
                    raise
                self.on_failure(error)
                # from half to the whole, so that clients that failed together do not come back
                # together
                wait = max(pause * (0.5 + self.jitter() / 2), error.retry_after_s or 0.0)
                await self.sleep(min(wait, ends - now))
                pause = min(2 * pause, MAX_PAUSE_S)
            else:
                self.on_failure(None)
                return answer
