"""POST /score through the whole pipeline: sources, order, counting, failures.

The teacher is a fake that records.
"""

from __future__ import annotations

import asyncio

import pytest

from markbook.contract import ErrorCode
from markbook.scoring.errors import StoreUnavailableError, TeacherError
from markbook.scoring.store.marks import Marks
from markbook.scoring.types import ScoringFailure
from tests.fakes import RecordingTeacher, true_criteria, true_score

TASK = "Write add(a, b) that returns the sum of two numbers."


def code(name: str) -> str:
    return f"def {name}(a, b):\n    return a + b\n"


def sample(text: str, prompt: str = TASK, language: str = "python") -> dict[str, str]:
    return {"prompt": prompt, "language": language, "code": text}


async def score(http, *samples, run="demo", **more):
    answer = await http.post("/score", json={"run": run, "samples": list(samples), **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def run_counts(http, run="demo"):
    answer = await http.get("/stats", params={"run": run})
    return answer.json()["runs"][run]


def sources(answer):
    return [result["source"] for result in answer["results"]]


async def test_results_keep_the_order_and_the_marks_of_their_samples(service, teacher):
    names = [f"add_{number}" for number in range(20)]
    async with service() as http:
        answer = await score(http, *(sample(code(name)) for name in names))
    for name, result in zip(names, answer["results"], strict=True):
        assert result["criteria"] == true_criteria(code(name))
        assert result["score"] == pytest.approx(true_score(code(name)))
        assert result["source"] == "teacher"
    assert [len(group.codes) for group in teacher.groups] == [8, 8, 4]


async def test_the_second_time_comes_from_the_book_on_both_databases(
    service, teacher, database_url
):
    async with service(database_url=database_url) as http:
        first = await score(http, sample(code("add")), sample(code("plus")))
    async with service(database_url=database_url) as http:  # a new process on the same book
        second = await score(http, sample(code("add")), sample(code("plus")), sample(code("new")))
        counts = await run_counts(http)
    assert sources(first) == ["teacher", "teacher"]
    assert sources(second) == ["cache", "cache", "teacher"]
    assert [result["score"] for result in second["results"][:2]] == [
        result["score"] for result in first["results"]
    ]
    assert teacher.codes == [code("add"), code("plus"), code("new")]
    assert second["usage"] == {
        "teacher_calls": 1,
        "input_tokens": 100,
        "output_tokens": 10,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "cost_usd": pytest.approx(0.00015),
    }
    assert (counts["samples"], counts["teacher_calls"], counts["api_tokens_sent"]) == (5, 2, 300)
    assert counts["by_source"] == {
        "heuristic": 0,
        "tests": 0,
        "cache": 2,
        "coalesced": 0,
        "teacher": 3,
    }
    assert counts["cost_usd"] == pytest.approx(0.00045)


async def test_duplicates_in_one_request_are_asked_once_and_counted_each(service, teacher):
    async with service() as http:
        answer = await score(
            http, *[sample(code("add"))] * 2, sample(f"```python\n{code('add')}```")
        )
        counts = await run_counts(http)
    assert teacher.codes == [code("add")]
    assert sources(answer) == ["teacher", "coalesced", "coalesced"]
    assert len({result["score"] for result in answer["results"]}) == 1
    assert [result["extracted_from"] for result in answer["results"]] == [
        "completion",
        "completion",
        "block",
    ]
    assert counts["samples"] == sum(counts["by_source"].values()) == 3


async def test_samples_of_one_task_are_judged_together_and_of_two_tasks_apart(service, teacher):
    other = "Write sub(a, b) that returns the difference."
    async with service() as http:
        await score(
            http,
            sample(code("a1")),
            sample(code("b1"), other),
            sample(code("a2")),
            sample(code("b2"), other),
        )
    assert [group.codes for group in teacher.groups] == [
        (code("a1"), code("a2")),
        (code("b1"), code("b2")),
    ]


async def test_two_callers_at_once_cost_one_call(service, teacher):
    teacher.gate = asyncio.Event()
    async with service() as http:
        first = asyncio.create_task(score(http, sample(code("add")), run="one"))
        await teacher.asked.wait()
        second = asyncio.create_task(score(http, sample(code("add")), run="two"))
        await asyncio.sleep(0)
        teacher.gate.set()
        answers = await asyncio.gather(first, second)
        one, two = await run_counts(http, "one"), await run_counts(http, "two")
    assert [sources(answer) for answer in answers] == [["teacher"], ["coalesced"]]
    assert len(teacher.groups) == 1
    assert (one["teacher_calls"], two["teacher_calls"]) == (1, 0)
    assert answers[1]["usage"]["teacher_calls"] == 0


async def test_a_caller_that_goes_away_does_not_cancel_the_call_others_wait_for(service, teacher):
    teacher.gate = asyncio.Event()
    async with service() as http:
        first = asyncio.create_task(score(http, sample(code("add"))))
        await teacher.asked.wait()
        second = asyncio.create_task(score(http, sample(code("add"))))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        teacher.gate.set()
        assert sources(await second) == ["coalesced"]
    assert len(teacher.groups) == 1


async def test_broken_code_is_rejected_before_anyone_pays(service, teacher):
    async with service() as http:
        answer = await score(
            http, sample("def add(a, b:\n    return a + b\n"), sample("x"), sample(code("add"))
        )
        again = await score(http, sample("x"))
    broken, short, good = answer["results"]
    for result in (broken, short):
        assert result["source"] == "heuristic"
        assert 0.0 <= result["score"] <= 0.05
        assert result["criteria"] is None
        assert result["reasons"]
    assert good["source"] == "teacher"
    assert sources(again) == ["heuristic"]
    assert teacher.codes == [code("add")]


async def test_without_the_tier_the_teacher_sees_everything(service, teacher):
    async with service({"rlaif": {"use_tiered_scoring": False}}) as http:
        answer = await score(http, sample("def add(a, b:"))
    assert sources(answer) == ["teacher"]
    assert teacher.codes == ["def add(a, b:"]


async def test_the_task_is_truncated_for_the_teacher_and_whole_in_the_key(service, teacher):
    long = "word " * 100
    async with service() as http:
        one = await score(http, sample(code("add"), long + "ending one"))
        two = await score(http, sample(code("add"), long + "ending two"))
    assert one["results"][0]["key"] != two["results"][0]["key"]
    assert sources(two) == ["teacher"]
    assert all(len(group.task) < len(long) / 2 for group in teacher.groups)
    async with service({"rlaif": {"truncate_prompt_for_scoring": False}}) as http:
        await score(http, sample(code("add"), long + "ending one"))
    assert teacher.groups[-1].task == long + "ending one"


@pytest.mark.parametrize(
    "change",
    [
        {"rlaif": {"truncate_prompt_for_scoring": False}},
        {"rlaif": {"prompt_context_chars": 201}},
        {"rlaif": {"prompt_context_policy": "head_tail"}},
        {"rlaif": {"move_rubric_to_system_prompt": False}},
        {"teacher": {"max_group_size": 7}},
    ],
)
async def test_another_setting_that_marks_depend_on_is_another_book(service, change):
    async with service() as http:
        first = await score(http, sample(code("add")))
    async with service(change) as http:
        second = await score(http, sample(code("add")))
    assert sources(second) == ["teacher"]
    assert first["results"][0]["key"] == second["results"][0]["key"]
    assert first["results"][0]["profile"] != second["results"][0]["profile"]


async def test_settings_that_marks_do_not_depend_on_keep_the_book(service):
    async with service() as http:
        await score(http, sample(code("add")))
    async with service({"rlaif": {"kl_penalty": 0.5, "use_tiered_scoring": False}}) as http:
        assert sources(await score(http, sample(code("add")))) == ["cache"]


ALL_FAILURES = [ScoringFailure(failure, "why", 2.5) for failure in ErrorCode]


@pytest.mark.parametrize("failure", ALL_FAILURES, ids=lambda failure: failure.code)
async def test_a_failed_sample_never_becomes_a_number(service, teacher, failure):
    """The law.

    One sample of three fails: it has no score, is not kept, and is asked again next time.
    """
    teacher.failures[code("bad")] = failure
    batch = [sample(code("ok1")), sample(code("bad")), sample(code("ok2"))]
    async with service() as http:
        answer = await score(http, *batch)
        counts = await run_counts(http)
        teacher.failures.clear()
        again = await score(http, *batch)
    bad = answer["results"][1]
    assert (bad["status"], bad["score"], bad["source"]) == ("unscored", None, None)
    assert bad["error"] == {"code": failure.code, "detail": "why", "retry_after_s": 2.5}
    assert [answer["results"][index]["score"] for index in (0, 2)] == [
        pytest.approx(true_score(code("ok1"))),
        pytest.approx(true_score(code("ok2"))),
    ]
    assert (counts["samples"], counts["unscored"], counts["unscored_by_code"]) == (
        3,
        1,
        {failure.code: 1},
    )
    assert sources(again) == ["cache", "teacher", "cache"]
    assert again["results"][1]["score"] == pytest.approx(true_score(code("bad")))


@pytest.mark.parametrize("failure", list(ErrorCode))
async def test_a_failed_call_leaves_every_sample_unscored_and_its_bill_counted(
    service, teacher, failure
):
    teacher.error = TeacherError(failure, "down", retry_after_s=9.0)
    async with service() as http:
        answer = await score(http, sample(code("add")), sample(code("plus")), sample(code("add")))
        counts = await run_counts(http)
        stats = (await http.get("/stats")).json()
    assert [result["score"] for result in answer["results"]] == [None, None, None]
    assert {result["error"]["code"] for result in answer["results"]} == {failure.value}
    assert counts["unscored"] == counts["samples"] == 3
    assert (counts["api_tokens_sent"], counts["teacher_calls"]) == (
        300 - 100,
        1,
    )  # distinct samples are paid for
    assert stats["cache"]["entries"] == 0


async def test_one_groups_failure_keeps_anothers_marks(service):
    class HalfBroken(RecordingTeacher):
        async def mark(self, group, purse):
            if "bad" in group.task:
                raise RuntimeError("a defect")
            return await super().mark(group, purse)

    async with service(by=HalfBroken()) as http:
        answer = await http.post(
            "/score",
            json={"samples": [sample(code("a"), "a bad task"), sample(code("b"), "a fine task")]},
        )
        again = await score(http, sample(code("b"), "a fine task"))
    assert answer.status_code == 500
    assert answer.json()["error"] == "internal_error"
    assert sources(again) == ["cache"]


async def test_a_store_that_is_away_is_a_503_and_no_mark(service, teacher, monkeypatch):
    async with service() as http:

        async def away(*_args):
            raise StoreUnavailableError("the database cannot be used")

        with monkeypatch.context() as patch:
            patch.setattr(Marks, "get", away)
            answer = await http.post("/score", json={"samples": [sample(code("add"))]})
        assert (answer.status_code, answer.json()["error"]) == (503, "store_unavailable")
        assert answer.headers["retry-after"] == "1"
        assert teacher.groups == []
        assert sources(await score(http, sample(code("add")))) == ["teacher"]


async def test_a_request_sent_again_is_counted_once(service):
    async with service() as http:
        for _ in range(2):
            await score(http, sample(code("add")), request_id="0123456789abcdef")
        counts = await run_counts(http)
    assert counts["samples"] == 1


async def test_an_id_that_is_used_for_something_else_is_counted_too(service):
    async with service() as http:
        await score(http, sample(code("add")), request_id="0123456789abcdef")
        await score(http, sample(code("plus")), request_id="0123456789abcdef")
        await score(http, sample(code("add")), request_id="0123456789abcdef", run="other")
        counts = [await run_counts(http, run) for run in ("demo", "other")]
    assert [block["samples"] for block in counts] == [2, 1]


async def test_a_spent_budget_leaves_new_samples_unscored_and_the_book_open(service, teacher):
    # a group of one sample is bound at 100 tokens in and 10 out
    async with service(
        {"budgets": {"per_run": {"tokens": 220}}, "teacher": {"max_group_size": 1}}
    ) as http:
        first = await score(http, sample(code("one")), sample(code("two")))
        over = await score(http, sample(code("three")), sample(code("one")))
        other = await score(http, sample(code("three")), run="other")
        stats = (await http.get("/stats")).json()
    assert sources(first) == ["teacher", "teacher"]
    assert sources(over) == [None, "cache"]
    assert over["results"][0]["error"]["code"] == "budget_exhausted"
    assert sources(other) == ["teacher"]
    assert stats["budgets"]["run demo"] == {
        "spent_usd": pytest.approx(0.0003),
        "limit_usd": None,
        "spent_tokens": 220,
        "limit_tokens": 220,
        "per": None,
    }
    assert stats["budgets"]["total"]["spent_tokens"] == 330
    assert stats["runs"]["demo"]["unscored_by_code"] == {"budget_exhausted": 1}
