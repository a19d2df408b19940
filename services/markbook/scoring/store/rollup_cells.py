"""Sums of rollups by bucket and run on SQLite, read along the primary key instead of sorted.

For a GROUP BY of a computed start, SQLite sorts all rows, with all columns. Here it steps from one
bucket of a run to the next that has rows, and adds up each as a range of the primary key, which
begins with the run and ends with the time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Column, Connection, Table, TextClause, text


def read_cells(
    connection: Connection,
    table: Table,
    summed: Sequence[Column[int]],
    since_ms: int,
    bucket_ms: int,
    run: str | None,
    source: str | None = None,
) -> list[list[Any]]:
    """Start, run and the totals of the `summed` columns, of rows from `since_ms` on.

    `run`: of this run only. `source`: of this source, in a table whose key begins with it.
    """
    names = tuple(column.name for column in summed)
    query = _query(table.name, names, of_run=run is not None, of_source=source is not None)
    given: dict[str, int | str] = {"since": since_ms, "step": bucket_ms}
    given |= {} if run is None else {"run": run}
    given |= {} if source is None else {"source": source}
    found = connection.execute(query, given)
    return [[start, name, *json.loads(totals)] for start, name, totals in found]


@cache
def _query(table: str, summed: Sequence[str], *, of_run: bool, of_source: bool) -> TextClause:
    """Only names of our own tables and columns are put into the text."""
    rows = f"FROM {table} AS line WHERE {'line.source = :source AND ' if of_source else ''}"
    runs = "SELECT :run"
    if not of_run:
        runs = f"""
            SELECT (SELECT min(line.run) {rows} 1)
            UNION ALL
            SELECT (SELECT min(line.run) {rows} line.run > runs.run) FROM runs WHERE run IS NOT NULL
        """
    start = "(cells.at_ms - cells.at_ms % :step)"
    following = f"line.run = cells.run AND line.at_ms >= {start} + :step"
    within = f"line.run = cells.run AND line.at_ms >= cells.at_ms AND line.at_ms < {start} + :step"
    sums = ", ".join(f"sum(line.{name})" for name in summed)
    return text(f"""
        WITH RECURSIVE runs(run) AS ({runs}),
        cells(run, at_ms) AS (
            SELECT run, (SELECT min(line.at_ms) {rows} line.run = runs.run AND line.at_ms >= :since)
            FROM runs WHERE run IS NOT NULL
            UNION ALL
            SELECT run, (SELECT min(line.at_ms) {rows} {following})
            FROM cells WHERE at_ms IS NOT NULL
        )
        SELECT {start}, run, (SELECT json_array({sums}) {rows} {within})
        FROM cells WHERE at_ms IS NOT NULL
    """)
