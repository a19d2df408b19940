"""Runs SQL off the event loop: synchronous SQLAlchemy in a small pool of threads, for both
databases.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from markbook.scoring.errors import StoreUnavailableError
from markbook.scoring.store.engine import (
    POOL_SIZE,
    autocommit,
    connect,
    open_engine,
    read_connection,
    transaction,
)

log = logging.getLogger("markbook")

RETRY_TIMEOUT_S = 30.0
"""Seconds for which writing paid marks is retried while the database is unavailable."""
RETRY_S = 0.25

T = TypeVar("T")
Work = Callable[[Connection], T]
Timed = Callable[[str], AbstractContextManager[object]]


class Database:
    """One engine, and as many threads as it has connections.

    Every method may raise StoreUnavailableError.

    `timed`: returns a context manager around each `read` and `write`, waiting included.
    """

    def __init__(self, database_url: str, timed: Timed = nullcontext) -> None:
        self._timed = timed
        self.engine = open_engine(database_url)
        self.is_postgres = self.engine.dialect.name == "postgresql"
        # SQLite has one writer at a time, and its busy handler sleeps longer than a transaction
        # takes
        self._write_lock = threading.Lock()
        self._threads = ThreadPoolExecutor(POOL_SIZE, thread_name_prefix="store")
        self._inline_connection: Connection | None = None
        self._write_connection: Connection | None = None
        self._waiting: list[tuple[Work[Any], asyncio.Future[Any]]] = []
        self._failing: set[str] = set()
        self._outage_lock = threading.Lock()
        self._away_since = 0.0
        self._writer: asyncio.Task[None] | None = None

    async def read(self, work: Work[T]) -> T:
        """Run single statements without a transaction around them."""
        with self._timed("read"):
            return await self._thread(lambda: self.read_sync(work))

    async def read_inline(self, work: Work[T]) -> T:
        """`read` for a few rows by their key: on SQLite in this thread, which is faster than
        handing it over.

        Falls back to a thread if it would have to wait for a lock.
        """
        if self.is_postgres:
            return await self.read(work)
        try:
            with self._timed("read"):
                if self._inline_connection is None:
                    self._inline_connection = read_connection(self.engine)
                return work(self._inline_connection)
        except (OperationalError, sqlite3.OperationalError):
            return await self.read(work)

    async def write(self, work: Work[T]) -> T:
        """Run `work`, which has no other side effects, in one transaction; durable when this
        returns.

        On SQLite, waiting writes share a transaction, since each costs a disk sync. On Postgres
        they run concurrently: a shared transaction would lock rows in an order of its own, and
        deadlock.
        """
        with self._timed("write"):
            if self.is_postgres:
                return await self._thread(lambda: self.write_sync(work))
            return await self._group_commit(work)

    async def _group_commit(self, work: Work[T]) -> T:
        written: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_waiting())
        return await written

    async def write_with_retry(self, work: Work[T]) -> T:
        """`write`, retried for RETRY_TIMEOUT_S while the store is unavailable: for what is already
        paid for.

        `work` must be idempotent: the answer to a commit can be lost.
        """
        deadline = time.monotonic() + RETRY_TIMEOUT_S
        while True:
            try:
                return await self.write(work)
            except StoreUnavailableError:
                if time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(RETRY_S)

    def read_sync(self, work: Work[T]) -> T:
        with self._outages("read"), autocommit(self.engine) as connection:
            return work(connection)

    def write_sync(self, work: Work[T]) -> T:
        if self.is_postgres:
            with self._outages("write"), transaction(self.engine) as connection:
                return work(connection)
        with self._write_lock, self._outages("write"):
            if (
                self._write_connection is None
            ):  # a checkout from the pool costs as much as a statement
                self._write_connection = connect(self.engine)
            with transaction(self.engine, self._write_connection) as connection:
                return work(connection)

    @contextmanager
    def _outages(self, operation: str) -> Iterator[None]:
        """Log once that the database is unavailable, and once that all operations work again.

        A server that is read-only still answers reads: these do not end an outage of writes.
        """
        try:
            yield
        except StoreUnavailableError as error:
            with self._outage_lock:
                if not self._failing:
                    self._away_since = time.monotonic()
                    log.warning("%s", error)
                self._failing.add(operation)
            raise
        if operation not in self._failing:
            return
        with self._outage_lock:  # several threads may see the end of the outage
            if operation in self._failing:
                self._failing.discard(operation)
                if not self._failing:
                    log.warning(
                        "the database is available again after %.0f s",
                        time.monotonic() - self._away_since,
                    )

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        for connection in (self._inline_connection, self._write_connection):
            if connection is not None:
                connection.close()
        self.engine.dispose()

    async def _write_waiting(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            batch = [(work, written) for work, written in waiting if not written.cancelled()]
            ends = await self._ends_of([work for work, _ in batch])
            for (_, written), end in zip(batch, ends, strict=True):
                if written.cancelled():
                    continue
                if isinstance(end, BaseException):
                    written.set_exception(end)
                else:
                    written.set_result(end)

    async def _ends_of(self, works: Sequence[Work[Any]]) -> list[Any]:
        """Results or exceptions.

        When one of several fails all are undone, and each is run by itself.
        """
        together = self._thread(
            lambda: self.write_sync(lambda connection: [work(connection) for work in works])
        )
        await asyncio.wait([together])
        ends = together.exception()
        if ends is None:
            return together.result()
        if len(works) == 1 or isinstance(ends, StoreUnavailableError):
            return [ends] * len(works)
        return [end for work in works for end in await self._ends_of([work])]

    def _thread(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work)
