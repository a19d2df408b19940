"""The clock of leases: the database server's, where there is one, since replicas' clocks differ."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Connection, text

BATCH_OWNER = "batch "
"""Start of the owner of claims and reservations that a batch holds: these have no lease and end
with the batch.
"""
TOLERANCE_MS = 1_000
"""A lease that ends later than a whole lease and this was not made by this clock, and is
ignored.
"""


def _since_boot() -> float:
    """Seconds by a clock that is never set; where the system has one, it includes time spent
    suspended.
    """
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class LeaseClock:
    """Unix milliseconds. Between two measurements it advances by the monotonic clock.

    SQLite has no server: there, and where `from_server` is false, it is the process's own time.
    """

    def __init__(self, *, from_server: bool, monotonic: Callable[[], float] = _since_boot) -> None:
        self._from_server = from_server
        self._monotonic = monotonic
        self._measured: tuple[int, float] | None = None

    def now(self, own_ms: int) -> int:
        """The current time; `own_ms` is the process's own."""
        if self._measured is None:
            return own_ms
        server_ms, at = self._measured
        return server_ms + round((self._monotonic() - at) * 1000)

    def measure(self, connection: Connection) -> None:
        """Read the server's time; wrong by at most the time the answer travels."""
        if self._from_server and connection.dialect.name == "postgresql":
            server_ms = connection.scalar(
                text("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
            )
            self._measured = int(server_ms or 0), self._monotonic()
