"""A ledger full of lines: many runs over days, written in bulk, with the sums that the ledger
keeps of them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from sqlalchemy import Engine, Table, insert

from markbook.scoring.store import score_sums, tables
from markbook.scoring.store.engine import migrate, open_engine, transaction
from markbook.scoring.store.rollups import (
    MINUTE_MS,
    Rollups,
    build_rollups,
    compact_to_hours,
    oldest_hour,
)
from markbook.scoring.store.score_sums import sum_scores
from markbook.scoring.store.statements import Row, insert_new

DAY_MINUTES = 1_440
_BATCH = 200
"""Minutes written at a time."""
_FAILURES = ("teacher_timeout", "reply_unreadable", "deadline")


def fill_ledger(
    *database_urls: str, runs: int, requests: int, calls: int, minutes: int, until_ms: int
) -> int:
    """So many lines in each of `minutes` up to `until_ms`, spread over all runs; returns how many
    lines there are.

    Several databases get the same lines: to draw them takes longer than to write them.
    """
    engines = [open_engine(url) for url in database_urls]
    for engine in engines:
        migrate(engine)
    draw = random.Random(until_ms)
    first_ms = until_ms // MINUTE_MS * MINUTE_MS - minutes * MINUTE_MS
    for start in range(0, minutes, _BATCH):
        times = [
            first_ms + minute * MINUTE_MS for minute in range(start, min(start + _BATCH, minutes))
        ]
        shares = {at_ms: (at_ms - first_ms) / (minutes * MINUTE_MS) for at_ms in times}
        asked = [
            _request(draw, at_ms, runs, shares[at_ms]) for at_ms in times for _ in range(requests)
        ]
        paid = [_call(draw, at_ms, runs) for at_ms in times for _ in range(calls)]
        sums = build_rollups(asked, paid)
        for engine in engines:
            copy_rows(engine, tables.requests, asked)
            copy_rows(engine, tables.calls, paid)
            copy_rows(engine, tables.sums, [*_sum_rows(sums)])
            copy_rows(engine, tables.failure_sums, [*_failure_rows(sums)])
            copy_rows(engine, tables.score_rollups, [*_score_rows(sums)])
    for engine in engines:
        with transaction(engine) as connection:
            insert_new(connection, tables.accounts, [*_accounts(runs)])
        while _compact_to_hours(engine, until_ms):
            pass
        engine.dispose()
    return minutes * (requests + calls)


def _compact_to_hours(engine: Engine, now_ms: int) -> bool:
    with transaction(engine) as connection:
        hour = oldest_hour(connection, now_ms)
        if hour is not None:
            compact_to_hours(connection, hour)
    return hour is not None


def run_name(number: int) -> str:
    return f"team-{'abcde'[number % 5]}/student-{number:03}"


def _run(draw: random.Random, runs: int) -> str:
    return run_name(min(runs - 1, int(runs * draw.random() ** 1.6)))  # some ask more than others


def _request(draw: random.Random, at_ms: int, runs: int, share: float) -> dict[str, Any]:
    """`share` of the time has passed: the students have become better, each at its own speed."""
    run = _run(draw, runs)
    learned = share * (1 + int(run[-3:]) % 5) / 5
    cache, teacher, heuristic, failed = (
        draw.randrange(20),
        draw.randrange(12),
        draw.randrange(6),
        draw.random() < 0.03,
    )
    return {
        "request_id": f"{draw.getrandbits(96):024x}",
        "run": run,
        "at_ms": at_ms + draw.randrange(MINUTE_MS),
        "samples": cache + teacher + heuristic + 1 + failed,
        "heuristic": heuristic,
        "cache": cache,
        "tests": 0,
        "coalesced": 1,
        "teacher": teacher,
        "unscored": f'{{"{draw.choice(_FAILURES)}": 1}}' if failed else None,
        "baseline_tokens": 2_800 * (cache + teacher + 1),
        "scores": json.dumps(
            _scores(draw, learned, heuristic=heuristic, cache=cache, coalesced=1, teacher=teacher)
        ),
    }


def _scores(draw: random.Random, learned: float, **samples: int) -> dict[str, list[int]]:
    sums = {}
    for source, number in samples.items():
        top = 0.05 if source == "heuristic" else 1.0
        sums[source] = sum_scores(
            [top * draw.betavariate(2 + 4 * learned, 3 - learned) for _ in range(number)]
        )
    return sums


def _call(draw: random.Random, at_ms: int, runs: int) -> dict[str, Any]:
    failed = draw.random() < 0.02
    sent, written = draw.randrange(300, 2_400), 940 * (draw.random() < 0.05)
    read = 940 - written
    received = draw.randrange(20, 90)
    nusd = round(100 * sent + 10 * read + 125 * written + 500 * received)
    duration_ms = round(1_000 * draw.lognormvariate(0.6, 0.6))
    return {
        "id": f"{draw.getrandbits(96):024x}",
        "run": _run(draw, runs),
        "at_ms": at_ms + draw.randrange(MINUTE_MS),
        "model": "claude-haiku-5-5",
        "outcome": "overloaded_error" if failed else "end_turn",
        "group_id": draw.randbytes(8),
        "samples": 8,
        "input_tokens": 0 if failed else sent,
        "output_tokens": 0 if failed else received,
        "cache_read_input_tokens": 0 if failed else read,
        "cache_creation_input_tokens": 0 if failed else written,
        "billed_input_equivalent": 0.0 if failed else nusd / 100,
        "cost_nusd": 0 if failed else nusd,
        "usage_unknown": False,
        "provider_request_id": None,
        "duration_ms": duration_ms,
        "failed": failed,
    }


def _sum_rows(sums: Rollups) -> Iterator[dict[str, Any]]:
    names = [column.name for column in tables.sums.columns if not column.primary_key]
    for (start, run), tally in sums.tallies.items():
        yield {"at_ms": start, "run": run} | {name: tally.counts[name] for name in names}


def _failure_rows(sums: Rollups) -> Iterator[dict[str, Any]]:
    for (start, run), tally in sums.tallies.items():
        for code, samples in tally.failures.items():
            yield {"at_ms": start, "run": run, "code": code, "samples": samples}


def _score_rows(sums: Rollups) -> Iterator[dict[str, Any]]:
    for (start, run), tally in sums.tallies.items():
        for source, scores in tally.scores.items():
            yield {
                "at_ms": start,
                "run": run,
                "source": source,
                **{name: scores[name] for name in score_sums.COLUMNS},
            }


def _accounts(runs: int) -> Iterator[dict[str, Any]]:
    for number, scope in enumerate(
        ["total", *(f"run {run_name(number)}" for number in range(runs))]
    ):
        yield {
            "scope": scope,
            "nusd": 90_000_000_000 // (1 + number),
            "tokens": 400_000_000 // (1 + number),
        }


def copy_rows(engine: Engine, table: Table, rows: Sequence[Row]) -> None:
    """As fast as each database takes them."""
    if not rows:
        return
    if engine.dialect.name == "sqlite":
        with transaction(engine) as connection:
            connection.execute(insert(table), list(rows))
        return
    names = list(rows[0])
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    command = f"COPY {table.name} ({', '.join(names)}) FROM STDIN"
    with (
        psycopg.connect(url) as connection,
        connection.cursor() as cursor,
        cursor.copy(command) as copy,
    ):
        for row in rows:
            copy.write_row([row[name] for name in names])
