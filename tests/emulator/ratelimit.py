"""Requests and input tokens a minute, refilled continuously, with the provider's headers.

Cached reads do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tests.emulator.errors import ApiError


class Bucket:
    """`per_minute` units, full at the start. `clock` gives seconds."""

    def __init__(self, kind: str, per_minute: int, clock: Callable[[], float]) -> None:
        self.kind = kind
        self.per_minute = per_minute
        self._clock = clock
        self._level = float(per_minute)
        self._at = clock()

    def take(self, amount: int) -> None:
        """Raises a 429 that says how long to wait when there is not enough left."""
        now = self._clock()
        self._level = min(self.per_minute, self._level + (now - self._at) * self.per_minute / 60)
        self._at = now
        if amount > self._level:
            wait = (amount - self._level) * 60 / self.per_minute
            headers = {"retry-after": f"{wait:.3f}", **self.headers()}
            raise ApiError(
                "rate_limit_error",
                f"over the limit of {self.per_minute} {self.kind} a minute",
                headers=headers,
            )
        self._level -= amount

    def headers(self) -> dict[str, str]:
        full = datetime.now(UTC) + timedelta(
            seconds=(self.per_minute - self._level) * 60 / self.per_minute
        )
        name = f"anthropic-ratelimit-{self.kind}"
        return {
            f"{name}-limit": str(self.per_minute),
            f"{name}-remaining": str(int(self._level)),
            f"{name}-reset": full.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
