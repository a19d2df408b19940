"""Where a statement runs: on SQLite a look costs no thread, and writes that wait share a
transaction.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from markbook.scoring.errors import StoreUnavailableError
from markbook.scoring.store.database import Database


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()


async def test_a_look_needs_no_thread_on_sqlite(database):
    def work(connection):
        return connection.scalar(
            text("SELECT 1")
        ), threading.current_thread() is threading.main_thread()

    assert await database.read_inline(work) == (1, not database.is_postgres)
    assert await database.read(work) == (1, False)


async def test_a_look_sees_what_was_written_since_the_last(database):
    def count(connection):
        return connection.scalar(text("SELECT count(*) FROM counted"))

    await database.write(
        lambda connection: connection.execute(text("CREATE TABLE counted (n INTEGER)"))
    )
    for number in range(3):
        assert await database.read_inline(count) == number
        await database.write(
            lambda connection: connection.execute(text("INSERT INTO counted VALUES (1)"))
        )


async def test_a_look_that_would_wait_is_left_to_a_thread_and_reported_if_that_fails(database):
    left = [1]

    def work(connection):
        if left:
            left.pop()
            raise OperationalError("SELECT 1", {}, Exception("database is locked"))
        return "seen"

    if not database.is_postgres:
        assert await database.read_inline(work) == "seen"
    left[:] = [1, 1]
    with pytest.raises(StoreUnavailableError, match="locked"):
        await database.read_inline(work)


def adding(number: int):
    def work(connection):
        connection.execute(text("INSERT INTO added VALUES (:number)"), {"number": number})
        if number < 0:
            raise LookupError(number)
        return number

    return work


async def added(database: Database) -> list[int]:
    query = text("SELECT n FROM added ORDER BY n")
    return await database.read(lambda connection: list(connection.execute(query).scalars()))


@pytest.fixture
async def commits(database: Database) -> list[object]:
    """What is committed from now on, with a table to write to."""
    await database.write(
        lambda connection: connection.execute(text("CREATE TABLE added (n INTEGER)"))
    )
    seen: list[object] = []
    event.listen(database.engine, "commit", seen.append)
    return seen


async def test_writes_that_wait_share_a_transaction_on_sqlite(database, commits):
    assert await asyncio.gather(*(database.write(adding(number)) for number in range(5))) == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert len(commits) == (5 if database.is_postgres else 1)
    assert await added(database) == [0, 1, 2, 3, 4]


async def test_a_write_that_fails_is_undone_and_the_others_with_it_are_not(database, commits):
    ends = await asyncio.gather(
        *(database.write(adding(number)) for number in (1, -2, 3)), return_exceptions=True
    )
    assert [ends[0], type(ends[1]), ends[2]] == [1, LookupError, 3]
    assert await added(database) == [1, 3]
    assert await database.write(adding(4)) == 4


async def test_writes_are_not_tried_one_by_one_while_the_store_is_away(
    database, commits, monkeypatch
):
    tried: list[object] = []

    def away(work):
        tried.append(work)
        raise StoreUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(database, "write_sync", away)
        ends = await asyncio.gather(
            *(database.write(adding(number)) for number in (1, 2, 3)), return_exceptions=True
        )
    assert [type(end) for end in ends] == [StoreUnavailableError] * 3
    assert len(tried) == (3 if database.is_postgres else 1)
    assert await database.write(adding(4)) == 4


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_write_whose_caller_leaves_before_its_turn_is_not_run(database, commits):
    left, stayed = (asyncio.create_task(database.write(adding(number))) for number in (1, 2))
    await asyncio.sleep(0)
    left.cancel()
    assert await stayed == 2
    assert left.cancelled()
    assert await added(database) == [2]


async def test_sqlite_writes_again_once_another_process_has_let_go(tmp_path, monkeypatch):
    """One connection is kept for writing: a transaction that could not begin must leave it as it
    was.
    """
    monkeypatch.setattr("markbook.scoring.store.engine.BUSY_TIMEOUT_MS", 1)
    database = Database(f"sqlite:///{tmp_path / 'book.db'}")
    await database.write(lambda connection: connection.execute(text("CREATE TABLE t (a INTEGER)")))
    other = sqlite3.connect(tmp_path / "book.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="locked"):
            await database.write(
                lambda connection: connection.execute(text("INSERT INTO t VALUES (1)"))
            )
    other.execute("ROLLBACK")
    await database.write(lambda connection: connection.execute(text("INSERT INTO t VALUES (2)")))
    assert other.execute("SELECT a FROM t").fetchall() == [(2,)]
    other.close()
    await database.close()


async def test_a_transaction_that_was_left_open_is_in_the_way_once(tmp_path):
    """As by a commit that failed: the kept connection must not refuse every write until the
    service is restarted.
    """
    database = Database(f"sqlite:///{tmp_path / 'book.db'}")
    await database.write(lambda connection: connection.execute(text("CREATE TABLE t (a INTEGER)")))
    assert database._write_connection is not None
    database._write_connection.connection.cursor().execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match="within a transaction"):
        await database.write(
            lambda connection: connection.execute(text("INSERT INTO t VALUES (1)"))
        )
    await database.write(lambda connection: connection.execute(text("INSERT INTO t VALUES (2)")))
    assert (
        await database.read(lambda connection: connection.scalar(text("SELECT sum(a) FROM t"))) == 2
    )
    await database.close()
