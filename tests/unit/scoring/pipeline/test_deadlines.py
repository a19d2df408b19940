"""Deadlines and turns through POST /score: what is ready comes back, the rest later, and each is
counted once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from markbook.scoring.pipeline.admission import RequestSlots
from tests.fakes import RecordingTeacher, true_score

JSON = {"Content-Type": "application/json"}
TASK = "Write add(a, b) that returns the sum of two numbers."
LONG = 60.0


def code(name: str) -> str:
    return f"def {name}(a, b):\n    return a + b\n"


def body(*names: str, run: str = "demo", **more: object) -> dict[str, object]:
    samples = [{"prompt": TASK, "language": "python", "code": code(name)} for name in names]
    return {"run": run, "samples": samples, **more}


async def score(http, *names: str, **more: object):
    answer = await http.post("/score", json=body(*names, **more))
    assert answer.status_code == 200, answer.text
    return answer.json()


def codes(answer) -> list[str]:
    """Of each sample its source, or why it has none."""
    return [result["source"] or result["error"]["code"] for result in answer["results"]]


async def counts(http, run: str = "demo"):
    return (await http.get("/stats", params={"run": run})).json()["runs"][run]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


class SlowForSome(RecordingTeacher):
    """Holds back the groups that have a `slow` in their code."""

    def __init__(self) -> None:
        super().__init__()
        self.held = asyncio.Event()

    async def mark(self, group, purse):
        self.gate = self.held if "slow" in "".join(group.codes) else None
        return await super().mark(group, purse)


@pytest.fixture
def slow() -> SlowForSome:
    return SlowForSome()


SINGLE_PROCESS = {"teacher": {"max_group_size": 1}}


@pytest.fixture
async def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock of the event loop, whose timers then are due."""
    loop, passed = asyncio.get_running_loop(), [0.0]
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + sum(passed))
    return passed.append


async def test_at_the_deadline_what_is_ready_comes_back_and_the_rest_comes_into_the_book(
    service, slow, database_url, pass_time
):
    async with service(SINGLE_PROCESS, by=slow, database_url=database_url) as http:
        await score(http, "known")
        asked = asyncio.create_task(score(http, "known", "slow", "quick", "slow", timeout_s=LONG))
        await until(lambda: code("quick") in slow.codes)
        await score(http, "quick", run="other")  # it is in the book now
        assert not asked.done()
        pass_time(LONG)
        late = await asked
        before = await counts(http)
        slow.held.set()
        while "cache" not in codes(again := await score(http, "slow")):
            assert codes(again) == ["coalesced"]  # the call goes on, and is not made again
        after = await counts(http)
    assert codes(late) == ["cache", "deadline", "teacher", "deadline"]
    assert late["results"][1]["error"]["retry_after_s"] == 1.0
    assert late["results"][1]["key"] != late["results"][0]["key"]
    assert late["usage"]["teacher_calls"] == 1  # what was paid by then
    assert slow.codes.count(code("slow")) == 1
    assert again["results"][0]["score"] == pytest.approx(true_score(code("slow")))
    assert (before["samples"], before["unscored_by_code"]) == (5, {"deadline": 2})
    assert after["unscored_by_code"] == {"deadline": 2}
    assert after["samples"] == sum(after["by_source"].values()) + 2
    assert after["teacher_calls"] == 3  # known, quick, slow: each paid for once


async def test_a_deadline_that_is_not_reached_changes_nothing(service, teacher):
    async with service() as http:
        first, second = (
            await score(http, "add", timeout_s=LONG),
            await score(http, "add", timeout_s=LONG),
        )
    assert (codes(first), codes(second)) == (["teacher"], ["cache"])


async def test_one_who_waits_longer_gets_what_another_gave_up_on(service, slow):
    async with service(by=slow) as http:
        with_retries = asyncio.create_task(score(http, "slow", run="patient"))
        await slow.asked.wait()
        hasty = await score(http, "slow", run="hasty", timeout_s=0.001)
        slow.held.set()
        answer = await with_retries
        waited, gave_up = await counts(http, "patient"), await counts(http, "hasty")
    assert (codes(hasty), codes(answer)) == (["deadline"], ["teacher"])
    assert (waited["teacher_calls"], gave_up["teacher_calls"], gave_up["unscored"]) == (1, 0, 1)


async def test_the_time_in_line_counts_and_nobody_is_asked_for_one_whose_turn_does_not_come(
    service, slow
):
    async with service({"service": {"max_concurrent_requests": 1}}, by=slow) as http:
        first = asyncio.create_task(score(http, "slow"))
        await slow.asked.wait()
        late = await score(http, "add", "plus", timeout_s=0.001)
        slow.held.set()
        await first
        block = await counts(http)
    assert codes(late) == ["deadline", "deadline"]
    assert "queued" in late["results"][0]["error"]["detail"]
    assert slow.codes == [code("slow")]
    assert (block["samples"], block["unscored_by_code"]) == (3, {"deadline": 2})


async def test_a_call_that_goes_on_after_its_deadline_keeps_its_place(service, slow):
    """Otherwise short deadlines would start any number of calls at the same time."""
    async with service(
        {"service": {"max_concurrent_requests": 1, "max_queued_requests": 0}}, by=slow
    ) as http:
        late = await score(http, "slow", timeout_s=0.001)
        refused = await http.post("/score", json=body("add"))
        slow.held.set()
        while (answer := await http.post("/score", json=body("add"))).status_code == 429:
            await http.get("/readyz")
    assert codes(late) == ["deadline"]
    assert (refused.status_code, refused.json()["error"]) == (429, "too_many_requests")
    assert int(refused.headers["retry-after"]) >= 1
    assert codes(answer.json()) == ["teacher"]


async def test_a_run_with_many_requests_does_not_hold_up_a_run_with_one(service, slow, monkeypatch):
    came, served = 0, []
    take = RequestSlots.acquire

    async def counting(self, run):
        nonlocal came
        came += 1
        return await take(self, run)

    monkeypatch.setattr(RequestSlots, "acquire", counting)
    async with service({"service": {"max_concurrent_requests": 1}}, by=slow) as http:

        async def ask(name: str, run: str) -> None:
            await score(http, name, run=run)
            served.append(run)

        asked = [asyncio.create_task(ask("slow", "big"))]
        await slow.asked.wait()
        asked += [asyncio.create_task(ask(f"f{number}", "big")) for number in range(30)]
        await until(lambda: came == 31)
        asked.append(asyncio.create_task(ask("one", "small")))
        await until(lambda: came == 32)
        slow.held.set()
        await asyncio.gather(*asked)
    assert served.index("small") == 2
    assert len(served) == 32


@pytest.mark.parametrize("timeout_s", [0, -1, 86_401, "soon", float("inf"), float("nan")])
async def test_a_deadline_that_is_none_is_a_422(service, teacher, timeout_s):
    async with service() as http:
        answer = await http.post(
            "/score", content=json.dumps(body("add", timeout_s=timeout_s)), headers=JSON
        )
    # what is no JSON is refused before anybody knows in which field it stands
    assert (answer.status_code, answer.json().get("field", "timeout_s")) == (422, "timeout_s")
    assert teacher.groups == []
