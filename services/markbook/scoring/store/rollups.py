"""Rollups: the ledger's totals by run and minute, written in the transaction of every line.

So statistics never scan lines, and no count is lost when old lines are deleted or minutes are
compacted to hours. All numbers are integers, so that totals do not depend on the order of addition.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Table,
    cast,
    delete,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.sql.dml import ReturningInsert

from markbook.contract import Source
from markbook.scoring.store import score_sums, tables
from markbook.scoring.store.agreement_counts import JudgedKind
from markbook.scoring.store.rollup_cells import read_cells
from markbook.scoring.store.statements import Row, insert_into, run

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
MINUTE_RETENTION_MS = 24 * HOUR_MS
"""Minutes younger than this are kept: a week of them would be too many to add up per request."""
_LOCK = 0x526F6C6C  # an arbitrary constant: one replica at a time
_TOKENS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)
_SUMMED = [column for column in tables.sums.columns if not column.primary_key]
_NAMES = [column.name for column in _SUMMED]
_FAILED = [tables.failure_sums.c.samples]
_SCORED = [tables.score_rollups.c[name] for name in score_sums.COLUMNS]
_JUDGED = [tables.agreement_rollups.c.samples]
_SOURCES = tuple(source.value for source in Source)
_TABLES = (tables.sums, tables.failure_sums, tables.score_rollups, tables.agreement_rollups)


@dataclass(slots=True)
class CounterTotals:
    """Totals over lines of one run: `counts` by column of ledger_rollups, `failures` by error code,
    `scores` by source (score_sums.ALL: all together) and column of score_rollups, `judged`: samples
    by both verdicts.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    scores: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    judged: Counter[JudgedKind] = field(default_factory=Counter)

    def add(self, other: CounterTotals) -> None:
        self.counts.update(other.counts)
        self.failures.update(other.failures)
        self.judged.update(other.judged)
        for source, sums in other.scores.items():
            self.scores[source].update(sums)


class Rollups:
    """Totals by (start, run): `start` in Unix ms is a multiple of `bucket_ms`, or 0 for all
    time.
    """

    def __init__(self, bucket_ms: int | None) -> None:
        self._bucket_ms = bucket_ms
        self.tallies: defaultdict[tuple[int, str], CounterTotals] = defaultdict(CounterTotals)

    def add_request(self, line: Row) -> None:
        """Add a row of ledger_requests."""
        tally = self._tally(line)
        failures = Counter[str](json.loads(line["unscored"] or "{}"))
        columns = (
            "samples",
            "heuristic",
            "tests",
            "cache",
            "coalesced",
            "teacher",
            "baseline_tokens",
        )
        tally.counts.update({name: line[name] for name in columns} | {"unscored": failures.total()})
        tally.failures.update(failures)
        for source, values in json.loads(line["scores"] or "{}").items():
            sums = dict(zip(score_sums.COLUMNS, values, strict=True))
            tally.scores[source].update(sums)
            tally.scores[score_sums.ALL].update(sums)

    def add_call(self, line: Row, times: int = 1) -> None:
        """Add a row of ledger_calls; with `times` -1, subtract it."""
        cost, unpriced = line["cost_nusd"] or 0, int(line["cost_nusd"] is None)
        if line["usage_unknown"]:  # a bound, not a cost: counted keys
            tokens = sum(line[kind] for kind in _TOKENS)
            counts = {
                "unknown_calls": 1,
                "unknown_tokens": tokens,
                "unknown_nusd": cost,
                "unknown_unpriced": unpriced,
            }
        else:
            counts = {
                "calls": 1,
                "cost_nusd": cost,
                "unpriced": unpriced,
                **{kind: line[kind] for kind in _TOKENS},
            }
            counts["billed_utokens"] = round(line["billed_input_equivalent"] * 1e6)
        counts["failed_calls"] = int(line["failed"])
        if line["duration_ms"] is not None and not line["failed"]:
            counts[tables.LATENCY_BUCKETS[bisect_left(tables.LATENCY_MS, line["duration_ms"])]] = 1
        self._tally(line).counts.update({name: times * count for name, count in counts.items()})

    def add_judged(self, at_ms: int, run: str, kind: JudgedKind) -> None:
        """Add a sample that the teacher has judged and whose tests have shown whether it is
        right.
        """
        self.tallies[_start(at_ms, self._bucket_ms), run].judged[kind] += 1

    def restrict(self, may_see: Callable[[str], bool]) -> None:
        """Drop the runs that may not be seen."""
        for place in [place for place in self.tallies if not may_see(place[1])]:
            del self.tallies[place]

    def write(self, connection: Connection) -> None:
        """Add these to the stored rollups, in one order everywhere, against deadlocks."""
        rows: list[Row] = []
        failures: list[Row] = []
        scores: list[Row] = []
        judged: list[Row] = []
        for (start, run_name), tally in sorted(self.tallies.items()):
            place = {"at_ms": start, "run": run_name}
            rows.append(place | {name: tally.counts[name] for name in _NAMES})
            for code, samples in sorted(tally.failures.items()):
                failures.append(place | {"code": code, "samples": samples})
            for source, sums in sorted(tally.scores.items()):
                scores.append(
                    place | {"source": source} | {name: sums[name] for name in score_sums.COLUMNS}
                )
            for kind, samples in sorted(tally.judged.items()):
                judged.append(place | kind._asdict() | {"samples": samples})
        _add_up(connection, tables.sums, _SUMMED, rows)
        _add_up(connection, tables.failure_sums, _FAILED, failures)
        _add_up(connection, tables.score_rollups, _SCORED, scores)
        _add_up(connection, tables.agreement_rollups, _JUDGED, judged)

    def _tally(self, line: Row) -> CounterTotals:
        return self.tallies[_start(line["at_ms"], self._bucket_ms), line["run"]]


