"""Which runs of scoped API keys were given which marks: what their keys may look at, besides what they paid for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from sqlalchemy import Connection, delete, select

from services.scoring.store import tables
from services.scoring.store.database import Database
from services.scoring.store.prepared import insert_new

MAX_KNOWN = 100_000
"""Pairs remembered, so that a mark that is given again costs no write."""

Pair = tuple[bytes, str]
"""A mark's row key, and a run."""

_given = tables.given_marks.c


class Given:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: set[Pair] = set()

    async def add(self, pairs: Collection[Pair]) -> None:
        """These marks are given to these runs. Durable when this returns; what is known already costs nothing."""
        new = sorted(set(pairs) - self._known)  # in one order everywhere, against deadlocks
        if not new:
            return
        rows = [{"key": key, "run": run} for key, run in new]
        await self._database.write(lambda connection: insert_new(connection, tables.given_marks, rows))
        if len(self._known) + len(new) > MAX_KNOWN:
            self._known.clear()
        self._known.update(new)

    def forget(self) -> None:
        """Write what is given from now on again: marks may have gone meanwhile, here or by another replica, and with
        them what was known of them."""
        self._known.clear()


def runs_by_mark(connection: Connection, keys: Collection[bytes]) -> defaultdict[bytes, frozenset[str]]:
    """By row key."""
    runs: defaultdict[bytes, frozenset[str]] = defaultdict(frozenset)
    for key, run in connection.execute(select(_given.key, _given.run).where(_given.key.in_(keys))):
        runs[bytes(key)] |= {run}
    return runs


def drop(connection: Connection, keys: Collection[bytes]) -> None:
    """The marks with these keys are no more."""
    connection.execute(delete(tables.given_marks).where(_given.key.in_(keys)))
