"""Where a statement runs: a look at a few rows costs no thread on SQLite, unless it would have to wait."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from services.scoring.errors import StoreUnavailable
from services.scoring.store.database import Database


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()


async def test_a_look_needs_no_thread_on_sqlite(database):
    def work(connection):
        return connection.scalar(text("SELECT 1")), threading.current_thread() is threading.main_thread()

    assert await database.look(work) == (1, not database.is_postgres)
    assert await database.read(work) == (1, False)


async def test_a_look_sees_what_was_written_since_the_last(database):
    def look(connection):
        return connection.scalar(text("SELECT count(*) FROM counted"))

    await database.write(lambda connection: connection.execute(text("CREATE TABLE counted (n INTEGER)")))
    for number in range(3):
        assert await database.look(look) == number
        await database.write(lambda connection: connection.execute(text("INSERT INTO counted VALUES (1)")))


async def test_a_look_that_would_wait_is_left_to_a_thread_and_reported_if_that_fails(database):
    left = [1]

    def work(connection):
        if left:
            left.pop()
            raise OperationalError("SELECT 1", {}, Exception("database is locked"))
        return "seen"

    if not database.is_postgres:
        assert await database.look(work) == "seen"
    left[:] = [1, 1]
    with pytest.raises(StoreUnavailable, match="locked"):
        await database.look(work)
