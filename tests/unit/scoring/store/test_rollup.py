"""The ledger's sums on both databases: exact, the same before and after lines go, counted once
whatever happens.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from markbook.scoring.api.stats import sum_counters
from markbook.scoring.store import OWNER, CallContext, RequestLine, Settlement, Store
from markbook.scoring.store.engine import migrate, open_engine, transaction
from markbook.scoring.store.rollups import drop_lines
from markbook.scoring.types import TeacherCall
from tests.unit.scoring.book import GROUP, count, opened

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
T0 = 19_000 * DAY  # midnight
BILL = TeacherCall("m", "ok", 3, 5, 7, 11, cost_usd=1e-9, billed_input_equivalent=0.1)
BOUND = TeacherCall("m", "timeout", 1000, 200, cost_usd=0.25, usage_unknown=True)
WEEK = {"lines_max_age_ms": 7 * DAY}


def line(number: int, at_ms: int, run: str = "a", **unscored: int) -> RequestLine:
    samples = 4 + sum(unscored.values())
    return RequestLine(f"request-{number:04}", run, at_ms, samples, 0, 0, 3, 0, 1, unscored, 50)


async def pay(store: Store, bill: TeacherCall, at_ms: int, run: str = "a") -> None:
    purpose = CallContext(run, GROUP, 1)
    reservation = await store.reserve((), purpose, bill, {}, at_ms)
    await store.settle([Settlement(reservation, purpose, bill, bill, at_ms)])


async def fill(store: Store) -> None:
    """Three minutes of two hours, and a run whose model has no price."""
    times = [T0, T0 + 59_999, T0 + MINUTE, T0 + HOUR + 5 * MINUTE]
    lines = [line(number, at_ms, deadline=number) for number, at_ms in enumerate(times)]
    await store.ledger.count([*lines, line(9, T0 + MINUTE, "b")])
    for at_ms in times:
        await pay(store, BILL, at_ms)
    await pay(store, BOUND, T0 + MINUTE)
    await pay(store, TeacherCall("?", "ok", 1, 1, cost_usd=None), T0, "b")


async def counters(store: Store, since_ms: int = 0):
    return sum_counters(await store.ledger.sums(OWNER, since_ms))


async def test_sums_are_those_of_the_lines(database_url):
    async with opened(database_url) as store:
        await fill(store)
        totals, runs = await counters(store)
    a = runs["a"]
    assert (a.samples, a.unscored, a.unscored_by_code) == (22, 6, {"deadline": 6})
    assert a.by_source == {"heuristic": 0, "tests": 0, "cache": 12, "coalesced": 0, "teacher": 4}
    assert (a.teacher_calls, a.api_tokens_sent, a.api_tokens_received, a.tokens_saved) == (
        5,
        84,
        20,
        116,
    )
    assert (a.cost_usd, a.billed_input_equivalent) == (4e-9, 0.4)  # not 0.1 + 0.1 + 0.1 + 0.1
    assert (a.usage_unknown_calls, a.usage_unknown_tokens, a.usage_unknown_cost_usd) == (
        1,
        1200,
        0.25,
    )
    assert (totals.samples, totals.teacher_calls, totals.cost_usd) == (26, 6, None)


@pytest.mark.parametrize(
    ("since", "samples", "sent"),
    [
        (T0, 22, 84),
        (T0 + 1, 18, 63),  # within a minute its lines are counted one by one
        (T0 + 59_999, 18, 63),
        (T0 + MINUTE, 13, 42),
        (T0 + MINUTE + 1, 7, 21),
        (T0 + HOUR + 5 * MINUTE, 7, 21),
        (T0 + HOUR + 5 * MINUTE + 1, 0, 0),
    ],
)
async def test_counts_since_are_exact_to_the_millisecond(database_url, since, samples, sent):
    async with opened(database_url) as store:
        await fill(store)
        _, runs = await counters(store, since)
    counted = runs.get("a")
    assert (
        (counted.samples, counted.api_tokens_sent) == (samples, sent)
        if counted
        else (samples, sent) == (0, 0)
    )


async def test_nothing_changes_when_lines_go_and_minutes_become_hours(database_url):
    async with opened(database_url, **WEEK) as store:
        await fill(store)
        before = await counters(store)
        hourly = await counters(store, T0 + HOUR)
        for now_ms, sums in (
            (T0 + DAY + HOUR - 1, 5),  # the first hour is not over a day old
            (T0 + DAY + HOUR, 3),  # one hour of each run, and the minute that is kept
            (T0 + DAY + 2 * HOUR, 3),  # and that one is the start of its hour
            (T0 + 7 * DAY + HOUR - 1, 3),  # nor its lines over a week
        ):
            await store.maintenance.run_once(now_ms)
            assert (
                await count(store, "ledger_requests"),
                await count(store, "ledger_rollups"),
            ) == (5, sums)
            assert await counters(store) == before
            assert await counters(store, T0 + HOUR) == hourly
        await store.maintenance.run_once(T0 + 7 * DAY + HOUR)
        assert await counters(store) == before
        assert await counters(store, T0 + HOUR) == hourly
        assert (await count(store, "ledger_requests"), await count(store, "ledger_calls")) == (1, 1)
        assert await count(store, "ledger_rollups") == 3
        await store.ledger.count(
            [line(2, T0 + MINUTE), line(20, T0 + 2 * MINUTE)]
        )  # a line of old comes late
        await store.maintenance.run_once(T0 + 8 * DAY)
        assert (await counters(store))[1]["a"].samples == before[1]["a"].samples + 8
        assert await count(store, "ledger_rollups") == 3
    async with opened(database_url) as store:
        assert (await counters(store))[1]["a"].samples == before[1]["a"].samples + 8


async def test_lines_go_a_few_at_a_time(database_url):
    async with opened(database_url) as store:
        await store.ledger.count([line(number, T0 + number) for number in range(5)])
        gone = [
            await store._database.write(lambda book: drop_lines(book, T0 + HOUR, 2))
            for _ in range(4)
        ]
        assert gone == [2, 2, 1, 0]
        assert (await counters(store))[0].samples == 20


async def test_a_retry_counts_once_while_its_line_is_kept(database_url):
    async with opened(database_url, **WEEK) as store:
        await store.ledger.count([line(1, T0)])
        await store.maintenance.run_once(T0 + 7 * DAY + HOUR - 1)
        await store.ledger.count([line(1, T0 + 7 * DAY)])
        assert (await counters(store))[0].samples == 4


async def test_replicas_that_count_the_same_at_once_count_it_once(database_url):
    async with opened(database_url, **WEEK) as one, opened(database_url, **WEEK) as two:
        lines = [
            line(number, T0 + number * MINUTE, "ab"[number % 2], deadline=1) for number in range(40)
        ]
        batches = ((one, lines), (two, lines[::-1]), (two, lines[10:30]))
        await asyncio.gather(*(store.ledger.count(batch) for store, batch in batches))
        before = await counters(one)
        assert (before[0].samples, before[0].unscored_by_code) == (200, {"deadline": 40})
        await asyncio.gather(*(store.maintenance.run_once(T0 + 9 * DAY) for store in (one, two)))
        assert await counters(two) == before
        assert await count(one, "ledger_requests") == 0


async def test_a_late_bill_takes_the_place_of_its_bound_in_the_sums(database_url):
    async with opened(database_url) as store, opened(database_url) as other:
        purpose = CallContext("a", GROUP, 1)
        reservation = await store.reserve((), purpose, BOUND, {}, T0)
        await other.money.renew(T0 + DAY)  # the owner is taken for dead
        assert (await counters(store))[1]["a"].usage_unknown_tokens == 1200
        for _ in range(2):  # the answer to the first commit was lost
            await store.settle([Settlement(reservation, purpose, BOUND, BILL, T0 + HOUR)])
        block = (await counters(store))[1]["a"]
    assert (block.teacher_calls, block.usage_unknown_calls, block.usage_unknown_tokens) == (1, 0, 0)
    assert (block.api_tokens_sent, block.cost_usd, block.usage_unknown_cost_usd) == (21, 1e-9, 0.0)


async def test_the_lines_of_a_book_from_before_are_summed(empty_database_url):
    engine = open_engine(empty_database_url)
    migrate(engine, "0001")
    values = "'b', 'a', 60001, 'm', 'ok', :id, 1, 3, 5, 7, 11, 0.1, 1, :unknown, NULL"
    with transaction(engine) as connection:
        connection.execute(
            text("INSERT INTO ledger_requests VALUES ('r1', 'a', 5, 4, 1, 1, 1, 1, NULL, 50)")
        )
        connection.execute(
            text(
                "INSERT INTO ledger_requests VALUES ('r2', 'a', 60000, 3, 0, 0, 0, 1, :codes, 50)"
            ),
            {"codes": '{"deadline": 2}'},
        )
        connection.execute(
            text(f"INSERT INTO ledger_calls VALUES ({values})"), {"id": b"1", "unknown": False}
        )
        connection.execute(
            text(f"INSERT INTO ledger_calls VALUES ({values.replace('b', 'c', 1)})"),
            {"id": b"2", "unknown": True},
        )
    engine.dispose()
    async with opened(empty_database_url) as store:
        _, runs = await counters(store)
        late = (await counters(store, 60_000))[1]["a"]
    block = runs["a"]
    assert (block.samples, block.unscored, block.unscored_by_code) == (7, 2, {"deadline": 2})
    assert (block.teacher_calls, block.api_tokens_sent, block.billed_input_equivalent) == (
        2,
        21,
        0.1,
    )
    assert (block.cost_usd, block.usage_unknown_calls, block.usage_unknown_tokens) == (1e-9, 1, 26)
    assert (late.samples, late.teacher_calls) == (3, 2)


async def test_stats_since_and_their_series(service, database_url, clock):
    sample = {
        "prompt": "Write add(a, b).",
        "language": "python",
        "code": "def add(a, b):\n    return a + b\n",
    }
    clock.now_ms = T0
    async with service(database_url=database_url) as http:
        for run, at_ms in (("a", T0 + 1_000), ("b", T0 + 2 * MINUTE), ("a", T0 + 3 * HOUR)):
            clock.now_ms = at_ms
            await http.post("/score", json={"run": run, "samples": [sample]})
        after = datetime.fromtimestamp(T0 / 1000 + 60, UTC).isoformat()
        stats = (await http.get("/stats", params={"since": after})).json()
        opened_at = (await http.get("/stats")).json()["since"]
        hours = (await http.get("/stats/series")).json()
        minutes = (
            await http.get("/stats/series", params={"bucket": "minute", "since": after, "run": "b"})
        ).json()
        far = await http.get("/stats/series", params={"bucket": "minute", "since": "2020-01-01"})
        odd = [
            (await http.get("/stats", params={"since": when})).status_code
            for when in ("0001-01-01", "9999-12-31")
        ]
        wrong = [
            await http.get("/stats", params={"since": when})
            for when in ("yesterday", "0.0", "1700000000")
        ]
    assert (stats["since"], opened_at) == (
        "2022-01-08T00:01:00.000+00:00",
        "2022-01-08T00:00:00.001+00:00",
    )
    assert {run: block["samples"] for run, block in stats["runs"].items()} == {"a": 1, "b": 1}
    assert stats["totals"]["by_source"] == {
        "heuristic": 0,
        "tests": 0,
        "cache": 2,
        "coalesced": 0,
        "teacher": 0,
    }
    assert stats["profile_inputs"]["teacher"]["name"] == "recording"
    assert (hours["bucket"], [point["bucket_start"] for point in hours["points"]]) == (
        "hour",
        ["2022-01-08T00:00:00.000+00:00", "2022-01-08T03:00:00.000+00:00"],
    )
    assert [list(point["runs"]) for point in hours["points"]] == [["a", "b"], ["a"]]
    assert hours["points"][0]["runs"]["a"]["by_source"]["teacher"] == 1
    assert [point["bucket_start"] for point in minutes["points"]] == [
        "2022-01-08T00:02:00.000+00:00"
    ]
    assert [(each.status_code, each.json()["field"]) for each in (far, *wrong)] == [
        (422, "since")
    ] * 4
    assert odd == [200, 200]
