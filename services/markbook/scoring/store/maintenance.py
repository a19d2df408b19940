"""Upkeep of the book: which marks were used, and what is too old or too much goes, in small transactions.

Replicas need not agree who does it: what goes is decided in one look at the book, and is the same whoever looks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sqlalchemy import Connection, case, delete, func, select, tuple_

from markbook.scoring.store import mark_access, sample_texts, tables, test_verdicts
from markbook.scoring.store.database import Database
from markbook.scoring.store.retention import RetentionPolicy
from markbook.scoring.store.rollups import compact_to_hours, drop_lines, oldest_hour

BATCH = 500
"""Rows a transaction: a request for marks never waits long behind one."""

Place = tuple[int, bytes]
"""A mark's place in the order of last use: Unix seconds, then key."""


class Maintenance:
    def __init__(self, database: Database, life: RetentionPolicy) -> None:
        self._database = database
        self._life = life

    async def run_once(self, now_ms: int) -> None:
        """Drop marks above `max_entries` that were not used for longest, and verdicts, texts and ledger lines past
        their age; minutes become hours."""
        if self._life.max_entries is not None and (last := await self._last_to_go(self._life.max_entries)):
            await self._in_batches(partial(_evict, last=last))
        if self._life.max_age_ms is not None:
            await self._in_batches(partial(_prune_verdicts, before_ms=now_ms - self._life.max_age_ms))
        if self._life.texts_max_age_ms is not None:
            await self._in_batches(partial(_prune, before_ms=now_ms - self._life.texts_max_age_ms))
        if self._life.lines_max_age_ms is not None:
            await self._in_batches(partial(drop_lines, before_ms=now_ms - self._life.lines_max_age_ms, most=BATCH))
        await self._compact_to_hours(now_ms)

    async def _compact_to_hours(self, now_ms: int) -> None:
        done: int | None = None
        while True:
            hour = await self._database.read(partial(oldest_hour, now_ms=now_ms))
            if hour is None or hour == done:  # it is still there: another replica is at it
                return
            await self._database.write(partial(compact_to_hours, hour_ms=hour))
            done = hour

    async def _in_batches(self, work: Callable[[Connection], int]) -> None:
        while await self._database.write(work) == BATCH:
            continue

    async def _last_to_go(self, max_entries: int) -> Place | None:
        """The most recently used of the marks that are too many; None while there is room."""
        mark = tables.marks.c
        total = select(func.count()).select_from(tables.marks).scalar_subquery()
        too_many = total - max_entries
        query = (
            select(too_many, mark.last_used_s, mark.key)
            .order_by(mark.last_used_s, mark.key)
            .offset(select(case((too_many > 0, too_many - 1), else_=0)).scalar_subquery())
            .limit(1)
        )
        row = await self._database.read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None or row[0] <= 0 else (row.last_used_s, row.key)


def _evict(connection: Connection, last: Place) -> int:
    mark = tables.marks.c
    unused = tuple_(mark.last_used_s, mark.key) <= tuple_(*last)
    oldest = select(mark.key).where(unused).order_by(mark.last_used_s, mark.key).limit(BATCH)
    keys = connection.execute(oldest.with_for_update(skip_locked=True)).scalars().all()
    connection.execute(delete(tables.marks).where(mark.key.in_(keys)))
    sample_texts.drop(connection, keys)
    mark_access.drop(connection, keys)
    return len(keys)


def _prune_verdicts(connection: Connection, before_ms: int) -> int:
    return test_verdicts.drop_older(connection, before_ms, BATCH)


def _prune(connection: Connection, before_ms: int) -> int:
    return sample_texts.drop_older(connection, before_ms, BATCH)
