"""The clocks, the sleep and the randomness of a teacher's retries, in one place so that tests
can replace them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """`clock` returns monotonic seconds, `wall` Unix seconds, `jitter` a number in [0, 1);
    `sleep` takes seconds.
    """

    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.random


REAL_TIME = Timing()
