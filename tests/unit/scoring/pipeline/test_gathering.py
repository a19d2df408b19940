"""Requests of one sample of one task, gathered into groups: what waits, what does not, who pays,
who fails.
"""

from __future__ import annotations

import asyncio

import pytest

from markbook.config.settings import Budget
from markbook.contract import ErrorCode
from markbook.scoring.api.auth import hash_secret
from markbook.scoring.errors import StoreUnavailableError, TeacherError
from markbook.scoring.pipeline.gathering import GroupGatherer
from markbook.scoring.store import ApiKey, Store
from markbook.scoring.types import ScoringFailure
from tests.fakes import RecordingTeacher, true_score
from tests.unit.scoring.book import commits
from tests.unit.scoring.pipeline.test_deadlines import (
    LONG,
    code,
    codes,
    counts,
    pass_time,
    score,
    until,
)

__all__ = ["pass_time"]

EIGHT = [f"f{number}" for number in range(8)]
GATHERING = {"teacher": {"gather_ms": 1000 * LONG}}
"""So long that a test ends before it, unless it moves the clock."""


class Waits:
    """The samples that wait for others, by code."""

    def __init__(self) -> None:
        self.codes: list[str] = []

    async def until(self, count: int) -> None:
        await until(lambda: len(self.codes) == count)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    seen, wait = Waits(), GroupGatherer.wait

    async def noted(self, entry, item):
        seen.codes.append(item.code)
        await wait(self, entry, item)

    monkeypatch.setattr(GroupGatherer, "wait", noted)
    return seen


def start(http, *names: str, **more: object) -> list[asyncio.Task]:
    """A request per name."""
    return [asyncio.create_task(score(http, name, **more)) for name in names]


def groups(teacher: RecordingTeacher) -> list[set[str]]:
    return [set(group.codes) for group in teacher.groups]


async def test_eight_requests_of_one_sample_make_one_call_at_once(service, teacher, database_url):
    async with service(GATHERING, database_url=database_url) as http:
        with commits() as ended:
            answers = await asyncio.gather(*start(http, *EIGHT))
        counted = await counts(http)
    assert groups(teacher) == [{code(name) for name in EIGHT}]
    for name, answer in zip(EIGHT, answers, strict=True):
        assert codes(answer) == ["teacher"]
        assert answer["results"][0]["score"] == pytest.approx(true_score(code(name)))
    # the call is in the usage of one request and counted once; 100 tokens in and 10 out per sample
    assert sorted(answer["usage"]["teacher_calls"] for answer in answers) == [0] * 7 + [1]
    assert sum(answer["usage"]["input_tokens"] for answer in answers) == 800
    assert (counted["samples"], counted["by_source"]["teacher"]) == (8, 8)
    assert (
        counted["teacher_calls"],
        counted["api_tokens_sent"],
        counted["api_tokens_received"],
    ) == (1, 800, 80)
    assert (
        len(ended) == 2
    )  # claims and reservation before the call; marks, bill and all eight lines after it


async def test_the_ninth_is_sent_when_the_window_is_over(
    service, teacher, database_url, pass_time, waits
):
    async with service(GATHERING, database_url=database_url) as http:
        asked = start(http, *EIGHT, "ninth")
        await waits.until(9)
        await until(lambda: sum(task.done() for task in asked) == 8)
        assert [len(group.codes) for group in teacher.groups] == [8]
        pass_time(LONG)
        answers = await asyncio.gather(*asked)
        counted = await counts(http)
    assert [len(group.codes) for group in teacher.groups] == [8, 1]
    assert {source for answer in answers for source in codes(answer)} == {"teacher"}
    assert (counted["samples"], counted["teacher_calls"]) == (9, 2)


async def test_fewer_than_a_group_are_sent_together_at_the_end_of_the_window(
    service, teacher, pass_time, waits
):
    async with service(GATHERING) as http:
        asked = start(http, "a", "b", "c")
        await waits.until(3)
        assert teacher.groups == []
        pass_time(LONG)
        await asyncio.gather(*asked)
    assert groups(teacher) == [{code(name) for name in "abc"}]


async def test_a_request_of_several_samples_waits_for_none_and_none_joins_it(
    service, teacher, pass_time, waits
):
    async with service(GATHERING) as http:
        asked = start(http, "a")
        await waits.until(1)
        assert codes(await score(http, "b", "c")) == ["teacher"] * 2
        assert codes(await score(http, "d", "d")) == ["teacher", "coalesced"]
        pass_time(LONG)
        await asyncio.gather(*asked)
    assert [group.codes for group in teacher.groups] == [
        (code("b"), code("c")),
        (code("d"),),
        (code("a"),),
    ]


@pytest.mark.parametrize(
    "off", [{"gather_ms": 0.0}, {"gather_ms": 1000 * LONG, "max_group_size": 1}]
)
async def test_where_nothing_is_gathered_nothing_waits(service, teacher, waits, off):
    async with service({"teacher": off}) as http:
        await asyncio.gather(*start(http, *EIGHT))
    assert [len(group.codes) for group in teacher.groups] == [1] * 8
    assert waits.codes == []


