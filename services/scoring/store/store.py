"""Every statement the service runs. Synchronous SQLAlchemy in a small pool of threads: one code path, two databases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, Table, func, select, text
from sqlalchemy.dialects import postgresql, sqlite

from services.scoring.fingerprint import Fingerprint
from services.scoring.store import tables
from services.scoring.store.engine import POOL_SIZE, migrate, open_engine, reading, writing
from services.scoring.teachers.base import Call

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredMark:
    criteria: dict[str, float]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewMark:
    """A teacher's mark, with the call it was judged in beside it."""

    fingerprint: Fingerprint
    criteria: Mapping[str, float]
    reasons: Sequence[str]
    position: int


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


LedgerRow = Mapping[str, Any]


class Store:
    """Marks and ledger in one database. Every method may raise StoreUnavailable."""

    def __init__(self, database_url: str) -> None:
        self.engine = open_engine(database_url)
        self.where = self.engine.url.render_as_string(hide_password=True)
        self._threads = ThreadPoolExecutor(POOL_SIZE, thread_name_prefix="store")

    def open(self, profile: str, identity: Mapping[str, object], now_ms: int) -> None:
        """Migrate, and write down what `profile` stands for. Blocks: called once, before the service listens."""
        migrate(self.engine)
        row = {"profile": bytes.fromhex(profile), "identity": json.dumps(identity), "created_ms": now_ms}
        with writing(self.engine) as connection:
            _insert_new(connection, tables.profiles, [row])

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        self.engine.dispose()

    async def ping(self) -> None:
        def work() -> None:
            with reading(self.engine) as connection:
                connection.execute(text("SELECT 1"))

        await self._in_thread(work)

    async def get(self, fingerprints: Sequence[Fingerprint]) -> dict[bytes, StoredMark]:
        """The marks in the book, by digest, in one statement. A row whose digest differs is a collision: a miss."""
        if not fingerprints:
            return {}
        wanted = {fingerprint.row: fingerprint.digest for fingerprint in fingerprints}
        query = select(tables.marks.c.key, tables.marks.c.digest, tables.marks.c.criteria, tables.marks.c.reasons)
        query = query.where(tables.marks.c.key.in_(wanted))

        def work() -> dict[bytes, StoredMark]:
            with reading(self.engine) as connection:
                rows = connection.execute(query).all()
            return {
                row.digest: StoredMark(json.loads(row.criteria), tuple(json.loads(row.reasons or "[]")))
                for row in rows
                if wanted[row.key] == row.digest
            }

        return await self._in_thread(work)

    async def record_group(
        self, run: str, at_ms: int, group_id: str, size: int, marks: Sequence[NewMark], calls: Sequence[Call]
    ) -> None:
        """Marks of one group and what they cost, in one transaction. The first mark written for a key stays."""
        group = bytes.fromhex(group_id)
        mark_rows = [
            {
                "key": mark.fingerprint.row,
                "digest": mark.fingerprint.digest,
                "criteria": json.dumps(dict(mark.criteria), separators=(",", ":")),
                "reasons": json.dumps(list(mark.reasons)) if mark.reasons else None,
                "created_ms": at_ms,
                "group_id": group,
                "group_position": mark.position,
                "group_size": size,
            }
            for mark in marks
        ]
        call_rows = [
            {"run": run, "at_ms": at_ms, "group_id": group, "samples": size, **_call_columns(call)} for call in calls
        ]

        def work() -> None:
            with writing(self.engine) as connection:
                if call_rows:
                    connection.execute(tables.calls.insert(), call_rows)
                _insert_new(connection, tables.marks, mark_rows)

        if mark_rows or call_rows:
            await self._in_thread(work)

    async def record_requests(self, lines: Sequence[RequestLine]) -> None:
        """Count requests, each id once, in one transaction."""
        rows = [
            {**asdict(line), "unscored": json.dumps(dict(line.unscored)) if line.unscored else None} for line in lines
        ]

        def work() -> None:
            with writing(self.engine) as connection:
                _insert_new(connection, tables.requests, rows)

        await self._in_thread(work)

    async def ledger(self) -> tuple[list[LedgerRow], list[LedgerRow], list[LedgerRow]]:
        """By run: the sums of requests, the unscored JSON of requests that have one, and the sums of calls."""
        return await self._in_thread(self._ledger)

    def _ledger(self) -> tuple[list[LedgerRow], list[LedgerRow], list[LedgerRow]]:
        requests, calls = tables.requests.c, tables.calls.c
        sums = (requests.samples, requests.heuristic, requests.cache, requests.coalesced, requests.teacher)
        asked = select(
            requests.run,
            func.min(requests.at_ms).label("since_ms"),
            *(func.sum(column).label(column.name) for column in (*sums, requests.plain_tokens)),
        ).group_by(requests.run)
        failed = select(requests.run, requests.unscored).where(requests.unscored.is_not(None))
        tokens = (
            calls.input_tokens,
            calls.output_tokens,
            calls.cache_read_input_tokens,
            calls.cache_creation_input_tokens,
            calls.billed_input_equivalent,
            calls.cost_nusd,
        )
        paid = select(
            calls.run,
            calls.usage_unknown,
            func.min(calls.at_ms).label("since_ms"),
            func.count().label("calls"),
            func.count(calls.cost_nusd).label("priced_calls"),
            *(func.sum(column).label(column.name) for column in tokens),
        ).group_by(calls.run, calls.usage_unknown)
        with reading(self.engine) as connection:
            return _rows(connection, asked), _rows(connection, failed), _rows(connection, paid)

    async def size(self) -> tuple[int, int]:
        """Marks in the book, and the bytes that the database takes."""

        def work() -> tuple[int, int]:
            with reading(self.engine) as connection:
                entries = connection.scalar(select(func.count()).select_from(tables.marks)) or 0
                if connection.dialect.name == "postgresql":
                    size = connection.scalar(text("SELECT pg_total_relation_size('marks')"))
                else:
                    size = connection.scalar(
                        text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
                    )
            return entries, int(size or 0)

        return await self._in_thread(work)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _rows(connection: Connection, query: Select[Any]) -> list[LedgerRow]:
    return [dict(row) for row in connection.execute(query).mappings()]


def _insert_new(connection: Connection, table: Table, rows: Sequence[LedgerRow]) -> None:
    """Insert what is not there yet: the first write wins."""
    if rows:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        connection.execute(dialect.insert(table).on_conflict_do_nothing(), list(rows))


def _call_columns(call: Call) -> dict[str, Any]:
    columns = asdict(call)
    cost = columns.pop("cost_usd")
    return {**columns, "cost_nusd": None if cost is None else round(cost * 1e9)}
