"""Rate limits per API key: requests and samples per minute, counted by this process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from markbook.scoring.errors import TooManyRequestsError
from markbook.scoring.store import ApiKey

MINUTE_S = 60.0
_ROUNDING = 1e-6


@dataclass(slots=True)
class _Bucket:
    """What may be sent at once, `level` at `at_s`; it refills by a minute's worth per minute, up
    to that much.
    """

    level: float
    at_s: float

    def refill(self, per_minute: int, now_s: float) -> None:
        self.level = min(
            float(per_minute), self.level + (now_s - self.at_s) * per_minute / MINUTE_S
        )
        self.at_s = now_s


class RateLimiter:
    """A token bucket per key and limit. Not thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def take(self, key: ApiKey | None, samples: int) -> None:
        """Count a request of so many samples. Raises TooManyRequestsError: then it is not counted.

        A request of more samples than a minute's worth is let through when the bucket is full, and
        the key then waits until they have been made up for.
        """
        if key is None:
            return
        now_s = self._clock()
        costs = [*self._costs(key, samples)]
        for what, per_minute, cost in costs:
            bucket = self._buckets.setdefault((key.name, what), _Bucket(float(per_minute), now_s))
            bucket.refill(per_minute, now_s)
            missing = min(cost, per_minute) - bucket.level
            if missing > _ROUNDING:
                raise TooManyRequestsError(
                    f"the API key {key.name} may send {per_minute:,} {what} per minute: "
                    "retry later",
                    retry_after_s=max(1, math.ceil(missing * MINUTE_S / per_minute - _ROUNDING)),
                )
        for what, _, cost in costs:
            self._buckets[key.name, what].level -= cost

    def _costs(self, key: ApiKey, samples: int) -> Iterator[tuple[str, int, int]]:
        """The key's limits: what is limited, how much of it per minute, and how much of it this
        request is.
        """
        if key.requests_per_minute is not None:
            yield "requests", key.requests_per_minute, 1
        if key.samples_per_minute is not None:
            yield "samples", key.samples_per_minute, samples
