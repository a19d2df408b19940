"""Two runs beside each other, task by task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Subquery, func, select

from markbook.scoring.store import sample_filter, tables
from markbook.scoring.store.counted_runs import counted_runs
from markbook.scoring.store.database import Database
from markbook.scoring.store.permissions import Viewer
from markbook.scoring.store.sample_filter import SampleFilter
from markbook.scoring.store.sample_rows import first_line
from markbook.scoring.store.sample_tables import samples
from markbook.scoring.store.sample_texts import unpack

_sample = samples.c
_text = tables.texts.c
_task = tables.tasks.c


@dataclass(frozen=True, slots=True)
class ComparedTask:
    """A task that both runs have samples of: how many, and their mean score.

    `text`: its first line, where stored.
    """

    task: bytes
    text: str | None
    counts: tuple[int, int]
    means: tuple[float, float]


@dataclass(frozen=True, slots=True)
class ComparedTasks:
    """`tasks`: those whose means differ most; `common`: how many both runs have samples of."""

    tasks: Sequence[ComparedTask]
    common: int


class RunComparison:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def runs(self, viewer: Viewer) -> list[str]:
        """All runs that have asked for marks and that the viewer may see."""
        names = await self._database.read(lambda connection: counted_runs(connection))
        return sorted(filter(viewer.may_use, names))

    async def tasks(self, viewer: Viewer, run: str, other: str, want: int) -> ComparedTasks:
        """The `want` tasks whose mean scores differ most, by the samples in the list of samples."""

        def work(connection: Connection) -> ComparedTasks:
            one, two = (_by_task(connection, viewer, name) for name in (run, other))
            gap = func.abs(one.c.mean - two.c.mean)
            query = select(one, two.c.number.label("other_number"), two.c.mean.label("other_mean"))
            query = query.add_columns(func.count().over().label("common"))
            query = (
                query.join(two, two.c.task == one.c.task)
                .order_by(gap.desc(), one.c.task)
                .limit(want)
            )
            rows = connection.execute(query).all()
            texts = _texts(connection, [row.task for row in rows])
            tasks = [
                ComparedTask(
                    bytes(row.task),
                    texts.get(bytes(row.task)),
                    (row.number, row.other_number),
                    (row.mean, row.other_mean),
                )
                for row in rows
            ]
            return ComparedTasks(tasks, rows[0].common if rows else 0)

        return await self._database.read(work)


def _by_task(connection: Connection, viewer: Viewer, run: str) -> Subquery:
    where = sample_filter.conditions(connection, viewer, SampleFilter(run=run))
    query = select(
        _sample.task, func.count().label("number"), func.avg(_sample.score).label("mean")
    )
    return query.where(*where, _sample.score.is_not(None)).group_by(_sample.task).subquery()


def _texts(connection: Connection, tasks: Sequence[bytes]) -> dict[bytes, str]:
    """First lines by task."""
    joined = samples.join(tables.texts, _text.key == _sample.key)
    pairs = (
        select(_sample.task, _text.task)
        .select_from(joined)
        .where(_sample.task.in_(tasks))
        .distinct()
    )
    hashes = {bytes(digest): bytes(short) for short, digest in connection.execute(pairs)}
    query = select(_task.hash, _task.task).where(_task.hash.in_(list(hashes)))
    return {
        hashes[bytes(digest)]: first_line(unpack(task))
        for digest, task in connection.execute(query)
    }
