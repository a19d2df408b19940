"""One computation per key at a time in this process; everyone who asks for the key gets its
result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Futures by key.

    The first to claim a key owns it and must `resolve` or `fail` it; the others wait.

    A key is claimed before the store is read: the other way round, a mark stored between a reader's
    miss and its claim would be requested, and paid for, twice.
    """

    def __init__(self) -> None:
        self._in_flight: dict[K, asyncio.Future[V]] = {}

    def __len__(self) -> int:
        return len(self._in_flight)

    def claim(self, keys: Iterable[K]) -> tuple[dict[K, asyncio.Future[V]], list[K]]:
        """A future for every key, and the keys that the caller now owns."""
        loop = asyncio.get_running_loop()
        futures: dict[K, asyncio.Future[V]] = {}
        owned: list[K] = []
        for key in dict.fromkeys(keys):
            future = self._in_flight.get(key)
            if future is None:
                future = self._in_flight[key] = loop.create_future()
                owned.append(key)
            futures[key] = future
        return futures, owned

    def resolve(self, key: K, value: V) -> None:
        """Give `value` to all who wait. Does nothing for a key that has failed before."""
        future = self._in_flight.pop(key, None)
        if future is not None:
            future.set_result(value)

    def fail(self, keys: Iterable[K], error: BaseException) -> None:
        """Give `error` to all who wait for those of `keys` that are not resolved yet."""
        for key in keys:
            future = self._in_flight.pop(key, None)
            if future is not None:
                future.set_exception(error)
                # mark it as retrieved: asyncio would log it where nothing awaits it
                future.exception()
