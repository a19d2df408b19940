"""Gathered requests that end early: deadlines, stops, clients that disconnect, marks that are
stored or claimed.
"""

from __future__ import annotations

import asyncio

import pytest

from markbook.scoring.execution import TestRunner
from markbook.scoring.pipeline.gathering import LAST_PASSES, GroupGatherer
from markbook.scoring.pipeline.group_scorer import GroupScorer
from tests.fakes import RecordingTeacher, true_score
from tests.unit.scoring.observability.test_metrics import scrape
from tests.unit.scoring.pipeline.test_deadlines import (
    LONG,
    TASK,
    body,
    code,
    codes,
    counts,
    pass_time,
    score,
    until,
)
from tests.unit.scoring.pipeline.test_gathering import EIGHT, GATHERING, groups, start, waits

__all__ = ["pass_time", "waits"]


async def test_a_stored_mark_and_a_rejected_sample_do_not_wait(
    service, teacher, database_url, waits
):
    async with service(GATHERING, database_url=database_url) as http:
        assert codes(await score(http, "a", "b")) == ["teacher"] * 2
        assert codes(await score(http, "a")) == ["cache"]
        broken = {"prompt": TASK, "language": "python", "code": "def f(:"}
        assert codes((await http.post("/score", json={"samples": [broken]})).json()) == [
            "heuristic"
        ]
    assert waits.codes == []


async def test_a_sample_that_waits_already_is_not_asked_for_again(
    service, teacher, database_url, pass_time, waits
):
    async with service(GATHERING, database_url=database_url) as http:
        asked = start(http, "a", "b", "a")
        await waits.until(2)
        pass_time(LONG)
        answers = await asyncio.gather(*asked)
        counted = await counts(http)
    assert groups(teacher) == [{code("a"), code("b")}]
    assert [codes(answer) for answer in answers] == [["teacher"], ["teacher"], ["coalesced"]]
    assert (counted["by_source"]["teacher"], counted["by_source"]["coalesced"]) == (2, 1)


async def test_a_deadline_ends_the_wait_and_sends_the_group(
    service, teacher, database_url, pass_time, waits
):
    settings = {"teacher": {"gather_ms": 3000 * LONG}}
    teacher.gate = asyncio.Event()
    async with service(settings, database_url=database_url) as http:
        asked = [*start(http, "a", timeout_s=LONG), *start(http, "b")]
        await waits.until(2)
        assert teacher.groups == []
        pass_time(LONG)
        hasty = await asked[0]
        await teacher.asked.wait()
        assert not asked[1].done()
        teacher.gate.set()
        with_retries = await asked[1]
        counted = await counts(http)
        again = await score(http, "a")
    assert (codes(hasty), codes(with_retries), codes(again)) == (
        ["deadline"],
        ["teacher"],
        ["cache"],
    )
    assert groups(teacher) == [{code("a"), code("b")}]
    assert (counted["samples"], counted["unscored_by_code"], counted["teacher_calls"]) == (
        2,
        {"deadline": 1},
        1,
    )


async def test_a_stop_refuses_what_waits_and_calls_nobody(service, teacher, database_url, waits):
    async with service(GATHERING, database_url=database_url) as http:
        asked = [asyncio.create_task(http.post("/score", json=body(name))) for name in "abc"]
        await waits.until(3)
    answers = await asyncio.gather(*asked)
    assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [
        (503, "shutting_down")
    ] * 3
    # at once, not after service.shutdown_grace_s
    assert {answer.json()["detail"] for answer in answers} == {
        "the service is stopping and takes no new work"
    }
    assert teacher.groups == []


@pytest.mark.parametrize("gone", [0, 1], ids=["the one that pays", "another"])
async def test_a_client_that_disconnects_takes_nothing_from_the_others(
    service, teacher, database_url, pass_time, waits, gone
):
    async with service(GATHERING, database_url=database_url) as http:
        asked = start(http, "a", "b", "c")
        await waits.until(3)
        asked[gone].cancel()
        await until(asked[gone].done)
        pass_time(LONG)
        rest = [task for task in asked if task is not asked[gone]]
        answers = await asyncio.gather(*rest)
        counted = await counts(http)
    assert [codes(answer) for answer in answers] == [["teacher"]] * 2
    assert groups(teacher) == [
        {code(name) for name in "abc"}
    ]  # as without gathering: its mark is stored
    assert (counted["by_source"]["teacher"], counted["teacher_calls"]) == (3, 1)


async def test_what_another_replica_has_claimed_holds_up_no_other_sample(
    service, teacher, database_url
):
    slow = RecordingTeacher()
    slow.gate = asyncio.Event()
    settings = {"teacher": {"gather_ms": 1000 * LONG, "max_group_size": 2}}
    async with (
        service(settings, database_url=database_url, by=slow) as one,
        service(settings, database_url=database_url) as two,
    ):
        first = asyncio.create_task(score(one, "a", "x", run="one"))
        await slow.asked.wait()
        claimed, free = start(two, "a", "b", run="two")
        answer = await free
        assert codes(answer) == ["teacher"]
        assert (
            answer["usage"]["teacher_calls"] == 1
        )  # the one whose sample it was, not the first of the group
        assert not claimed.done()
        slow.gate.set()
        assert codes(await first) == ["teacher"] * 2
        answer = await claimed
        counted = await counts(two, "two")
    assert codes(answer) == ["coalesced"]
    assert answer["usage"]["teacher_calls"] == 0
    assert answer["results"][0]["score"] == pytest.approx(true_score(code("a")))
    assert groups(teacher) == [{code("b")}]
    assert (counted["samples"], counted["teacher_calls"]) == (2, 1)


