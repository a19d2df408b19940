"""The ledger's lines of requests, and its sums; the lines of paid calls are written in money.py."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from sqlalchemy import Connection, Table, func, select

from markbook.scoring.store import rollups, tables
from markbook.scoring.store.database import Database
from markbook.scoring.store.rollups import MINUTE_MS, Rollups, build_rollups
from markbook.scoring.store.statements import Row, new_rows, run
from markbook.scoring.store.viewer import Viewer


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One request's counts. The five sources and the unscored sum to `samples`."""

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


_COLUMNS = [each.name for each in fields(RequestLine)]


class Ledger:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, lines: Sequence[RequestLine]) -> None:
        """Count requests, each id once, in one transaction."""
        if lines:
            await self._database.write(lambda connection: count(connection, lines, build_rollups()).write(connection))

    async def sums(
        self, viewer: Viewer, since_ms: int = 0, bucket_ms: int | None = None, run: str | None = None
    ) -> Rollups:
        """By run that the viewer sees, from `since_ms` on, in buckets of whole minutes or over all of time."""
        minute_ms = -(-since_ms // MINUTE_MS) * MINUTE_MS

        def work(connection: Connection) -> Rollups:
            sums = rollups.read(connection, minute_ms, bucket_ms, run)
            for line in _lines(connection, tables.requests, since_ms, minute_ms):
                sums.add_request(line)
            for line in _lines(connection, tables.calls, since_ms, minute_ms):
                sums.add_call(line)
            sums.keep(viewer.may_use)
            return sums

        return await self._database.read(work)

    async def first_ms(self, viewer: Viewer) -> int | None:
        """The start of the first minute or hour with a count that the viewer sees; None while there is none."""
        query = select(tables.sums.c.run, func.min(tables.sums.c.at_ms)).group_by(tables.sums.c.run)

        def work(connection: Connection) -> int | None:
            return min((at_ms for run, at_ms in connection.execute(query) if viewer.may_use(run)), default=None)

        return await self._database.read(work)

    async def opened_ms(self) -> int:
        """When the book was opened for the first time."""
        query = select(func.min(tables.profiles.c.created_ms))
        return await self._database.read(lambda connection: connection.scalar(query) or 0)


def count(connection: Connection, lines: Sequence[RequestLine], sums: Rollups) -> Rollups:
    """Write lines, each id once; returns `sums` with theirs, for the caller to write."""
    rows = []
    for line in sorted(lines, key=lambda line: line.request_id):  # in one order everywhere, against deadlocks
        row = {name: getattr(line, name) for name in _COLUMNS}
        row["unscored"] = json.dumps(dict(line.unscored)) if line.unscored else None
        rows.append(row)
    written = run(connection, new_rows(connection.dialect.name, tables.requests), rows)
    new = {request_id for (request_id,) in written.rows}
    for row in rows:
        if row["request_id"] in new:
            sums.add_request(row)
    return sums


def _lines(connection: Connection, table: Table, since_ms: int, before_ms: int) -> Sequence[Row]:
    """The lines of a minute that is not counted as a whole."""
    if since_ms == before_ms:
        return ()
    query = select(table).where(table.c.at_ms >= since_ms, table.c.at_ms < before_ms)
    return [dict(row) for row in connection.execute(query).mappings()]
