"""One answer per mark, however many ask at the same time in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Futures by key. Who claims a key first leads: it must land it with `land` or `crash`; the others wait.

    A key is claimed before the store is asked: were it the other way round, a mark stored between a reader's miss and
    its claim would be asked for, and paid for, twice.
    """

    def __init__(self) -> None:
        self._flying: dict[K, asyncio.Future[V]] = {}

    def __len__(self) -> int:
        return len(self._flying)

    def claim(self, keys: Iterable[K]) -> tuple[dict[K, asyncio.Future[V]], list[K]]:
        """A future for every key, and the keys that the caller now leads."""
        loop = asyncio.get_running_loop()
        futures: dict[K, asyncio.Future[V]] = {}
        leading: list[K] = []
        for key in dict.fromkeys(keys):
            future = self._flying.get(key)
            if future is None:
                future = self._flying[key] = loop.create_future()
                leading.append(key)
            futures[key] = future
        return futures, leading

    def land(self, key: K, value: V) -> None:
        """Hand `value` to all who wait; nobody does when the flight has crashed before its mark came."""
        future = self._flying.pop(key, None)
        if future is not None:
            future.set_result(value)

    def crash(self, keys: Iterable[K], error: BaseException) -> None:
        """Hand `error` to all who wait for those of `keys` that have not landed."""
        for key in keys:
            future = self._flying.pop(key, None)
            if future is not None:
                future.set_exception(error)
                future.exception()  # the waiters raise it; unwaited, it is no second report
