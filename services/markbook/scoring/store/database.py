"""Running SQL without holding the event loop: synchronous SQLAlchemy in a small pool of threads, for both databases."""

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

from markbook.scoring.errors import StoreUnavailable
from markbook.scoring.store.engine import POOL_SIZE, connect, open_engine, read_connection, reading, writing

log = logging.getLogger("markbook")

PATIENCE_S = 30.0
"""Seconds that a mark which is paid for waits for a database that is away."""
RETRY_S = 0.25

T = TypeVar("T")
Work = Callable[[Connection], T]
Timed = Callable[[str], AbstractContextManager[object]]


class Database:
    """One engine and as many threads as it has connections. Every method may raise StoreUnavailable.

    `timed`: a context that each `read` and `write` runs in, as long as its caller waits.
    """

    def __init__(self, database_url: str, timed: Timed = nullcontext) -> None:
        self._timed = timed
        self.engine = open_engine(database_url)
        self.is_postgres = self.engine.dialect.name == "postgresql"
        # SQLite takes one writer at a time, and those it turns away sleep longer than a transaction takes
        self._turn = threading.Lock()
        self._threads = ThreadPoolExecutor(POOL_SIZE, thread_name_prefix="store")
        self._near: Connection | None = None
        self._kept: Connection | None = None
        self._waiting: list[tuple[Work[Any], asyncio.Future[Any]]] = []
        self._failing: set[str] = set()
        self._telling = threading.Lock()
        self._away_since = 0.0
        self._writer: asyncio.Task[None] | None = None

    async def read(self, work: Work[T]) -> T:
        """Run single statements, without a transaction around them."""
        with self._timed("read"):
            return await self._thread(lambda: self.read_sync(work))

    async def look(self, work: Work[T]) -> T:
        """`read`, for a look at a few rows by their key, which takes SQLite less time than a thread takes to start.

        Done in this thread there; in another if it would have to wait for somebody.
        """
        if self.is_postgres:
            return await self.read(work)
        try:
            with self._timed("read"):
                if self._near is None:
                    self._near = read_connection(self.engine)
                return work(self._near)
        except (OperationalError, sqlite3.OperationalError):
            return await self.read(work)

    async def write(self, work: Work[T]) -> T:
        """Run `work` in one transaction, durable when this returns. It changes nothing but the database.

        On SQLite those that wait for their turn share a transaction: each one costs a sync of the disk. On Postgres
        they run side by side: there a transaction of several would lock rows in an order of its own, and deadlock.
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
        """`write`, again and again for PATIENCE_S while the store is away: for what is paid for already.

        `work` must be safe to repeat: the answer to a commit can be lost.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await self.write(work)
            except StoreUnavailable:
                if time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(RETRY_S)

    def read_sync(self, work: Work[T]) -> T:
        with self._outages("read"), reading(self.engine) as connection:
            return work(connection)

    def write_sync(self, work: Work[T]) -> T:
        if self.is_postgres:
            with self._outages("write"), writing(self.engine) as connection:
                return work(connection)
        with self._turn, self._outages("write"):
            if self._kept is None:  # to take one out of the pool and give it back costs as much as a statement
                self._kept = connect(self.engine)
            with writing(self.engine, self._kept) as connection:
                return work(connection)

    @contextmanager
    def _outages(self, operation: str) -> Iterator[None]:
        """Say once that the database is away, however many find it so, and once that all operations work again.

        A server that is read-only for a moment still answers reads: these do not end an outage of writes.
        """
        try:
            yield
        except StoreUnavailable as error:
            with self._telling:
                if not self._failing:
                    self._away_since = time.monotonic()
                    log.warning("%s", error)
                self._failing.add(operation)
            raise
        if operation not in self._failing:
            return
        with self._telling:  # several threads may see the end of an outage
            if operation in self._failing:
                self._failing.discard(operation)
                if not self._failing:
                    log.warning("the database can be used again, after %.0f s", time.monotonic() - self._away_since)

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        for connection in (self._near, self._kept):
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
        """Results or exceptions. When one of several fails all are undone, and each is run by itself."""
        together = self._thread(lambda: self.write_sync(lambda connection: [work(connection) for work in works]))
        await asyncio.wait([together])
        ends = together.exception()
        if ends is None:
            return together.result()
        if len(works) == 1 or isinstance(ends, StoreUnavailable):
            return [ends] * len(works)
        return [end for work in works for end in await self._ends_of([work])]

    def _thread(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work)
