"""Maintenance: applies retention (by age and by number) and compacts rollups, in small
transactions.

Every replica may do it: what is deleted is decided by one read of the store, with the same result
for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from sqlalchemy import Column, Connection, case, delete, func, select, tuple_

from markbook.scoring.store import (
    exchanges,
    mark_access,
    sample_rows,
    sample_texts,
    tables,
    test_verdicts,
)
from markbook.scoring.store.batch_rows import drop_ended, find_ended
from markbook.scoring.store.database import Database
from markbook.scoring.store.retention import RetentionPolicy
from markbook.scoring.store.rollups import compact_to_hours, drop_lines, oldest_hour

Id = TypeVar("Id", bytes, str)

BATCH = 500
"""Rows per transaction: a request never waits long for one."""

Place = tuple[int, bytes]
"""A row's place in order of age: its time, then its key."""


class Maintenance:
    def __init__(self, database: Database, retention: RetentionPolicy) -> None:
        self._database = database
        self._retention = retention

    async def run_once(self, now_ms: int) -> None:
        """Delete the least recently used marks and the oldest verdicts above `max_entries`, rejects
        and exchanges above their number, and verdicts, texts, ledger lines and ended batches past
        their age; compact minutes to hours.
        """
        await self._drop_above_limits()
        await self._drop_past_age(now_ms)
        await self._compact_to_hours(now_ms)

    async def _drop_above_limits(self) -> None:
        if (most := self._retention.max_entries) is not None:
            mark, verdict = tables.marks.c, tables.test_verdicts.c
            if (last := await self._last_above(most, mark.last_used_s, mark.key)) is not None:
                await self._in_batches(partial(_evict, last=last))
            if (
                last := await self._last_above(most, verdict.created_ms, verdict.digest)
            ) is not None:
                await self._in_batches(partial(test_verdicts.drop_up_to, last=last, limit=BATCH))
        if (keep := self._retention.keep_rejects) is not None:
            await self._drop_found(
                partial(sample_rows.find_decided_above, most=keep, limit=BATCH),
                sample_rows.drop_decided,
            )
        kept = self._retention.keep_exchanges
        await self._drop_found(
            partial(exchanges.find_above, most=kept, limit=BATCH), exchanges.drop
        )

    async def _drop_past_age(self, now_ms: int) -> None:
        if self._retention.max_age_ms is not None:
            await self._in_batches(
                partial(_prune_verdicts, before_ms=now_ms - self._retention.max_age_ms)
            )
        if self._retention.texts_max_age_ms is not None:
            before_ms = now_ms - self._retention.texts_max_age_ms
            await self._in_batches(partial(_prune, before_ms=before_ms))
            await self._drop_found(
                partial(exchanges.find_older, before_ms=before_ms, limit=BATCH), exchanges.drop
            )
        if self._retention.lines_max_age_ms is not None:
            await self._in_batches(
                partial(
                    drop_lines, before_ms=now_ms - self._retention.lines_max_age_ms, limit=BATCH
                )
            )
        if self._retention.batches_max_age_ms is not None:
            before_ms = now_ms - self._retention.batches_max_age_ms
            await self._drop_found(
                partial(find_ended, before_ms=before_ms, limit=BATCH), drop_ended
            )

    async def _compact_to_hours(self, now_ms: int) -> None:
        done: int | None = None
        while True:
            hour = await self._database.read(partial(oldest_hour, now_ms=now_ms))
            if hour is None or hour == done:  # unchanged: another replica does it
                return
            await self._database.write(partial(compact_to_hours, hour_ms=hour))
            done = hour

    async def _in_batches(self, work: Callable[[Connection], int]) -> None:
        while await self._database.write(work) == BATCH:
            continue

    async def _drop_found(
        self,
        find: Callable[[Connection], Sequence[Id]],
        drop: Callable[[Connection, Sequence[Id]], None],
    ) -> None:
        """Delete what `find` returns, BATCH at a time. Without any there is no write: a database
        that is only read from must not seem to take writes again.
        """
        found: Sequence[Id] = await self._database.read(find)
        while found:
            await self._database.write(partial(_drop_all, drop, found))
            found = await self._database.read(find) if len(found) == BATCH else ()

    async def _last_above(
        self, max_entries: int, time: Column[int], key: Column[bytes]
    ) -> Place | None:
        """The youngest of the oldest rows of a table above `max_entries`; None if there are not
        so many.
        """
        total = select(func.count()).select_from(key.table).scalar_subquery()
        too_many = total - max_entries
        query = (
            select(too_many, time, key)
            .order_by(time, key)
            .offset(select(case((too_many > 0, too_many - 1), else_=0)).scalar_subquery())
            .limit(1)
        )
        row = await self._database.read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None or row[0] <= 0 else (row[1], bytes(row[2]))


def _drop_all(
    drop: Callable[[Connection, Sequence[Id]], None], ids: Sequence[Id], connection: Connection
) -> None:
    drop(connection, ids)


def _evict(connection: Connection, last: Place) -> int:
    mark = tables.marks.c
    unused = tuple_(mark.last_used_s, mark.key) <= tuple_(*last)
    oldest = select(mark.key).where(unused).order_by(mark.last_used_s, mark.key).limit(BATCH)
    keys = connection.execute(oldest.with_for_update(skip_locked=True)).scalars().all()
    connection.execute(delete(tables.marks).where(mark.key.in_(keys)))
    sample_texts.drop(connection, keys)
    mark_access.drop(connection, keys)
    sample_rows.drop(connection, keys)
    return len(keys)


def _prune_verdicts(connection: Connection, before_ms: int) -> int:
    return test_verdicts.drop_older(connection, before_ms, BATCH)


def _prune(connection: Connection, before_ms: int) -> int:
    return sample_texts.drop_older(connection, before_ms, BATCH)
