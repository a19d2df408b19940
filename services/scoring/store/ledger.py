"""The ledger's sums by run, and its lines of requests; the lines of paid calls are written in money.py."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select

from services.scoring.store import tables
from services.scoring.store.database import Database, Row, insert_new


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One request's counts. The four sources and the unscored sum to `samples`."""

    request_id: str
    run: str
    at_ms: int
    samples: int
    heuristic: int
    cache: int
    coalesced: int
    teacher: int
    unscored: Mapping[str, int]
    plain_tokens: int


@dataclass(frozen=True, slots=True)
class Sums:
    """By run: sums of requests, the unscored JSON of each request that has some, and sums of calls."""

    asked: Sequence[Row]
    failed: Sequence[Row]
    paid: Sequence[Row]


class Ledger:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, lines: Sequence[RequestLine]) -> None:
        """Count requests, each id once, in one transaction."""
        rows = [
            {**asdict(line), "unscored": json.dumps(dict(line.unscored)) if line.unscored else None} for line in lines
        ]
        await self._database.write(lambda connection: insert_new(connection, tables.requests, rows))

    async def sums(self) -> Sums:
        return await self._database.read(
            lambda connection: Sums(
                _rows(connection, _asked()), _rows(connection, _failed()), _rows(connection, _paid())
            )
        )


def _asked() -> Select[Any]:
    line = tables.requests.c
    summed = (line.samples, line.heuristic, line.cache, line.coalesced, line.teacher, line.plain_tokens)
    sums = [func.sum(column).label(column.name) for column in summed]
    return select(line.run, func.min(line.at_ms).label("since_ms"), *sums).group_by(line.run)


def _failed() -> Select[Any]:
    line = tables.requests.c
    return select(line.run, line.unscored).where(line.unscored.is_not(None))


def _paid() -> Select[Any]:
    line = tables.calls.c
    summed = (
        line.input_tokens,
        line.output_tokens,
        line.cache_read_input_tokens,
        line.cache_creation_input_tokens,
        line.billed_input_equivalent,
        line.cost_nusd,
    )
    return select(
        line.run,
        line.usage_unknown,
        func.min(line.at_ms).label("since_ms"),
        func.count().label("calls"),
        func.count(line.cost_nusd).label("priced_calls"),
        *(func.sum(column).label(column.name) for column in summed),
    ).group_by(line.run, line.usage_unknown)


def _rows(connection: Connection, query: Select[Any]) -> list[Row]:
    return [dict(row) for row in connection.execute(query).mappings()]
