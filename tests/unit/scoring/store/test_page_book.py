"""What the page reads on both databases: bounded looks by index, and calls counted by the time
they took.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import Engine, event

from markbook.scoring.store import OWNER, CallContext, Settlement, recent_marks
from markbook.scoring.store.engine import autocommit, open_engine
from markbook.scoring.types import TeacherCall
from tests.seeding import fill_ledger
from tests.unit.scoring.book import GROUP, NOW, keep, marked, opened

MINUTE = 60_000
BILL = TeacherCall("m", "ok", 3, 5, cost_usd=1e-9)


async def pay(store, run: str, group: str = GROUP, bill: TeacherCall = BILL) -> None:
    purpose = CallContext(run, group, 1)
    reservation = await store.reserve((), purpose, BILL, {}, NOW)
    await store.settle([Settlement(reservation, purpose, BILL, bill, NOW)])


def codes(found) -> list[str]:
    return [paid.record.mark.texts.code for paid in found.marks]


async def latest(
    store, want=100, viewer=OWNER, make_filter=lambda record: True, before=None, run=None
):
    return await store.page.latest(viewer, want, make_filter, before, run)


async def test_the_latest_come_first_with_the_runs_that_paid_or_were_given_them(database_url):
    async with opened(database_url) as store:
        await keep(store, marked("old"), at_ms=NOW - 5)
        await keep(store, marked("new 1"), marked("new 2"), at_ms=NOW + 5, run="a")
        await store.given.add(
            [paid.record.mark.fingerprint.row for paid in (await latest(store)).marks], "b"
        )
        found = await latest(store)
        assert codes(found)[2] == "old"
        assert set(codes(found)[:2]) == {"new 1", "new 2"}
        assert [paid.runs for paid in found.marks] == [{"a", "b"}, {"a", "b"}, {"b"}]
        assert (found.searched, found.last) == (3, None)
        one = await latest(store, want=1)
        rest = await latest(store, before=one.last)
        assert codes(one) + codes(rest) == codes(found)


@pytest.mark.parametrize("texts", [True, False])
async def test_a_search_looks_at_so_many_and_goes_on_behind_them(database_url, monkeypatch, texts):
    monkeypatch.setattr(recent_marks, "BATCH", 4)
    monkeypatch.setattr(recent_marks, "MAX_MARKS", 10)
    async with opened(database_url, store_samples=texts) as store:
        for number in range(25):
            await keep(store, marked(f"code {number:02}"), at_ms=NOW + 1000 * (number // 2))
        numbers = {marked(f"code {number:02}").fingerprint.row: number for number in range(25)}
        seen, steps, before = [], [], None
        while True:
            found = await latest(
                store,
                make_filter=lambda record: numbers[record.mark.fingerprint.row] % 3 == 0,
                before=before,
            )
            seen += [numbers[paid.record.mark.fingerprint.row] for paid in found.marks]
            steps.append(found.searched)
            if found.last is None:
                break
            before = found.last
        nobody = await latest(store, run="a")
    assert sorted(seen, reverse=True) == list(range(24, -1, -3))
    assert [number // 2 for number in seen] == sorted(
        (number // 2 for number in seen), reverse=True
    )
    assert steps == [12, 12, 1]
    assert (nobody.marks, nobody.searched) == ([], 12)


async def test_texts_longer_than_the_bound_are_searched_in_smaller_steps(database_url, monkeypatch):
    monkeypatch.setattr(recent_marks, "BATCH", 1)
    monkeypatch.setattr(recent_marks, "MAX_CHARS_PER_BATCH", 250)
    async with opened(database_url) as store:
        for number in range(5):
            await keep(store, marked(f"{number}" * 96), at_ms=NOW + number)
        assert (await latest(store)).searched == 3  # 100 characters each, with the task


async def test_calls_are_counted_by_the_time_they_took_and_by_whether_they_failed(database_url):
    async with opened(database_url) as store:
        for duration_ms in (0, 250, 251, 64_000, 64_001):
            await pay(store, "a", bill=replace(BILL, duration_ms=duration_ms))
        await pay(store, "a", bill=replace(BILL, duration_ms=30, failed=True))
        await pay(store, "a", bill=BILL)
        await store.reserve((), CallContext("a", GROUP, 1), BILL, {}, NOW)
        await store.money.close()  # cut off
        sums = await store.ledger.sums(OWNER)
        since = await store.ledger.sums(OWNER, NOW - 1)
    for each in (sums, since):
        counts = each.tallies[0, "a"].counts
        assert {
            name: counts[name] for name in counts if name.startswith("took") and counts[name]
        } == {
            "took_250": 2,
            "took_500": 1,
            "took_64000": 1,
            "took_longer": 1,
        }
        assert (counts["failed_calls"], counts["calls"], counts["unknown_calls"]) == (2, 7, 1)


@contextmanager
def selects() -> Iterator[list[tuple[str, object]]]:
    """Queries and their parameters, but for those of the service's upkeep, which goes on
    meanwhile.
    """
    sent: list[tuple[str, object]] = []

    def note(_connection, _cursor, statement, parameters, _context, _executemany):
        upkeep = any(table in statement for table in ("reservations", "claims", "api_keys"))
        if statement.startswith("SELECT") and not upkeep:
            sent.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def plan_of(connection, statement: str, parameters: object) -> str:
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
        return "\n".join(row[3] for row in rows)
    rows = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).all()
    return "\n".join(row[0] for row in rows)


@pytest.mark.parametrize("query", ["/", "/?since=hour", "/?since=all", "/?q=code"])
async def test_no_statement_of_the_page_scans_lines_or_marks_and_more_runs_need_no_more(
    service, database_url, clock, query, monkeypatch
):
    for interval in (
        "lifespan.NOTE_S",
        "api.auth.KEY_CACHE_TTL_S",
    ):  # their statements are not the page's
        monkeypatch.setattr(f"markbook.scoring.{interval}", 3_600.0)
    counted = []
    async with service(database_url=database_url) as http:
        for runs in (1, 50):
            clock.now_ms = clock.now_ms + 60 * MINUTE
            fill_ledger(
                database_url, runs=runs, requests=runs, calls=runs, minutes=2, until_ms=clock.now_ms
            )
            for number in range(3):
                sample = {
                    "prompt": "task",
                    "language": "python",
                    "code": f"def code_{number + runs}():\n    return 1",
                }
                await http.post("/score", json={"run": "demo", "samples": [sample]})
            await http.get(query)  # what a first connection asks for itself
            with selects() as explained:
                assert (await http.get(query)).status_code == 200
            counted.append(len(explained))
    assert counted[0] == counted[1] <= 15
    engine = open_engine(database_url)
    with autocommit(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(
                "SET enable_seqscan = off"
            )  # so small a table it would read anyway
        plans = {text: plan_of(connection, text, parameters) for text, parameters in explained}
    engine.dispose()
    for text, plan in plans.items():
        if "count(*)" in text:  # how many marks there are, off an index
            continue
        for table in ("ledger_requests", "ledger_calls", "marks", "texts"):
            assert f"Seq Scan on {table}" not in plan, plan
            assert not any(line == f"SCAN {table}" for line in plan.splitlines()), plan
        assert "ledger_requests" not in text


@pytest.mark.parametrize("store_samples", [True, False])
async def test_a_link_to_a_time_that_never_comes_shows_the_latest(
    service, database_url, store_samples
):
    sample = {"prompt": "Write f(x).", "language": "python", "code": "def f(x):\n    return x\n"}
    async with service(
        {"store": {"store_samples": store_samples}}, database_url=database_url
    ) as http:
        await http.post("/score", json={"samples": [sample]})
        answer = await http.get(f"/?before={'9' * 16}-{'9' * 9}")
    assert answer.status_code == 200
    assert answer.text.partition('<ol class="marks">')[2].count('href="samples/') == 1


@pytest.mark.parametrize("path", ["/login", "/logout"])
async def test_what_is_no_origin_is_another_site(service, path):
    async with service() as http:
        answer = await http.post(path, data={"key": "mb_ann"}, headers={"Origin": "http://["})
    assert answer.status_code == 403
