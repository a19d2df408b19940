"""What the page asks of the book: its latest marks and who paid for them, searched a bounded way back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Column, Connection, Select, func, select, tuple_

from services.scoring.store import tables
from services.scoring.store.database import Database
from services.scoring.store.marks import Record
from services.scoring.store.records import Records, runs_of

BATCH = 250
MOST_MARKS = 2_000
"""Marks that one search looks at."""
MOST_CHARS = 20_000_000
"""Characters that it looks at, at most one batch more: a book of very long samples is searched in smaller steps."""

Place = tuple[int, bytes]
"""A mark's place in the order of the latest: its time, then its row's key."""
Cursor = tuple[int, bytes]
"""A place as it may be shown to anybody: of the row's key, which names a task and code, only a hash."""


@dataclass(frozen=True, slots=True)
class Paid:
    """A mark, and the runs that paid for calls of its group, as far as their lines are kept, or were given it."""

    record: Record
    runs: frozenset[str]


@dataclass(frozen=True, slots=True)
class Found:
    """`searched` marks were looked at, the last of them at `last`; None: the book ends there."""

    marks: list[Paid]
    searched: int
    last: Cursor | None


class Page:
    """`keep_texts`: the latest are those of the latest texts; otherwise those written or used last."""

    def __init__(self, database: Database, records: Records, *, keep_texts: bool) -> None:
        self._database = database
        self._records = records
        self._keep_texts = keep_texts

    async def first_ms(self) -> int | None:
        """The start of the first minute or hour with a count; None while there is none."""
        query = select(func.min(tables.sums.c.at_ms))
        return await self._database.read(lambda connection: connection.scalar(query))

    async def latest(
        self,
        want: int,
        paid_by: Callable[[frozenset[str]], bool],
        matching: Callable[[Record], bool],
        before: Cursor | None = None,
    ) -> Found:
        """The next `want` marks in front of `before` whose runs and records will do, newest first."""

        def work(connection: Connection) -> Found:
            self._records.know(connection)
            found, searched, chars = [], 0, 0
            place = None if before is None else self._place(connection, before)
            while searched < MOST_MARKS and chars < MOST_CHARS:
                rows = connection.execute(_latest(self._keep_texts, place).limit(BATCH)).all()
                runs = runs_of(connection, rows)
                for row in rows:
                    searched, place = searched + 1, (row.at, bytes(row.key))
                    if not paid_by(runs[bytes(row.key)]):
                        continue
                    record = self._records.record(row)
                    chars += len(record.mark.texts.task) + len(record.mark.texts.code) if record.mark.texts else 0
                    if matching(record):
                        found.append(Paid(record, runs[bytes(row.key)]))
                        if len(found) == want:
                            return Found(found, searched, _cursor(place))
                if len(rows) < BATCH:
                    return Found(found, searched, None)
            return Found(found, searched, _cursor(place))

        return await self._database.read(work)

    def _place(self, connection: Connection, cursor: Cursor) -> Place:
        """The place that the cursor was made of; where its mark is gone, that before all of the same time."""
        at, key = _order(self._keep_texts)
        at_ms = cursor[0] if self._keep_texts else min(cursor[0], _LAST_S)
        for each in connection.execute(select(key).where(at == at_ms)).scalars():
            if _cursor((at_ms, bytes(each))) == (at_ms, cursor[1]):
                return at_ms, bytes(each)
        return at_ms, b""

    async def mark(self, key: bytes, may_see: Callable[[frozenset[str]], bool]) -> Paid | None:
        """The mark with this row key, if its runs may be seen."""

        def work(connection: Connection) -> Paid | None:
            self._records.know(connection)
            row = connection.execute(_joined(keep_texts=False).where(tables.marks.c.key == key)).one_or_none()
            if row is None:
                return None
            runs = runs_of(connection, [row])[bytes(row.key)]
            return Paid(self._records.record(row), runs) if may_see(runs) else None

        return await self._database.read(work)


_LAST_S = 2**31 - 1
"""The most that `marks.used_s` holds: a later second in a link is no number to Postgres."""


def _latest(keep_texts: bool, before: Place | None) -> Select[Any]:
    at, key = _order(keep_texts)
    query = _joined(keep_texts).order_by(at.desc(), key.desc())
    # the first condition says nothing new, but an index on the time alone can use it
    if before is None:
        return query
    before = (before[0] if keep_texts else min(before[0], _LAST_S), before[1])
    return query.where(at <= before[0], tuple_(at, key) < before)


def _order(keep_texts: bool) -> tuple[Column[int], Column[bytes]]:
    """Both have an index, so that the latest are found without a look at the others."""
    text, mark = tables.texts.c, tables.marks.c
    return (text.created_ms, text.key) if keep_texts else (mark.used_s, mark.key)


@cache
def _joined(keep_texts: bool) -> Select[Any]:
    """Marks with their texts: all of them, or only those that have some."""
    text, mark, task = tables.texts.c, tables.marks.c, tables.tasks.c
    if keep_texts:
        joined = tables.texts.join(tables.marks, mark.key == text.key).join(tables.tasks, task.hash == text.task)
    else:
        joined = tables.marks.outerjoin(tables.texts, text.key == mark.key)
        joined = joined.outerjoin(tables.tasks, task.hash == text.task)
    at, _ = _order(keep_texts)
    return select(tables.marks, text.code, text.tests_digest, task.task, at.label("at")).select_from(joined)


def _cursor(place: Place | None) -> Cursor | None:
    return None if place is None else (place[0], hashlib.sha256(place[1]).digest()[:8])
