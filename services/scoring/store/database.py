"""Running SQL without holding the event loop: synchronous SQLAlchemy in a small pool of threads, for both databases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

from services.scoring.errors import StoreUnavailable
from services.scoring.store.engine import POOL_SIZE, open_engine, reading, writing

PATIENCE_S = 30.0
"""Seconds that a mark which is paid for waits for a database that is away."""
RETRY_S = 0.25

T = TypeVar("T")
Row = Mapping[str, Any]


class Database:
    """One engine and as many threads as it has connections. Every method may raise StoreUnavailable."""

    def __init__(self, database_url: str) -> None:
        self.engine = open_engine(database_url)
        self.is_postgres = self.engine.dialect.name == "postgresql"
        self._threads = ThreadPoolExecutor(POOL_SIZE, thread_name_prefix="store")

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run single statements, without a transaction around them."""
        return await self._in_thread(lambda: self.read_now(work))

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction, durable when this returns."""
        return await self._in_thread(lambda: self.write_now(work))

    async def insist(self, work: Callable[[Connection], T]) -> T:
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

    def read_now(self, work: Callable[[Connection], T]) -> T:
        with reading(self.engine) as connection:
            return work(connection)

    def write_now(self, work: Callable[[Connection], T]) -> T:
        with writing(self.engine) as connection:
            return work(connection)

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        self.engine.dispose()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def upsert(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that can say ON CONFLICT, which both databases spell alike but SQLAlchemy does not."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def insert_new(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert what is not there yet: the first write wins."""
    if rows:
        connection.execute(upsert(connection, table).on_conflict_do_nothing(), list(rows))