def build_rollups(requests: Iterable[Row] = (), calls: Iterable[Row] = ()) -> Rollups:
    """The rollups of new ledger lines."""
    sums = Rollups(MINUTE_MS)
    for line in requests:
        sums.add_request(line)
    for line in calls:
        sums.add_call(line)
    return sums


def read(
    connection: Connection,
    since_ms: int,
    bucket_ms: int | None,
    run: str | None,
    *,
    by_source: bool = True,
) -> Rollups:
    """Rollups from `since_ms`, the start of a minute, on; of one run or of all.

    `by_source`: with the scores of each source, not only those of all together.
    """
    sums = Rollups(bucket_ms)
    for start, name, *totals in _read_by_run(
        connection, tables.sums, _SUMMED, since_ms, bucket_ms, run
    ):
        sums.tallies[start, name].counts = Counter(dict(zip(_NAMES, totals, strict=True)))
    for start, name, code, samples in _read(
        connection, tables.failure_sums, _FAILED, since_ms, bucket_ms, run
    ):
        sums.tallies[start, name].failures[code] = samples
    sources = (*_SOURCES, score_sums.ALL) if by_source else (score_sums.ALL,)
    for source in sources:
        for start, name, *totals in _read_by_run(
            connection, tables.score_rollups, _SCORED, since_ms, bucket_ms, run, source
        ):
            sums.tallies[start, name].scores[source] = Counter(
                dict(zip(score_sums.COLUMNS, totals, strict=True))
            )
    read_judged(connection, sums, since_ms, bucket_ms, run)
    return sums


def read_judged(
    connection: Connection, sums: Rollups, since_ms: int, bucket_ms: int | None, run: str | None
) -> None:
    """Add to `sums` the samples judged by both teacher and tests; as `read`, but for nothing
    else.
    """
    for start, name, profile, language, passed, percent, samples in _read(
        connection, tables.agreement_rollups, _JUDGED, since_ms, bucket_ms, run
    ):
        kind = JudgedKind(bytes(profile), language, bool(passed), percent)
        sums.tallies[start, name].judged[kind] = samples


def drop_lines(connection: Connection, before_ms: int, limit: int) -> int:
    """Delete up to `limit` lines of each kind from before this hour; their rollups stay.

    Returns how many lines of the more numerous kind were deleted; 0 while another replica does
    this.
    """
    before_ms = _start(before_ms, HOUR_MS)
    if not _has_lock(connection):
        return 0
    return max(
        _drop(connection, tables.requests, tables.requests.c.request_id, before_ms, limit),
        _drop(connection, tables.calls, tables.calls.c.id, before_ms, limit),
    )


def oldest_hour(connection: Connection, now_ms: int) -> int | None:
    """Start of the oldest hour past MINUTE_RETENTION_MS that still has minutes; None without
    any.
    """
    before_ms = _start(now_ms - MINUTE_RETENTION_MS, HOUR_MS)
    found = [
        connection.scalar(select(func.min(table.c.at_ms)).where(*_minutes(table, 0, before_ms)))
        for table in _TABLES
    ]
    return min((_start(at_ms, HOUR_MS) for at_ms in found if at_ms is not None), default=None)


