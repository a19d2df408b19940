"""The latest marks and the runs that paid for them, searched back to a bound, for the dashboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Column, Connection, Row, Select, func, select, tuple_

from markbook.scoring.store import tables
from markbook.scoring.store.database import Database
from markbook.scoring.store.mark_access import runs_by_mark
from markbook.scoring.store.marks import Record
from markbook.scoring.store.permissions import Viewer
from markbook.scoring.store.records import Records

BATCH = 250
MAX_MARKS = 2_000
"""Marks that one search looks at."""
MAX_CHARS_PER_BATCH = 20_000_000
"""Characters searched per request (at most one batch more), so that very long samples do not
slow it down.
"""

Place = tuple[int, bytes]
"""A mark's place in the order of the latest: its time, then its row's key."""
Cursor = tuple[int, int]
"""A place as it may be shown to anybody: its time, and its number among the marks of that time,
from 1. The row's key names a task and code, and a hash of it would let a guess of both be
confirmed.
"""


@dataclass(frozen=True, slots=True)
class Paid:
    """A mark, and those runs of the viewer's that paid for it or were given it."""

    record: Record
    runs: frozenset[str]


@dataclass(frozen=True, slots=True)
class Found:
    """`searched` of the viewer's marks were looked at.

    `last`: where that ended; None: nothing comes before it.
    """

    marks: list[Paid]
    searched: int
    last: Cursor | None


class _Scan:
    """Goes through rows, newest first, until `want` marks match or enough was read."""

    def __init__(
        self,
        records: Records,
        viewer: Viewer,
        want: int,
        matching: Callable[[Record], bool],
        run: str | None,
    ) -> None:
        self._records, self._viewer, self._want, self._matching, self._run = (
            records,
            viewer,
            want,
            matching,
            run,
        )
        self.found: list[Paid] = []
        self.searched = 0
        self._rows = self._chars = 0

    def is_full(self) -> bool:
        return len(self.found) == self._want

    def has_room(self) -> bool:
        return not self.is_full() and self._rows < MAX_MARKS and self._chars < MAX_CHARS_PER_BATCH

    def add(self, rows: Sequence[Row[Any]], runs: Mapping[bytes, frozenset[str]]) -> Place | None:
        """Examines `rows`; returns the place of the last one examined.

        `runs`: those of each mark, by row key.
        """
        place = None
        for row in rows:
            if self.is_full():
                break
            self._rows, place = self._rows + 1, (row.at, bytes(row.key))
            self._examine(row, runs[place[1]])
        return place

    def _examine(self, row: Row[Any], runs: frozenset[str]) -> None:
        if not self._viewer.sees_mark(runs):
            return
        self.searched += 1
        if self._run is not None and self._run not in runs:
            return
        record = self._records.record(row)
        self._chars += (
            len(record.mark.texts.task) + len(record.mark.texts.code) if record.mark.texts else 0
        )
        if self._matching(record):
            self.found.append(_paid(record, runs, self._viewer))


class Page:
    """`store_samples`: the latest are those of the latest texts; otherwise those written or used
    last.
    """

    def __init__(self, database: Database, records: Records, *, store_samples: bool) -> None:
        self._database = database
        self._records = records
        self._keep_texts = store_samples

    async def latest(
        self,
        viewer: Viewer,
        want: int,
        matching: Callable[[Record], bool],
        before: Cursor | None = None,
        run: str | None = None,
    ) -> Found:
        """The next `want` marks in front of `before` that the viewer sees and that match, newest
        first; those of `run` where one is named.
        """

        def work(connection: Connection) -> Found:
            self._records.load_profiles(connection)
            scan = _Scan(self._records, viewer, want, matching, run)
            place = None if before is None else self._place(connection, before)
            while scan.has_room():
                rows = connection.execute(_latest(self._keep_texts, place).limit(BATCH)).all()
                place = scan.add(rows, runs_by_mark(connection, rows)) or place
                if len(rows) < BATCH and not scan.is_full():
                    return Found(scan.found, scan.searched, None)
            return Found(
                scan.found,
                scan.searched,
                None if place is None else self._cursor(connection, place),
            )

        return await self._database.read(work)

    def _place(self, connection: Connection, cursor: Cursor) -> Place:
        """The place that the cursor was made of; where its mark is gone, that before all of the
        same time.
        """
        at, key = _order(self._keep_texts)
        at_ms = cursor[0] if self._keep_texts else min(cursor[0], _LAST_S)
        of_this_time = (
            select(key).where(at == at_ms).order_by(key.desc()).offset(cursor[1] - 1).limit(1)
        )
        return at_ms, bytes(connection.scalar(of_this_time) or b"")

    def _cursor(self, connection: Connection, place: Place) -> Cursor:
        at, key = _order(self._keep_texts)
        number = select(func.count()).where(at == place[0], key >= place[1])
        return place[0], connection.scalar(number) or 1


_LAST_S = 2**31 - 1
"""The most that `marks.last_used_s` holds: a later second in a link is no number to Postgres."""


def _latest(store_samples: bool, before: Place | None) -> Select[Any]:
    at, key = _order(store_samples)
    query = _joined(store_samples).order_by(at.desc(), key.desc())
    # the first condition is redundant, but lets an index on the time alone be used
    if before is None:
        return query
    before = (before[0] if store_samples else min(before[0], _LAST_S), before[1])
    return query.where(at <= before[0], tuple_(at, key) < before)


def _order(store_samples: bool) -> tuple[Column[int], Column[bytes]]:
    """Both have an index, so that the latest are found without a look at the others."""
    text, mark = tables.texts.c, tables.marks.c
    return (text.created_ms, text.key) if store_samples else (mark.last_used_s, mark.key)


@cache
def _joined(store_samples: bool) -> Select[Any]:
    """Marks with their texts: all of them, or only those that have some."""
    text, mark, task = tables.texts.c, tables.marks.c, tables.tasks.c
    if store_samples:
        joined = tables.texts.join(tables.marks, mark.key == text.key).join(
            tables.tasks, task.hash == text.task
        )
    else:
        joined = tables.marks.outerjoin(tables.texts, text.key == mark.key)
        joined = joined.outerjoin(tables.tasks, task.hash == text.task)
    at, _ = _order(store_samples)
    return select(
        tables.marks, text.code, text.tests_digest, task.task, at.label("at")
    ).select_from(joined)


def _paid(record: Record, runs: frozenset[str], viewer: Viewer) -> Paid:
    return Paid(record, frozenset(filter(viewer.may_use, runs)))
