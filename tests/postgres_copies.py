"""Postgres databases for tests: a used one is emptied and renamed, in a thread, while another test
runs.

To create and to drop a database takes several times as long as most tests, and to empty one a few
milliseconds.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, LiteralString, Self

import httpx
import psycopg
from psycopg.sql import SQL, Identifier

READY = 2
"""Databases at a time: one is used while the other is emptied."""
PATIENCE_MS = 10_000
_SCHEMA: LiteralString = """
SELECT md5(string_agg(each, E'\n' ORDER BY each)) FROM (
  SELECT format('%s %s %s %s %s', relkind, oid::regclass, reloptions, relacl, relrowsecurity) AS each
    FROM pg_class WHERE relnamespace = 'public'::regnamespace
  UNION ALL SELECT format('%s %s %s %s %s %s %s', attrelid::regclass, attnum, attname,
      format_type(atttypid, atttypmod), attnotnull, attidentity, pg_get_expr(adbin, adrelid))
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0
  UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE relnamespace = 'public'::regnamespace
  UNION ALL SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
  UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger
  UNION ALL SELECT format('%s %s', proname, prosrc) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
  UNION ALL SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'
  UNION ALL SELECT extname::text FROM pg_extension
  UNION ALL SELECT evtname::text FROM pg_event_trigger
  UNION ALL SELECT format('%s %s', datconnlimit, datacl) FROM pg_database WHERE datname = current_database()
  UNION ALL SELECT setconfig::text FROM pg_db_role_setting
    WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS all_of_it
"""
"""A digest of all that a test may have defined; what it has written is not part of it."""


class AlteredError(Exception):
    """The database has another schema than the template, so that emptying it is not enough."""


class PostgresCopies:
    """Copies of `template`, each under a new name; the connections of whoever had it before are
    ended.
    """

    def __init__(self, server_url: str, template: str) -> None:
        self._url = httpx.URL(server_url)
        self._template = template
        self._server = psycopg.connect(server_url, autocommit=True)
        with closing(self._connect(template)) as connection:
            self._tables = [name for (name,) in connection.execute(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = "
                "'public'::regnamespace"
            )]  # fmt: skip
            self._filled = {
                table: rows for table in self._tables if (rows := _rows(connection, table))
            }
            self._schema = _value(connection, _SCHEMA)
        self._thread = ThreadPoolExecutor(1)
        self._ready: deque[Future[str]] = deque(
            self._thread.submit(self._create) for _ in range(READY)
        )

    def take(self) -> str:
        """The name of a database with the template's schema and rows, which no other test knows."""
        if not self._ready:
            self._ready.append(self._thread.submit(self._create))
        return self._ready.popleft().result()

    def give_back(self, name: str) -> None:
        self._ready.append(self._thread.submit(self._renew, name))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for ready in self._ready:
            drop_database(self._server, ready.result())
        self._thread.shutdown()
        self._server.close()

    def _create(self) -> str:
        return create_database(self._server, self._template)

    def _renew(self, name: str) -> str:
        try:
            return self._emptied(name)
        except (AlteredError, psycopg.Error):  # such as a connection that does not end
            drop_database(self._server, name)
            return self._create()

    def _emptied(self, name: str) -> str:
        with closing(self._connect(name)) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid != pg_backend_pid()"
            )
            if _value(connection, _SCHEMA) != self._schema:
                raise AlteredError(name)
            if any(_rows(connection, table) != rows for table, rows in self._filled.items()):
                raise AlteredError(name)
            self._empty(connection)
        self._wait_unused(name)
        renamed = _new_name()
        self._server.execute(
            SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(name), Identifier(renamed))
        )
        return renamed

    def _wait_unused(self, name: str) -> None:
        """Until all connections have ended, which otherwise takes Postgres a tenth of a second
        to notice.
        """
        until = time.monotonic() + PATIENCE_MS / 1000
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        while self._server.execute(query, [name]).fetchone() != (0,) and time.monotonic() < until:
            time.sleep(0.002)

    def _empty(self, connection: psycopg.Connection) -> None:
        tables = [Identifier(table) for table in self._tables if table not in self._filled]
        holds_any = SQL(" UNION ALL ").join(
            SQL("SELECT {} WHERE EXISTS (SELECT 1 FROM {})").format(str(number), table)
            for number, table in enumerate(tables)
        )
        filled = [tables[int(number)] for (number,) in connection.execute(holds_any)]
        if filled:
            connection.execute(SQL("TRUNCATE {} CASCADE").format(SQL(", ").join(filled)))
        connection.execute(
            "SELECT setval(format('%I.%I', schemaname, sequencename), start_value, false)"
            " FROM pg_sequences WHERE last_value IS NOT NULL"
        )

    def _connect(self, name: str) -> psycopg.Connection:
        url = str(self._url.copy_with(path=f"/{name}"))
        return psycopg.connect(url, autocommit=True, options=f"-c lock_timeout={PATIENCE_MS}")


def create_database(server: psycopg.Connection, template: str) -> str:
    """Its name."""
    name = _new_name()
    is_synced = server.execute("SHOW fsync").fetchone() == ("on",)
    strategy = SQL("WAL_LOG" if is_synced else "FILE_COPY")  # the quicker one
    command = SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY {}")
    server.execute(command.format(Identifier(name), Identifier(template), strategy))
    return name


def drop_database(server: psycopg.Connection, name: str) -> None:
    server.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def _new_name() -> str:
    return f"test_{uuid.uuid4().hex}"


def _rows(connection: psycopg.Connection, table: str) -> list[Any]:
    query = SQL("SELECT each::text FROM {} AS each ORDER BY 1").format(Identifier(table))
    return connection.execute(query).fetchall()


def _value(connection: psycopg.Connection, query: LiteralString) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]
