"""The list of marked samples, rejected ones too: filtered, sorted, grouped by task, and what is
beside one of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, func, select, tuple_

from markbook.contract import SampleTests
from markbook.scoring.store import sample_filter, sample_rows, tables
from markbook.scoring.store.database import Database
from markbook.scoring.store.mark_access import runs_by_mark
from markbook.scoring.store.permissions import Viewer
from markbook.scoring.store.retention import RetentionPolicy
from markbook.scoring.store.sample_filter import Order, SampleCursor, SampleFilter
from markbook.scoring.store.sample_rows import NewSample
from markbook.scoring.store.sample_tables import DECIDED_BY_A_TIER, TEACHER, samples
from markbook.scoring.store.sample_texts import Texts, unpack

PER_TASK = 4
"""Samples shown of a task in a list of tasks."""

_sample = samples.c
_task = tables.tasks.c
_text = tables.texts.c


@dataclass(frozen=True, slots=True)
class ListedSample:
    """`runs`: those of the viewer's that it was marked for.

    `first_line`: of its code; None where it is not stored.
    """

    key: bytes
    source: str
    score: float | None
    language: str
    reasons: Sequence[str]
    task: bytes
    runs: frozenset[str]
    at_ms: int
    first_line: str | None

    def cursor(self, order: Order) -> SampleCursor:
        return SampleCursor(self.at_ms if order is Order.LATEST else self.score or 0.0, self.key)


@dataclass(frozen=True, slots=True)
class ListedTask:
    """A task with its first samples in the order asked for.

    `text`: its first line; None where texts are not stored.

    `mean`: of the samples that have a score. `value`: what the list of tasks is sorted by.
    """

    task: bytes
    text: str | None
    count: int
    mean: float | None
    value: float
    samples: Sequence[ListedSample]


@dataclass(frozen=True, slots=True)
class Facet:
    """How many samples have these three in common."""

    source: str
    language: str
    reason: str | None
    count: int


@dataclass(frozen=True, slots=True)
class NewestSamples:
    """`marked`: the newest that the teacher has marked, or None.

    `rejected`: the newest that a tier has rejected.
    """

    marked: ListedSample | None
    rejected: ListedSample | None


class Samples:
    """`lists_decided`: whether samples that a tier has decided are listed as well."""

    def __init__(self, database: Database, retention: RetentionPolicy) -> None:
        self._database = database
        self._store_samples = retention.store_samples
        self.lists_decided = retention.keep_rejects != 0

    async def add_decided(self, new: Sequence[tuple[NewSample, Texts]], *, note_runs: bool) -> None:
        """List samples that a tier has decided; durable when this returns."""
        add = partial(
            sample_rows.add_decided, new=new, store_samples=self._store_samples, note_runs=note_runs
        )
        await self._database.write(add)

    async def latest(
        self, viewer: Viewer, wanted: SampleFilter, want: int, after: SampleCursor | None = None
    ) -> list[ListedSample]:
        """The next `want` samples after the cursor."""

        def work(connection: Connection) -> list[ListedSample]:
            query = select(samples).where(*sample_filter.conditions(connection, viewer, wanted))
            if after is not None:
                query = query.where(sample_filter.behind(wanted.order, after))
            rows = connection.execute(
                query.order_by(*sample_filter.order_by(wanted.order)).limit(want)
            ).all()
            return _listed(connection, viewer, rows)

        return await self._database.read(work)

    async def newest(self, viewer: Viewer, run: str | None = None) -> NewestSamples:
        """Those that the viewer may see; `run`: of this run only."""

        def work(connection: Connection) -> NewestSamples:
            where = [] if viewer.sees_all_runs else sample_filter.scope(connection, viewer)
            if run is not None:
                where.append(sample_filter.of_run(run))
            query = (
                select(samples)
                .where(*where)
                .order_by(*sample_filter.order_by(Order.LATEST))
                .limit(1)
            )
            marked = query.where(_sample.source == TEACHER, _sample.score.is_not(None))
            rejected = query.where(DECIDED_BY_A_TIER, _sample.reason.is_not(None))
            found = [
                next(iter(_listed(connection, viewer, connection.execute(each).all())), None)
                for each in (marked, rejected)
            ]
            return NewestSamples(*found)

        return await self._database.read(work)

    async def tasks(
        self, viewer: Viewer, wanted: SampleFilter, want: int, after: SampleCursor | None = None
    ) -> list[ListedTask]:
        """The next `want` tasks, by their newest, lowest or highest sample, each with its first
        PER_TASK samples.
        """

        def work(connection: Connection) -> list[ListedTask]:
            where = sample_filter.conditions(connection, viewer, wanted)
            groups = connection.execute(_task_query(wanted.order, where, after).limit(want)).all()
            tasks = [bytes(row.task) for row in groups]
            rank = func.row_number().over(
                partition_by=_sample.task, order_by=sample_filter.order_by(wanted.order)
            )
            ranked = (
                select(samples, rank.label("rank"))
                .where(_sample.task.in_(tasks), *where)
                .subquery()
            )
            rows = connection.execute(
                select(ranked).where(ranked.c.rank <= PER_TASK).order_by(ranked.c.rank)
            ).all()
            listed = _listed(connection, viewer, rows)
            texts = _task_texts(connection, [each.key for each in listed])
            found: list[ListedTask] = []
            for row in groups:
                mine = [each for each in listed if each.task == bytes(row.task)]
                text = next((texts[each.key] for each in mine if each.key in texts), None)
                title = None if text is None else sample_rows.first_line(text)
                found.append(
                    ListedTask(bytes(row.task), title, row.number, row.mean, row.value, mine)
                )
            return found

        return await self._database.read(work)

    async def facets(self, viewer: Viewer, run: str | None) -> list[Facet]:
        """What the viewer can filter by, with numbers of samples, among those of `run` where one
        is named.
        """
        columns = (_sample.source, _sample.language, _sample.reason)

        def work(connection: Connection) -> list[Facet]:
            where = sample_filter.conditions(connection, viewer, SampleFilter(run=run))
            query = select(*columns, func.count().label("count")).where(*where).group_by(*columns)
            return [Facet(**row) for row in connection.execute(query).mappings()]

        return await self._database.read(work)

    async def neighbours(
        self, viewer: Viewer, wanted: SampleFilter, shown: SampleCursor
    ) -> tuple[bytes | None, bytes | None]:
        """The keys of the samples before and after the one at `shown`, in the list of `wanted`."""

        def work(connection: Connection) -> tuple[bytes | None, bytes | None]:
            where = sample_filter.conditions(connection, viewer, wanted)
            found: list[bytes | None] = []
            for reverse in (True, False):
                query = select(_sample.key).where(
                    *where, sample_filter.behind(wanted.order, shown, reverse=reverse)
                )
                ordered = query.order_by(
                    *sample_filter.order_by(wanted.order, reverse=reverse)
                ).limit(1)
                key = connection.scalar(ordered)
                found.append(None if key is None else bytes(key))
            return found[0], found[1]

        return await self._database.read(work)

    async def beside(
        self, viewer: Viewer, key: bytes, task: bytes, group: bytes | None, want: int
    ) -> tuple[list[ListedSample], list[ListedSample]]:
        """Other samples of the same task: those that the teacher was given together with this one,
        best first, and as many of the latest others as there is room for.
        """

        def work(connection: Connection) -> tuple[list[ListedSample], list[ListedSample]]:
            where = [_sample.key != key]
            if not viewer.sees_all_runs:
                where += sample_filter.scope(connection, viewer)
            together: Sequence[Row[Any]] = []
            if group is not None:
                mine = select(samples).where(_sample.group_id == group, *where)
                together = connection.execute(
                    mine.order_by(_sample.score.desc(), _sample.key).limit(want)
                ).all()
            known = [row.key for row in together]
            others = select(samples).where(_sample.task == task, _sample.key.not_in(known), *where)
            others = others.order_by(_sample.created_ms.desc()).limit(want - len(known))
            return _listed(connection, viewer, together), _listed(
                connection, viewer, connection.execute(others).all()
            )

        return await self._database.read(work)


def parse_tests(stored: str | None) -> SampleTests | None:
    return None if stored is None else SampleTests.model_validate_json(stored)


def parse_codes(stored: str | None) -> tuple[str, ...]:
    return () if stored is None else tuple(json.loads(stored))


def _task_query(order: Order, where: Sequence[Any], after: SampleCursor | None) -> Any:
    value = {
        Order.LATEST: func.max(_sample.created_ms),
        Order.LOWEST: func.min(_sample.score),
        Order.HIGHEST: func.max(_sample.score),
    }[order]
    query = select(
        _sample.task,
        func.count().label("number"),
        func.avg(_sample.score).label("mean"),
        value.label("value"),
    )
    query = query.where(*where).group_by(_sample.task)
    if after is not None:
        place, last = tuple_(value, _sample.task), (after.value, after.key)
        query = query.having(place < last if sample_filter.is_descending(order) else place > last)
    if sample_filter.is_descending(order):
        return query.order_by(value.desc(), _sample.task.desc())
    return query.order_by(value, _sample.task)


def _listed(connection: Connection, viewer: Viewer, rows: Sequence[Row[Any]]) -> list[ListedSample]:
    return list_rows(viewer, rows, runs_by_mark(connection, rows))


def list_rows(
    viewer: Viewer, rows: Sequence[Row[Any]], runs: Mapping[bytes, frozenset[str]]
) -> list[ListedSample]:
    """Those of `rows` that the viewer may see, checked beside any condition of their query.

    `runs`: by row key.
    """
    return [
        ListedSample(
            bytes(row.key),
            row.source,
            row.score,
            row.language,
            parse_codes(row.reasons),
            bytes(row.task),
            frozenset(filter(viewer.may_use, runs[bytes(row.key)])),
            row.created_ms,
            row.first_line,
        )
        for row in rows
        if viewer.sees_mark(runs[bytes(row.key)])
    ]


def _task_texts(connection: Connection, keys: Sequence[bytes]) -> Mapping[bytes, str]:
    """The tasks' texts, by sample."""
    joined = tables.texts.join(tables.tasks, _task.hash == _text.task)
    query = select(_text.key, _task.task).select_from(joined).where(_text.key.in_(keys))
    return {bytes(key): unpack(task) for key, task in connection.execute(query)}
