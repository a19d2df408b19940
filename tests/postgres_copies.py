"""Copies of a Postgres database for tests: the next is made, and a used one dropped, while a test runs."""

from __future__ import annotations

import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import psycopg


class PostgresCopies:
    """One thread with a connection of its own; the server works in other processes meanwhile."""

    def __init__(self, server_url: str, template: str) -> None:
        self._template = template
        self._server = psycopg.connect(server_url, autocommit=True)
        self._thread = ThreadPoolExecutor(1)
        self._dropped: list[Future[None]] = []
        self._next = self._thread.submit(self._create)

    def take(self) -> str:
        """The name of a database that no other test uses."""
        name = self._next.result()
        self._next = self._thread.submit(self._create)
        return name

    def drop(self, name: str) -> None:
        self._dropped.append(self._thread.submit(drop_database, self._server, name))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Raises what went wrong in the thread."""
        self.drop(self._next.result())
        self._thread.shutdown()
        for dropped in self._dropped:
            dropped.result()
        self._server.close()

    def _create(self) -> str:
        return create_database(self._server, self._template)


def create_database(server: psycopg.Connection, template: str) -> str:
    """Its name."""
    name = f"test_{uuid.uuid4().hex}"
    is_synced = server.execute("SHOW fsync").fetchone() == ("on",)
    strategy = "WAL_LOG" if is_synced else "FILE_COPY"  # the quicker one
    server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY {strategy}')  # type: ignore[arg-type]
    return name


def drop_database(server: psycopg.Connection, name: str) -> None:
    server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')  # type: ignore[arg-type]
