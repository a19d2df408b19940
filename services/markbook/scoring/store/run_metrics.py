"""Figures that trainers report about their runs: one value per run, step and name, of which the
newest are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select, tuple_

from markbook.scoring.store import tables
from markbook.scoring.store.database import Database
from markbook.scoring.store.permissions import Viewer
from markbook.scoring.store.statements import insert_into

MAX_PER_RUN = 10_000
"""Values kept of one run; with more, the oldest are deleted."""

Value = tuple[float, float | None, float | None]
"""A figure, and the ends of its interval, or None."""

_metric = tables.run_metrics.c
_AGE = (_metric.at_ms, _metric.step, _metric.name)


@dataclass(frozen=True, slots=True)
class ReportedMetric:
    run: str
    step: int
    name: str
    value: float
    low: float | None
    high: float | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class Span:
    """Times of the first and the last report of a run, in Unix ms."""

    first_ms: int
    last_ms: int


class ReportedMetrics:
    def __init__(self, database: Database, max_per_run: int = MAX_PER_RUN) -> None:
        self._database = database
        self._max_per_run = max_per_run

    async def add(self, run: str, step: int, metrics: Mapping[str, Value], at_ms: int) -> None:
        """Store the metrics of a step, in place of those that were reported before; durable when
        this returns.
        """
        rows = [
            {
                "run": run,
                "step": step,
                "name": name,
                "value": value,
                "low": low,
                "high": high,
                "at_ms": at_ms,
            }
            for name, (value, low, high) in sorted(
                metrics.items()
            )  # one order everywhere, against deadlocks
        ]

        def work(connection: Connection) -> None:
            insert = insert_into(connection.dialect.name, tables.run_metrics).values(rows)
            new = {name: insert.excluded[name] for name in ("value", "low", "high", "at_ms")}
            keys = [*tables.run_metrics.primary_key]
            connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=new))
            self._drop_oldest(connection, run)

        await self._database.write(work)

    async def of_runs(
        self,
        viewer: Viewer,
        runs: Collection[str],
        names: Collection[str] | None = None,
        limit: int = MAX_PER_RUN,
    ) -> list[ReportedMetric]:
        """The newest `limit` values of those of `runs` that the viewer may see, by time, step, name
        and run.

        `names`: only these metrics.
        """
        visible = [run for run in runs if viewer.may_use(run)]
        query = select(tables.run_metrics).where(_metric.run.in_(visible))
        if names is not None:
            query = query.where(_metric.name.in_(list(names)))
        query = query.order_by(*(column.desc() for column in (*_AGE, _metric.run))).limit(limit)
        rows = await self._database.read(
            lambda connection: connection.execute(query).mappings().all()
        )
        return [ReportedMetric(**row) for row in reversed(rows)]

    async def spans(
        self, viewer: Viewer, names: Collection[str], run: str | None = None
    ) -> dict[str, Span]:
        """The runs that have reported any of `names` and that the viewer may see, and when."""
        query = select(_metric.run, func.min(_metric.at_ms), func.max(_metric.at_ms)).group_by(
            _metric.run
        )
        query = query.where(_metric.name.in_(list(names)))
        if run is not None:
            query = query.where(_metric.run == run)
        rows: Sequence[tuple[str, int, int]] = await self._database.read(
            lambda connection: [
                (name, first, last) for name, first, last in connection.execute(query)
            ]
        )
        return {name: Span(first, last) for name, first, last in rows if viewer.may_use(name)}

    def _drop_oldest(self, connection: Connection, run: str) -> None:
        mine = _metric.run == run
        oldest_first = [column.desc() for column in _AGE]
        query = select(*_AGE).where(mine).order_by(*oldest_first).offset(self._max_per_run).limit(1)
        last = connection.execute(query).one_or_none()
        if last is not None:
            connection.execute(
                delete(tables.run_metrics).where(mine, tuple_(*_AGE) <= tuple_(*last))
            )
