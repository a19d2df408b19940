"""Which runs may look at a mark: the one that paid for it, which the mark names, and those that
were given it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from markbook.scoring.store import tables
from markbook.scoring.store.database import Database
from markbook.scoring.store.statements import insert_new

MAX_KNOWN = 100_000
"""Pairs remembered in memory, so that a mark given again costs no write."""

Pair = tuple[bytes, str]
"""A mark's row key, and a run."""

_given = tables.given_marks.c
_mark = tables.marks.c


class MarkAccess:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: set[Pair] = set()

    async def add(self, keys: Collection[bytes], run: str) -> None:
        """Record that the marks with these row keys were given to `run`; durable when this
        returns.
        """
        new = sorted(
            {(key, run) for key in keys} - self._known
        )  # one order everywhere, against deadlocks
        if not new:
            return
        await self._database.write(
            lambda connection: write(connection, [key for key, _ in new], run)
        )
        if len(self._known) + len(new) > MAX_KNOWN:
            self._known.clear()
        self._known.update(new)

    def forget(self) -> None:
        """Forget which pairs are stored: their marks may have been deleted meanwhile, here or by
        another replica.
        """
        self._known.clear()


def write(connection: Connection, keys: Sequence[bytes], run: str) -> None:
    """Store the pairs of `run` with the marks that it has not paid for itself."""
    own = connection.execute(
        select(_mark.key).where(_mark.key.in_(keys), _mark.run == run)
    ).scalars()
    paid = {bytes(key) for key in own}
    insert_new(
        connection,
        tables.given_marks,
        [{"key": key, "run": run} for key in keys if key not in paid],
    )


def runs_by_mark(connection: Connection, rows: Sequence[Row[Any]]) -> dict[bytes, frozenset[str]]:
    """The runs that paid for, or were given, the marks in these rows, by row key."""
    runs = {bytes(row.key): frozenset({row.run} if row.run else ()) for row in rows}
    for key, run in connection.execute(
        select(_given.key, _given.run).where(_given.key.in_(list(runs)))
    ):
        runs[bytes(key)] |= {run}
    return runs


def drop(connection: Connection, keys: Collection[bytes]) -> None:
    """Delete the pairs of marks that are deleted."""
    connection.execute(delete(tables.given_marks).where(_given.key.in_(keys)))
