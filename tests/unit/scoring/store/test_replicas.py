"""Several replicas on one book: one asks, the others get what it got; a dead one loses its
lease.
"""

from __future__ import annotations

import asyncio

import pytest

from markbook.contract import ErrorCode
from markbook.scoring.errors import StoreUnavailableError
from markbook.scoring.pipeline.single_flight import SingleFlight
from markbook.scoring.store import Store
from markbook.scoring.store.claims import Claims
from markbook.scoring.store.database import Database
from markbook.scoring.types import ScoringFailure
from tests.fakes import RecordingTeacher, true_score

CODE = "def add(a, b):\n    return a + b\n"
OTHER = "def plus(a, b):\n    return a + b\n"


async def score(http, *codes, run="demo"):
    samples = [{"prompt": "Write add(a, b).", "language": "python", "code": code} for code in codes]
    answer = await http.post("/score", json={"run": run, "samples": samples})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def slow() -> RecordingTeacher:
    teacher = RecordingTeacher()
    teacher.gate = asyncio.Event()
    return teacher


async def test_the_second_replica_waits_for_the_first_and_pays_nothing(
    service, teacher, slow, database_url
):
    async with (
        service(database_url=database_url, by=slow) as one,
        service(database_url=database_url) as two,
    ):
        first = asyncio.create_task(score(one, CODE, run="one"))
        await slow.asked.wait()
        second = asyncio.create_task(score(two, CODE, OTHER, run="two"))
        await teacher.asked.wait()  # what nobody else asks for is not held up
        slow.gate.set()
        answers = await asyncio.gather(first, second)
        counts = (await two.get("/stats")).json()["runs"]
    assert [result["source"] for result in answers[0]["results"]] == ["teacher"]
    assert [result["source"] for result in answers[1]["results"]] == ["coalesced", "teacher"]
    assert answers[1]["results"][0]["score"] == pytest.approx(true_score(CODE))
    assert (slow.codes, teacher.codes) == ([CODE], [OTHER])
    assert (counts["one"]["teacher_calls"], counts["two"]["teacher_calls"]) == (1, 1)


async def test_a_failure_is_handed_to_the_replicas_that_wait_and_is_not_kept(
    service, teacher, slow, database_url, monkeypatch
):
    waits = asyncio.Event()
    look = Claims.poll

    async def telling(self, digests, now_ms):
        waits.set()
        return await look(self, digests, now_ms)

    monkeypatch.setattr(Claims, "poll", telling)
    slow.failures[CODE] = ScoringFailure(ErrorCode.TEACHER_REFUSED, "no")
    async with (
        service(database_url=database_url, by=slow) as one,
        service(database_url=database_url) as two,
    ):
        first = asyncio.create_task(score(one, CODE))
        await slow.asked.wait()
        second = asyncio.create_task(score(two, CODE))
        await waits.wait()
        slow.gate.set()
        answers = await asyncio.gather(first, second)
        again = await score(two, CODE)
    assert [answer["results"][0]["error"]["code"] for answer in answers] == ["teacher_refused"] * 2
    assert again["results"][0]["source"] == "teacher"
    assert teacher.codes == [CODE]


class Retrying(RecordingTeacher):
    """Pays for a call that brings nothing, and for another when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.called, self.again = asyncio.Event(), asyncio.Event()

    async def mark(self, group, purse):
        bill = self.bill(len(group.codes))
        await purse.settle(await purse.reserve(bill), bill, bill)
        self.called.set()
        await self.again.wait()
        return await super().mark(group, purse)


@pytest.mark.parametrize("replicas", [1, 2])
async def test_anothers_empty_purse_is_none_of_ours(service, database_url, monkeypatch, replicas):
    """The poor run asks first and cannot pay for a retry; the rich one, which waits for the same
    mark, then asks.
    """
    waits, teacher = asyncio.Event(), Retrying()
    claim = SingleFlight.claim if replicas == 1 else Claims.poll

    def telling(self, *arguments):
        if teacher.called.is_set():
            waits.set()
        return claim(self, *arguments)

    monkeypatch.setattr(*((SingleFlight, "claim") if replicas == 1 else (Claims, "poll")), telling)
    budgets = {"budgets": {"runs": {"poor": {"tokens": 110}}}}
    async with (
        service(budgets, database_url=database_url, by=teacher) as one,
        service(budgets, database_url=database_url, by=teacher) as two,
    ):
        poor = asyncio.create_task(score(one, CODE, run="poor"))
        await teacher.called.wait()
        rich = asyncio.create_task(score(one if replicas == 1 else two, CODE, run="rich"))
        await waits.wait()
        assert teacher.groups == []
        teacher.again.set()
        answers = await asyncio.gather(poor, rich)
        counts = (await one.get("/stats")).json()["runs"]
    assert answers[0]["results"][0]["error"]["code"] == "budget_exhausted"
    assert answers[1]["results"][0]["source"] == "teacher"
    assert (
        counts["poor"]["unscored"],
        counts["rich"]["by_source"]["teacher"],
        counts["rich"]["samples"],
    ) == (1, 1, 1)
    assert (counts["poor"]["teacher_calls"], counts["rich"]["teacher_calls"]) == (1, 2)


async def test_a_replica_that_died_in_mid_call_is_replaced(
    service, teacher, slow, clock, database_url
):
    async with (
        service(database_url=database_url, by=slow) as one,
        service(database_url=database_url) as two,
    ):
        first = asyncio.create_task(score(one, CODE))
        await slow.asked.wait()
        clock.now_ms += 20_000  # the first never renews: its lease of 15 s is over
        second = await score(two, CODE)
        slow.gate.set()
        late = await first
    assert second["results"][0]["source"] == "teacher"
    assert late["results"][0]["score"] == second["results"][0]["score"]
    assert teacher.codes == slow.codes == [CODE]


async def test_a_mark_whose_database_was_away_for_a_moment_is_kept(
    service, teacher, database_url, monkeypatch
):
    write, faults = Database.write, 0

    async def flaky(self, work):
        nonlocal faults
        if work.__qualname__.startswith("Store._write_with_retry") and faults < 3:
            faults += 1
            raise StoreUnavailableError("away")
        return await write(self, work)

    monkeypatch.setattr(Database, "write", flaky)
    monkeypatch.setattr("markbook.scoring.store.database.RETRY_S", 0.0)
    async with service(database_url=database_url) as http:
        first = await score(http, CODE)
        second = await score(http, CODE)
    assert [answer["results"][0]["source"] for answer in (first, second)] == ["teacher", "cache"]
    assert faults == 3
    assert teacher.codes == [CODE]


async def test_a_sample_that_could_not_be_stored_can_be_asked_for_again_at_once(
    service, monkeypatch, database_url
):
    """Its claim is still there, but it is this process's own."""
    async with service(database_url=database_url) as http:

        async def away(*_args):
            raise StoreUnavailableError("away")

        with monkeypatch.context() as patch:
            patch.setattr(Store, "record_group", away)
            sample = {"prompt": "Write add(a, b).", "language": "python", "code": CODE}
            answer = await http.post("/score", json={"samples": [sample]})
            assert answer.status_code == 503
        assert (await score(http, CODE))["results"][0]["source"] == "teacher"