def compact_to_hours(connection: Connection, hour_ms: int) -> None:
    """Replace the minutes of an hour by one row; does nothing while another replica does it.

    The rows are added up as they are when deleted, so that concurrent additions are not lost.
    """
    if not _has_lock(connection):
        return
    hours = Rollups(HOUR_MS)
    for table in _TABLES:
        minutes = (
            delete(table)
            .where(*_minutes(table, hour_ms, hour_ms + HOUR_MS))
            .returning(*table.columns)
        )
        for row in connection.execute(minutes).mappings():
            tally = hours.tallies[hour_ms, row["run"]]
            if table is tables.sums:
                tally.counts.update({name: row[name] for name in _NAMES})
            elif table is tables.failure_sums:
                tally.failures[row["code"]] += row["samples"]
            elif table is tables.agreement_rollups:
                kind = JudgedKind(
                    bytes(row["profile"]), row["language"], bool(row["passed"]), row["percent"]
                )
                tally.judged[kind] += row["samples"]
            else:
                tally.scores[row["source"]].update({name: row[name] for name in score_sums.COLUMNS})
    hours.write(connection)


def _has_lock(connection: Connection) -> bool:
    """Whether this replica holds the lock on maintenance, until its transaction ends."""
    if connection.dialect.name != "postgresql":
        return True  # SQLite has one writer anyway
    return bool(connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _LOCK}))


def _minutes(table: Table, from_ms: int, before_ms: int) -> tuple[ColumnElement[bool], ...]:
    at_ms = table.c.at_ms
    return at_ms >= from_ms, at_ms < before_ms, at_ms % literal_column(str(HOUR_MS)) != 0


def _start(at_ms: int, bucket_ms: int | None) -> int:
    return 0 if bucket_ms is None else at_ms - at_ms % bucket_ms


def _read_by_run(
    connection: Connection,
    table: Table,
    summed: Sequence[Column[int]],
    since_ms: int,
    bucket_ms: int | None,
    run: str | None,
    source: str | None = None,
) -> Sequence[Any]:
    """Rows of start (as in `Rollups`), run, and the totals of the `summed` columns.

    `source`: of this one.
    """
    if bucket_ms is not None and connection.dialect.name == "sqlite":
        return read_cells(connection, table, summed, since_ms, bucket_ms, run, source)
    return _read(connection, table, summed, since_ms, bucket_ms, run, source)


def _read(
    connection: Connection,
    table: Table,
    summed: Sequence[Column[int]],
    since_ms: int,
    bucket_ms: int | None,
    run: str | None,
    source: str | None = None,
) -> Sequence[Any]:
    """Rows of start, the key columns but time and source, and the totals. `source`: of this one."""
    at_ms = table.c.at_ms
    keys = [column for column in table.primary_key if column.name not in ("at_ms", "source")]
    start = (
        literal_column("0") if bucket_ms is None else at_ms - at_ms % literal_column(str(bucket_ms))
    )
    totals = [
        cast(func.sum(column), BigInteger) for column in summed
    ]  # Postgres' sums are decimals
    query = select(start.label("start"), *keys, *totals).where(at_ms >= since_ms)
    query = query.group_by(*keys) if bucket_ms is None else query.group_by(*keys, "start")
    if run is not None:
        query = query.where(table.c.run == run)
    if source is not None:
        query = query.where(table.c.source == source)
    return connection.execute(query).all()


def _drop(
    connection: Connection, table: Table, key: Column[str], before_ms: int, limit: int
) -> int:
    oldest = select(key).where(table.c.at_ms < before_ms).order_by(table.c.at_ms).limit(limit)
    return connection.execute(delete(table).where(key.in_(oldest))).rowcount


def _add_up(
    connection: Connection, table: Table, summed: Sequence[Column[int]], rows: Sequence[Row]
) -> None:
    if not rows:
        return
    run(connection, _adding(connection.dialect.name, table, tuple(summed)), rows)


@cache
def _adding(dialect: str, table: Table, summed: Sequence[Column[int]]) -> ReturningInsert[str]:
    insert = insert_into(dialect, table)
    added = {column.name: column + insert.excluded[column.name] for column in summed}
    insert = insert.on_conflict_do_update(index_elements=[*table.primary_key], set_=added)
    return insert.returning(table.c.run)  # with RETURNING it is one statement for all rows
