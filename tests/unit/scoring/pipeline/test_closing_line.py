"""A request's line in the ledger: written with the last marks that it waits for, or by itself
before the reply.
"""

from __future__ import annotations

import asyncio

from markbook.scoring import lifespan
from markbook.scoring.errors import StoreUnavailableError
from markbook.scoring.store import Store
from markbook.scoring.store.ledger import Ledger
from tests.unit.scoring.book import commits
from tests.unit.scoring.pipeline.test_deadlines import (
    LONG,
    SINGLE_PROCESS,
    SlowForSome,
    body,
    codes,
    counts,
    pass_time,
    score,
    until,
)

__all__ = ["pass_time"]


async def test_the_line_comes_with_the_last_marks(service, database_url, monkeypatch):
    monkeypatch.setattr(lifespan, "NOTE_S", 3600.0)  # no maintenance while commits are counted
    names = ["a", "b"]
    async with service(database_url=database_url) as http:
        with commits() as ended:
            assert codes(await score(http, *names)) == ["teacher"] * len(names)
        assert len(ended) == 2  # what comes before the call, and what comes after it
        assert (await counts(http))["by_source"]["teacher"] == len(names)


async def test_a_line_that_no_mark_of_its_own_closes_is_written_before_the_reply(
    service, database_url, monkeypatch
):
    slow = SlowForSome()

    async def away(self, lines):
        raise StoreUnavailableError("the database went away")

    async with service(SINGLE_PROCESS, by=slow, database_url=database_url) as http:
        first = asyncio.create_task(score(http, "slow", run="first"))
        await until(lambda: len(slow.groups) == 1)
        asked = body("quick", "slow", request_id="request-1")
        second = asyncio.create_task(http.post("/score", json=asked))
        await until(lambda: len(slow.groups) == 2)
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "count", away)
            slow.held.set()
            assert codes(await first) == ["teacher"]
            assert (await second).status_code == 503
        assert codes(await score(http, "quick", "slow", request_id="request-1")) == [
            "cache",
            "cache",
        ]
        assert (await counts(http, "first"))["by_source"]["teacher"] == 1
        # its line was kept, and came with the next ones: what it paid for is counted, and the retry
        # is not
        assert (await counts(http))["by_source"] == {
            "heuristic": 0,
            "tests": 0,
            "cache": 0,
            "coalesced": 1,
            "teacher": 1,
        }


async def test_a_request_that_is_being_counted_waits_for_its_marks_beyond_its_deadline(
    service, database_url, monkeypatch, pass_time
):
    record, begun, gate = Store.record_group, asyncio.Event(), asyncio.Event()

    async def held(self, *arguments):
        begun.set()
        await gate.wait()
        await record(self, *arguments)

    monkeypatch.setattr(Store, "record_group", held)
    async with service(database_url=database_url) as http:
        asked = asyncio.create_task(score(http, "a", timeout_s=LONG))
        await begun.wait()
        pass_time(2 * LONG)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not asked.done()
        gate.set()
        assert codes(await asked) == ["teacher"]
        answered = await counts(http)
    assert (answered["samples"], answered["by_source"]["teacher"], answered["unscored"]) == (
        1,
        1,
        0,
    )


async def test_a_request_that_was_answered_late_is_not_counted_again_when_its_marks_come(
    service, database_url
):
    slow = SlowForSome()
    async with service(by=slow, database_url=database_url) as http:
        assert codes(await score(http, "slow", timeout_s=0.001)) == ["deadline"]
        slow.held.set()
        while codes(again := await score(http, "slow", run="other")) != ["cache"]:
            assert codes(again) == ["coalesced"]
        answered = await counts(http)
    assert (answered["samples"], answered["unscored"], answered["teacher_calls"]) == (1, 1, 1)
