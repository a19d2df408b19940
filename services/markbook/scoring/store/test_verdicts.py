"""What came of samples' tests, by a digest of all that it depends on: a second epoch runs nothing again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, bindparam, delete, select

from markbook.contract import SampleTests
from markbook.scoring.store import tables
from markbook.scoring.store.database import Database
from markbook.scoring.store.statements import insert_new, run

_kept = tables.test_verdicts.c
# made once: making it takes longer than running it
_FIND = select(_kept.digest, _kept.passed, _kept.total, _kept.not_run, _kept.first_failure).where(
    _kept.digest.in_(bindparam("digests", expanding=True))
)


class Verdicts:
    """Times are Unix milliseconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, digests: Sequence[bytes]) -> dict[bytes, SampleTests]:
        """The known verdicts, in one statement."""
        if not digests:
            return {}
        rows = await self._database.look(lambda connection: run(connection, _FIND, [{"digests": list(digests)}]).rows)
        return {
            bytes(digest): SampleTests(passed=passed, total=total, not_run=not_run, first_failure=first_failure)
            for digest, passed, total, not_run, first_failure in rows
        }

    async def add(self, verdicts: Mapping[bytes, SampleTests], at_ms: int) -> None:
        """Keep verdicts. The first written stays: another of the same digest says the same."""
        # in one order everywhere, against deadlocks
        rows = [
            {"digest": digest, "created_ms": at_ms, **verdict.model_dump()}
            for digest, verdict in sorted(verdicts.items())
        ]
        if rows:
            await self._database.write(lambda connection: insert_new(connection, tables.test_verdicts, rows))


def drop_older(connection: Connection, before_ms: int, limit: int) -> int:
    """Drop at most `limit` verdicts kept before `before_ms`; returns how many went."""
    old = select(_kept.digest).where(_kept.created_ms < before_ms).order_by(_kept.created_ms).limit(limit)
    digests = connection.execute(old.with_for_update(skip_locked=True)).scalars().all()
    connection.execute(delete(tables.test_verdicts).where(_kept.digest.in_(digests)))
    return len(digests)
