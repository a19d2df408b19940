"""Sums by bucket and run on both databases: against sums worked out row by row, and without a
sort on SQLite.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from sqlalchemy import text

from markbook.scoring.store import OWNER, Store, score_sums, tables
from markbook.scoring.store.rollup_cells import _query
from markbook.scoring.store.rollups import MINUTE_MS, CounterTotals
from markbook.scoring.store.summation import add_up, sum_columns
from tests.unit.scoring.book import opened

START = 1_700_000_040_000
"""The start of a minute, and of no larger bucket."""
RUNS = ("a", "a/b", "b", "ü")
COUNTS = [column.name for column in tables.sums.columns if not column.primary_key]


async def fill(store: Store) -> list[dict[str, int | str]]:
    """Some minutes of some runs, with gaps; returns the rows of ledger_rollups."""
    draw = random.Random(1)
    rows: list[dict[str, int | str]] = []
    scores = []
    for run in RUNS:
        for minute in sorted(draw.sample(range(300), 40)):
            place = {"run": run, "at_ms": START + minute * MINUTE_MS}
            rows.append(place | {name: draw.randrange(2**40) for name in COUNTS})
            for source in ("cache", score_sums.ALL):
                values = {name: draw.randrange(2**40) for name in score_sums.COLUMNS}
                scores.append(place | {"source": source} | values)

    def work(connection):
        connection.execute(tables.sums.insert(), rows)
        connection.execute(tables.score_rollups.insert(), scores)

    await store._database.write(work)
    return rows


@pytest.mark.parametrize("minutes", [1, 7, 60, 1_000])
@pytest.mark.parametrize("run", [None, "a", "none"])
async def test_the_sums_are_those_of_the_rows(database_url, minutes, run):
    async with opened(database_url) as store:
        rows = await fill(store)
        since_ms = START + 50 * MINUTE_MS
        found = await store.ledger.sums(OWNER, since_ms, minutes * MINUTE_MS, run)
    expected: dict[tuple[int, str], Counter[str]] = {}
    for row in rows:
        at_ms, name = int(row["at_ms"]), str(row["run"])
        if at_ms >= since_ms and run in (None, name):
            start = at_ms - at_ms % (minutes * MINUTE_MS)
            sums = expected.setdefault((start, name), Counter())
            sums.update({column: int(row[column]) for column in COUNTS})
    assert {place: tally.counts for place, tally in found.tallies.items()} == expected
    assert all(set(tally.scores) == {"cache", score_sums.ALL} for tally in found.tallies.values())
    assert all(
        type(value) is int for tally in found.tallies.values() for value in tally.counts.values()
    )


async def test_by_source_adds_the_sources_and_nothing_else(database_url):
    async with opened(database_url) as store:
        await fill(store)
        whole, short = [
            await store.ledger.sums(OWNER, START, 60 * MINUTE_MS, by_source=by_source)
            for by_source in (True, False)
        ]
    assert whole.tallies.keys() == short.tallies.keys()
    for place, tally in short.tallies.items():
        assert set(tally.scores) == {score_sums.ALL}
        assert tally.scores[score_sums.ALL] == whole.tallies[place].scores[score_sums.ALL]


async def test_the_activity_is_that_of_the_runs_that_are_seen(database_url):
    async with opened(database_url) as store:
        assert await store.ledger.activity(OWNER) is None
        rows = await fill(store)
        times = [int(row["at_ms"]) for row in rows]
        assert await store.ledger.activity(OWNER) == (min(times), max(times))
        mine = [int(row["at_ms"]) for row in rows if row["run"] == "a"]
        assert await store.ledger.activity(OWNER, "a") == (min(mine), max(mine))
        assert await store.ledger.activity(OWNER, "none") is None


async def test_on_sqlite_nothing_is_sorted_and_no_table_is_scanned(sqlite_url):
    async with opened(sqlite_url) as store:
        query = _query("score_rollups", ("bin_0",), of_run=False, of_source=True).text
        given = {"source": "all", "since": 0, "step": 60_000}
        plan = await store._database.read(
            lambda connection: connection.execute(text(f"EXPLAIN QUERY PLAN {query}"), given).all()
        )
    steps = [row[3] for row in plan]
    assert not [step for step in steps if "B-TREE" in step or "SCAN line" in step]
    assert [step for step in steps if "USING PRIMARY KEY (source=? AND run=? AND at_ms>?" in step]


def test_many_are_added_up_as_one_after_another():
    draw = random.Random(2)
    tallies = []
    for number in range(9):
        tally = CounterTotals()
        if number:  # one is empty
            tally.counts.update({name: draw.randrange(9) for name in draw.sample(COUNTS, 5)})
            tally.failures["deadline"] = number
            tally.scores["all"].update({name: draw.randrange(9) for name in score_sums.COLUMNS})
        tallies.append(tally)
    total = CounterTotals()
    for tally in tallies:
        total.add(tally)
    summed = add_up(tallies)
    assert (summed.counts, summed.failures, summed.scores) == (
        total.counts,
        total.failures,
        total.scores,
    )
    assert add_up([]) == CounterTotals()
    assert sum_columns([], ("a", "b")) == Counter()
