"""Ledger lines of requests and their rollups; lines of paid calls are written by budgets.py."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from sqlalchemy import Connection, Table, func, select

from markbook.scoring.store import rollups, tables
from markbook.scoring.store.counted_runs import counted_spans
from markbook.scoring.store.database import Database
from markbook.scoring.store.permissions import Viewer
from markbook.scoring.store.rollups import MINUTE_MS, Rollups, build_rollups
from markbook.scoring.store.statements import Row, new_rows, run


@dataclass(frozen=True, slots=True)
class RequestLine:
    """Counts of one request. The five sources and the unscored ones add up to `samples`.

    `scores`: by source, the values of `score_sums.COLUMNS`.
    """

    request_id: str
    run: str
    at_ms: int
    samples: int
    heuristic: int
    tests: int
    cache: int
    coalesced: int
    teacher: int
    unscored: Mapping[str, int]
    baseline_tokens: int
    scores: Mapping[str, Sequence[int]] = field(default_factory=dict)


_COLUMNS = [each.name for each in fields(RequestLine)]


class Ledger:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, lines: Sequence[RequestLine]) -> None:
        """Write lines in one transaction; each request id counts once."""
        if lines:
            await self._database.write(
                lambda connection: count(connection, lines, build_rollups()).write(connection)
            )

    async def sums(
        self,
        viewer: Viewer,
        since_ms: int = 0,
        bucket_ms: int | None = None,
        run: str | None = None,
        *,
        by_source: bool = True,
    ) -> Rollups:
        """Totals by run that the viewer may see, from `since_ms` on, in buckets of whole minutes or
        over all time.

        `by_source`: with the scores of each source, not only those of all together. `judged` begins
        with the first whole minute.
        """
        minute_ms = -(-since_ms // MINUTE_MS) * MINUTE_MS

        def work(connection: Connection) -> Rollups:
            sums = rollups.read(connection, minute_ms, bucket_ms, run, by_source=by_source)
            for line in _lines(connection, tables.requests, since_ms, minute_ms):
                sums.add_request(line)
            for line in _lines(connection, tables.calls, since_ms, minute_ms):
                sums.add_call(line)
            sums.restrict(viewer.may_use)
            return sums

        return await self._database.read(work)

    async def judged(self, viewer: Viewer, since_ms: int, bucket_ms: int) -> Rollups:
        """Samples judged by both teacher and tests, by run, from `since_ms` on in buckets of
        whole minutes.
        """

        def work(connection: Connection) -> Rollups:
            sums = Rollups(bucket_ms)
            rollups.read_judged(connection, sums, since_ms, bucket_ms, None)
            sums.restrict(viewer.may_use)
            return sums

        return await self._database.read(work)

    async def activity(self, viewer: Viewer, run: str | None = None) -> tuple[int, int] | None:
        """Starts of the first and the last minute (hour) with a count that the viewer may see; None
        without any.

        `run`: of this run only.
        """

        def work(connection: Connection) -> tuple[int, int] | None:
            spans = counted_spans(connection, run)
            seen = [(first, last) for name, first, last in spans if viewer.may_use(name)]
            return (
                (min(first for first, _ in seen), max(last for _, last in seen)) if seen else None
            )

        return await self._database.read(work)

    async def opened_ms(self) -> int:
        """When the store was created."""
        query = select(func.min(tables.profiles.c.created_ms))
        return await self._database.read(lambda connection: connection.scalar(query) or 0)


def count(connection: Connection, lines: Sequence[RequestLine], sums: Rollups) -> Rollups:
    """Write lines, each request id once; adds them to `rollups`, which the caller writes."""
    rows = []
    for line in sorted(
        lines, key=lambda line: line.request_id
    ):  # one order everywhere, against deadlocks
        row = {name: getattr(line, name) for name in _COLUMNS}
        row["unscored"] = json.dumps(dict(line.unscored)) if line.unscored else None
        row["scores"] = (
            json.dumps(dict(line.scores), separators=(",", ":")) if line.scores else None
        )
        rows.append(row)
    written = run(connection, new_rows(connection.dialect.name, tables.requests), rows)
    new = {request_id for (request_id,) in written.rows}
    for row in rows:
        if row["request_id"] in new:
            sums.add_request(row)
    return sums


def _lines(connection: Connection, table: Table, since_ms: int, before_ms: int) -> Sequence[Row]:
    """Lines of a minute that is only partly in range."""
    if since_ms == before_ms:
        return ()
    query = select(table).where(table.c.at_ms >= since_ms, table.c.at_ms < before_ms)
    return [dict(row) for row in connection.execute(query).mappings()]