async def test_a_sample_whose_tests_still_run_is_waited_for(
    service, teacher, pass_time, waits, monkeypatch
):
    """What arrived within the window is one group, as if it had come in one request."""
    begun, gate, run = asyncio.Event(), asyncio.Event(), TestRunner.run

    async def held(self, code, *args, **more):
        if "slow" in code:
            begun.set()
            await gate.wait()
        return await run(self, code, *args, **more)

    monkeypatch.setattr(TestRunner, "run", held)
    tests = ["assert True"]

    async def ask(http, name: str):
        sample = {"prompt": TASK, "language": "python", "code": code(name), "tests": tests}
        return (await http.post("/score", json={"run": "demo", "samples": [sample]})).json()

    async with service(GATHERING) as http:
        asked = [asyncio.create_task(ask(http, name)) for name in ("slow", "quick")]
        await begun.wait()
        await waits.until(1)
        pass_time(LONG)
        for _ in range(2 * LAST_PASSES):
            await asyncio.sleep(0)
        # the window is over, but one that arrived in it is not tested yet
        late = asyncio.create_task(ask(http, "late"))
        await waits.until(2)
        assert teacher.groups == []
        gate.set()
        await asyncio.gather(*asked)
        assert groups(teacher) == [{code("slow"), code("quick")}]
        pass_time(LONG)
        await late
    assert groups(teacher)[1:] == [{code("late")}]


async def test_one_that_fails_its_tests_is_waited_for_no_longer(
    service, teacher, pass_time, waits, monkeypatch
):
    begun, gate, run = asyncio.Event(), asyncio.Event(), TestRunner.run

    async def held(self, code, *args, **more):
        if "slow" in code:
            begun.set()
            await gate.wait()
        return await run(self, code, *args, **more)

    monkeypatch.setattr(TestRunner, "run", held)
    async with service(GATHERING) as http:
        asked = []
        for name in ("slow", "quick"):
            tests = ["assert quick(1, 2) == 3"]
            sample = {"prompt": TASK, "language": "python", "code": code(name), "tests": tests}
            asked.append(asyncio.create_task(http.post("/score", json={"samples": [sample]})))
        await begun.wait()
        await waits.until(1)
        pass_time(LONG)
        gate.set()
        slow, quick = [answer.json() for answer in await asyncio.gather(*asked)]
    assert (codes(slow), codes(quick)) == (["tests"], ["teacher"])


async def test_an_unexpected_error_reaches_every_member(service, monkeypatch):
    async def broken(*_args, **_more):
        raise ZeroDivisionError

    monkeypatch.setattr(GroupScorer, "ask", broken)
    async with service(GATHERING) as http:
        answers = await asyncio.gather(*(http.post("/score", json=body(name)) for name in EIGHT))
    assert [answer.status_code for answer in answers] == [500] * 8


async def test_the_wait_is_in_the_metrics_and_in_the_log(
    service, teacher, pass_time, waits, caplog
):
    caplog.set_level("INFO", "markbook.requests")
    async with service(GATHERING) as http:
        asked = start(http, "a", "b")
        await waits.until(2)
        pass_time(LONG)
        await asyncio.gather(*asked)
        await score(http, "c", "d", "e")
        found = await scrape(http)
    assert found("gather_wait_seconds_count") == 2
    assert LONG * 2 <= found("gather_wait_seconds_sum") < LONG * 3
    assert (found("teacher_group_samples_count"), found("teacher_group_samples_sum")) == (2, 5)
    lines = [
        record.fields
        for record in caplog.records
        if getattr(record, "fields", {}).get("route") == "/score"
    ]
    assert [line.get("gather_ms", 0) >= 1000 * LONG for line in lines] == [True, True, False]


async def test_nothing_is_left_of_a_window_that_is_over(
    service, teacher, pass_time, waits, monkeypatch
):
    made = []
    init = GroupGatherer.__init__

    def noted(self, *args):
        made.append(self)
        init(self, *args)

    monkeypatch.setattr(GroupGatherer, "__init__", noted)
    async with service(GATHERING) as http:
        await asyncio.gather(*start(http, *EIGHT))  # a full group
        broken = {"prompt": TASK, "language": "python", "code": "def f(:"}
        await http.post("/score", json={"samples": [broken]})
        asked = start(http, "a")
        await waits.until(9)
        [gatherer] = made
        assert (len(gatherer._open), len(gatherer._waiting)) == (1, 1)
        pass_time(LONG)
        await asyncio.gather(*asked)
        assert (len(gatherer._open), len(gatherer._waiting)) == (0, 0)


async def test_what_is_in_its_socket_at_the_end_of_the_window_is_in_the_group(
    service, teacher, pass_time, waits
):
    async with service(GATHERING) as http:
        asked = start(http, "a")
        await waits.until(1)
        pass_time(LONG)
        asked += start(http, "b")  # in the pass in which the window ends
        await waits.until(2)
        pass_time(LONG)
        await asyncio.gather(*asked)
    assert groups(teacher) == [{code("a"), code("b")}]
