"""The databases that tests share one after another: nothing of one test is left for the next."""

from __future__ import annotations

from contextlib import closing

import httpx
import psycopg
import pytest

from tests.postgres_copies import PostgresCopies, create_database, drop_database


@pytest.fixture
def copies(postgres, postgres_server):
    template = create_database(postgres_server, "template1")
    with connect(postgres, template) as connection:
        connection.execute("CREATE TABLE version (number int)")
        connection.execute("INSERT INTO version VALUES (7)")
        connection.execute("CREATE TABLE marks (id serial PRIMARY KEY, score real NOT NULL)")
        connection.execute(
            "CREATE TABLE texts (mark int REFERENCES marks, body text DEFAULT 'none')"
        )
        connection.execute("CREATE INDEX by_score ON marks (score)")
    with PostgresCopies(postgres, template) as made:
        yield made
    drop_database(postgres_server, template)


def connect(server, name):
    return closing(
        psycopg.connect(str(httpx.URL(server).copy_with(path=f"/{name}")), autocommit=True)
    )


def turn(copies, server, *statements):
    """Use both databases as a test that executes the statements; returns their oids."""
    oids = []
    for _ in range(2):
        name = copies.take()
        with connect(server, name) as connection:
            oids += connection.execute(
                "SELECT oid FROM pg_database WHERE datname = current_database()"
            ).fetchone()
            for statement in statements:
                connection.execute(statement)
        copies.give_back(name)
    return oids


def state(copies, server):
    """What the next test finds."""
    name = copies.take()
    with connect(server, name) as connection:
        oid = connection.execute(
            "SELECT oid FROM pg_database WHERE datname = current_database()"
        ).fetchone()[0]
        rows = [
            connection.execute(f"SELECT * FROM {table}").fetchall()
            for table in ("version", "marks", "texts")
        ]
        first = connection.execute("INSERT INTO marks (score) VALUES (1) RETURNING id").fetchone()[
            0
        ]
        extra = connection.execute(
            "SELECT to_regclass('more'), current_setting('work_mem')"
        ).fetchone()
    copies.give_back(name)
    return oid, rows, first, extra


CLEAN = ([[(7,)], [], []], 1, (None, "4MB"))
ROWS = ("INSERT INTO marks (score) VALUES (0.5), (0.7)", "INSERT INTO texts VALUES (1)")


@pytest.mark.parametrize(
    "statements", [(), ROWS, (*ROWS, "DELETE FROM texts", "DELETE FROM marks")]
)
def test_rows_and_numbers_are_gone_and_the_database_is_used_again(copies, postgres, statements):
    used = turn(copies, postgres, *statements)
    oid, *found = state(copies, postgres)
    assert tuple(found) == CLEAN
    assert oid in used


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE more (id int)",
        "DROP INDEX by_score",
        "ALTER TABLE marks ALTER score DROP NOT NULL",
        "ALTER TABLE texts ALTER body SET DEFAULT 'some'",
        "ALTER TABLE texts DROP CONSTRAINT texts_mark_fkey",
        "DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''8MB''', "
        "current_database()); END$$",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA another",
        "UPDATE version SET number = 6",
        "DELETE FROM version",
    ],
)
def test_a_database_that_was_altered_is_replaced(copies, postgres, statement):
    altered = turn(copies, postgres, statement)
    oid, *found = state(copies, postgres)
    assert tuple(found) == CLEAN
    assert oid not in altered


def test_an_old_name_leads_nowhere_and_open_connections_are_ended(copies, postgres):
    name = copies.take()
    with connect(postgres, name) as left_open:
        left_open.execute("BEGIN")
        left_open.execute("LOCK TABLE marks")
        copies.give_back(name)
        assert [state(copies, postgres)[1:] for _ in range(2)] == [CLEAN] * 2
        with pytest.raises(psycopg.OperationalError):
            left_open.execute("SELECT 1")
        with (
            pytest.raises(psycopg.OperationalError, match="does not exist"),
            connect(postgres, name),
        ):
            pass


def test_more_at_a_time_than_are_kept_ready(copies, postgres):
    names = [copies.take() for _ in range(4)]
    assert len(set(names)) == 4
    for name in names:
        copies.give_back(name)
    assert state(copies, postgres)[1:] == CLEAN