async def test_a_stub_has_no_calls_to_save_and_waits_for_nothing(service, waits):
    stub = RecordingTeacher()
    stub.is_stub = True
    async with service(GATHERING, by=stub) as http:
        assert codes(await score(http, "a")) == ["teacher"]
    assert waits.codes == []


ONE = {"prompt": "Write add(a, b).", "language": "text", "code": "one"}


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "Write add(a, b)!"},
        {"language": "cobol"},
        {"run": "another"},
        {"tests": ["assert add(1, 1) == 2"]},
        {"tests": ["assert True"], "test_setup": "import math"},
    ],
)
async def test_what_differs_in_more_than_its_code_is_not_gathered(
    service, teacher, pass_time, waits, other
):
    settings = {**GATHERING, "rlaif": {"use_tests": True, "tests_policy": "advise"}}
    if "tests" in other:
        other = {"language": "python", **other}
    async with service(settings) as http:
        first = {
            "run": "demo",
            **ONE,
            "language": other.get("language", "text") if "tests" in other else "text",
        }
        second = {**first, **other, "code": "def add(a, b):\n    return a + b\n"}
        asked = []
        for each in (first | {"code": "def one(a, b):\n    return a + b\n"}, second):
            body = {"run": each.pop("run"), "samples": [each]}
            asked.append(asyncio.create_task(http.post("/score", json=body)))
        await waits.until(2)
        pass_time(LONG)
        await asyncio.gather(*asked)
    assert [len(group.codes) for group in teacher.groups] == [1, 1]


async def test_each_key_pays_for_its_own_samples(service, teacher, database_url, pass_time, waits):
    store = Store(database_url, 1_000)
    store.open("00" * 8, {}, 1)
    for name, tokens in (("rich", None), ("poor", 219)):
        await store.keys.add(ApiKey(name, hash_secret(f"mb_{name}"), "*", Budget(tokens=tokens), 1))
    await store.close()
    async with service(GATHERING, database_url=database_url) as http:

        async def ask(key: str, name: str):
            sample = {"prompt": "Write add(a, b).", "language": "python", "code": code(name)}
            headers = {"Authorization": f"Bearer mb_{key}"}
            answer = await http.post(
                "/score", json={"run": "demo", "samples": [sample]}, headers=headers
            )
            return answer.json()

        asked = [ask("rich", "a"), ask("rich", "b"), ask("poor", "c"), ask("poor", "d")]
        tasks = [asyncio.create_task(each) for each in asked]
        await waits.until(4)
        pass_time(LONG)
        answers = await asyncio.gather(*tasks)
        stats = await http.get("/stats", headers={"Authorization": "Bearer mb_rich"})
    assert [codes(answer) for answer in answers] == [["teacher"]] * 2 + [["budget_exhausted"]] * 2
    assert groups(teacher) == [{code("a"), code("b")}]
    spent = {scope: state["spent_tokens"] for scope, state in stats.json()["budgets"].items()}
    assert (spent["key rich"], spent.get("key poor", 0)) == (220, 0)


async def test_a_spent_budget_is_typed_for_every_member_and_overspends_nothing(
    service, teacher, database_url
):
    settings = {**GATHERING, "budgets": {"per_run": {"tokens": 879}}}  # eight samples may cost 880
    async with service(settings, database_url=database_url) as http:
        answers = await asyncio.gather(*start(http, *EIGHT))
        counted = await counts(http)
    assert [codes(answer) for answer in answers] == [["budget_exhausted"]] * 8
    assert teacher.groups == []
    assert (counted["unscored_by_code"], counted["teacher_calls"]) == ({"budget_exhausted": 8}, 0)


async def test_a_call_that_fails_is_a_typed_failure_of_every_member(service, teacher, database_url):
    teacher.error = TeacherError(ErrorCode.TEACHER_UNAVAILABLE, "down", retry_after_s=3.0)
    async with service(GATHERING, database_url=database_url) as http:
        answers = await asyncio.gather(*start(http, *EIGHT))
        counted = await counts(http)
    assert [codes(answer) for answer in answers] == [["teacher_unavailable"]] * 8
    assert {answer["results"][0]["error"]["retry_after_s"] for answer in answers} == {3.0}
    assert (counted["unscored"], counted["teacher_calls"]) == (8, 1)  # the call was paid for


async def test_a_sample_that_fails_fails_alone(service, teacher, database_url):
    teacher.failures[code("f3")] = ScoringFailure(ErrorCode.TEACHER_REFUSED, "no")
    async with service(GATHERING, database_url=database_url) as http:
        answers = await asyncio.gather(*start(http, *EIGHT))
    expected = [["teacher_refused"] if name == "f3" else ["teacher"] for name in EIGHT]
    assert [codes(answer) for answer in answers] == expected


async def test_marks_that_cannot_be_stored_are_a_503_for_every_member(
    service, database_url, monkeypatch
):
    async def away(*_args):
        raise StoreUnavailableError("away")

    monkeypatch.setattr(Store, "record_group", away)
    async with service(GATHERING, database_url=database_url) as http:
        bodies = [
            {"samples": [{"prompt": "t", "language": "python", "code": code(name)}]}
            for name in EIGHT
        ]
        answers = await asyncio.gather(*(http.post("/score", json=body) for body in bodies))
    assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [
        (503, "store_unavailable")
    ] * 8
