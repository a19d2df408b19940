"""The runs that have rollups, and from when to when: a step through the index per run, not a
look at each row.
"""

from __future__ import annotations

from sqlalchemy import CTE, Connection, func, select

from markbook.scoring.store import tables

_rollup = tables.sums.c


def counted_runs(connection: Connection) -> list[str]:
    """All runs that have asked for marks, in the order of their names."""
    runs = _runs()
    return [run for run in connection.execute(select(runs.c.run)).scalars() if run is not None]


def counted_spans(connection: Connection, run: str | None = None) -> list[tuple[str, int, int]]:
    """Each run (or `run` alone) with the starts of its first and last minute or hour, in Unix
    ms.
    """
    runs = (
        _runs()
        if run is None
        else select(_rollup.run).where(_rollup.run == run).limit(1).cte("counted")
    )
    # one subquery for each end: of two ends in one query, all rows of the run would be read
    ends = [
        select(end(_rollup.at_ms)).where(_rollup.run == runs.c.run).scalar_subquery()
        for end in (func.min, func.max)
    ]
    query = select(runs.c.run, *ends).where(runs.c.run.is_not(None))
    return [(name, first, last) for name, first, last in connection.execute(query)]


def _runs() -> CTE:
    """The last one is NULL."""
    first = select(func.min(_rollup.run).label("run")).cte("counted", recursive=True)
    following = select(func.min(_rollup.run)).where(_rollup.run > first.c.run).scalar_subquery()
    return first.union_all(select(following).where(first.c.run.is_not(None)))
