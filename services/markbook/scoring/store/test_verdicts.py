"""Stored verdicts of samples' tests, by a digest of everything they depend on: a second epoch
runs no test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, bindparam, delete, select, tuple_

from markbook.contract import SampleTests
from markbook.scoring.store import tables
from markbook.scoring.store.database import Database
from markbook.scoring.store.statements import insert_new, run

_kept = tables.test_verdicts.c
# a module constant: building the statement takes longer than running it
_FIND = select(_kept.digest, _kept.passed, _kept.total, _kept.not_run, _kept.first_failure).where(
    _kept.digest.in_(bindparam("digests", expanding=True))
)


class Verdicts:
    """Times are Unix milliseconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, digests: Sequence[bytes]) -> dict[bytes, SampleTests]:
        """Stored verdicts by digest, in one statement."""
        if not digests:
            return {}
        rows = await self._database.read_inline(
            lambda connection: run(connection, _FIND, [{"digests": list(digests)}]).rows
        )
        return {
            bytes(digest): SampleTests(
                passed=passed, total=total, not_run=not_run, first_failure=first_failure
            )
            for digest, passed, total, not_run, first_failure in rows
        }

    async def add(self, verdicts: Mapping[bytes, SampleTests], at_ms: int) -> None:
        """Store verdicts. The first one written stays: another of the same digest is equal."""
        # in one order everywhere, against deadlocks
        rows = [
            {"digest": digest, "created_ms": at_ms, **verdict.model_dump()}
            for digest, verdict in sorted(verdicts.items())
        ]
        if rows:
            await self._database.write(
                lambda connection: insert_new(connection, tables.test_verdicts, rows)
            )


def drop_older(connection: Connection, before_ms: int, limit: int) -> int:
    """Delete at most `limit` verdicts from before `before_ms`; returns how many."""
    return _drop(connection, _kept.created_ms < before_ms, limit)


def drop_up_to(connection: Connection, last: tuple[int, bytes], limit: int) -> int:
    """Delete at most `limit` verdicts up to `last`, a time and a digest, in this order; returns
    how many.
    """
    return _drop(connection, tuple_(_kept.created_ms, _kept.digest) <= tuple_(*last), limit)


def _drop(connection: Connection, which: ColumnElement[bool], limit: int) -> int:
    old = select(_kept.digest).where(which).order_by(_kept.created_ms, _kept.digest).limit(limit)
    digests = connection.execute(old.with_for_update(skip_locked=True)).scalars().all()
    connection.execute(delete(tables.test_verdicts).where(_kept.digest.in_(digests)))
    return len(digests)
