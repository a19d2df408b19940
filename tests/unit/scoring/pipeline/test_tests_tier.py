"""Samples with tests through the whole pipeline: what fails is scored here, what passes goes to
the teacher, kept.
"""

from __future__ import annotations

import pytest

from markbook.contract import ErrorCode, SampleTests
from markbook.scoring.errors import ExecutionUnavailableError
from markbook.scoring.execution import TestResult, TestRunner, Verdict
from markbook.scoring.pipeline.sample_tests import share_passed, summarized, with_verdict
from markbook.scoring.types import ScoringFailure
from tests.fakes import true_criteria
from tests.unit.scoring.pipeline.test_score import run_counts, score, sources

TASK = "Write add(a, b) that returns the sum of two numbers."
TESTS = ["assert add(1, 2) == 3", "assert add(-1, 1) == 0", "assert add(2, 2) == 4"]
RIGHT = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    return a * b\n"  # right for 2 and 2 alone
BROKEN = "def add(a, b:\n    return a + b\n"


def sample(code: str, tests: list[str] | None = None, **more: object) -> dict[str, object]:
    chosen = TESTS if tests is None else tests
    return {"prompt": TASK, "language": "python", "code": code, "tests": chosen, **more}


@pytest.fixture
def ran(monkeypatch) -> list[str]:
    """The code of every sample that a sandbox was given."""
    codes: list[str] = []
    run = TestRunner.run_sync

    def noted(self, code, tests, setup=""):
        codes.append(code)
        return run(self, code, tests, setup)

    monkeypatch.setattr(TestRunner, "run_sync", noted)
    return codes


async def test_what_fails_is_scored_for_free_and_what_passes_is_correct_whoever_says_what(
    service, teacher, database_url, ran
):
    async with service(database_url=database_url) as http:
        answer = await score(http, sample(WRONG), sample(RIGHT), sample(BROKEN))
        counts = await run_counts(http)
    wrong, right, broken = answer["results"]
    assert sources(answer) == ["tests", "teacher", "heuristic"]
    # one of three tests: 0.05 + (0.3 - 0.05) / 3
    assert wrong["score"] == pytest.approx(0.05 + 0.25 / 3, abs=1e-6)
    assert (wrong["criteria"], wrong["reasons"]) == (
        {"correctness": pytest.approx(1 / 3, abs=1e-6)},
        ["tests_failed"],
    )
    assert (wrong["tests"]["passed"], wrong["tests"]["total"], wrong["tests"]["not_run"]) == (
        1,
        3,
        0,
    )
    assert wrong["tests"]["first_failure"] == "assert add(1, 2) == 3: expected 3, got 2"
    theirs = true_criteria(RIGHT)
    assert right["criteria"] == {**theirs, "correctness": 1.0}
    assert theirs["correctness"] < 1
    expected = (
        0.3
        + 0.3 * theirs["code_quality"]
        + 0.2 * theirs["efficiency"]
        + 0.2 * theirs["documentation"]
    )
    assert right["score"] == pytest.approx(expected)
    assert right["tests"] == {"passed": 3, "total": 3, "first_failure": None, "not_run": 0}
    assert broken["tests"] is None
    assert teacher.codes == [RIGHT.strip("\n")] or teacher.codes == [RIGHT]
    assert counts["by_source"] == {
        "heuristic": 1,
        "tests": 1,
        "cache": 0,
        "coalesced": 0,
        "teacher": 1,
    }
    assert len(ran) == 2  # what does not parse is not run


async def test_the_second_time_nothing_is_run_and_nobody_asked_on_both_databases(
    service, teacher, database_url, ran
):
    for _ in range(2):  # the second one is a new process on the same store
        async with service(database_url=database_url) as http:
            answer = await score(http, sample(WRONG), sample(RIGHT))
    assert sources(answer) == ["tests", "cache"]
    assert answer["results"][1]["criteria"]["correctness"] == 1.0
    assert answer["results"][0]["tests"]["first_failure"].startswith("assert add(1, 2) == 3")
    assert len(ran) == 2
    assert len(teacher.groups) == 1


async def test_the_store_has_the_teachers_own_correctness(service):
    async with service() as http:
        answer = await score(http, sample(RIGHT))
        kept = await http.get("/marks", params={"key": answer["results"][0]["key"]})
        await score(http, sample(RIGHT, tests=[]))
    [mark] = kept.json()["marks"]
    assert mark["criteria"] == true_criteria(RIGHT)
    assert mark["tests_digest"] is not None


async def test_other_tests_are_another_mark_and_no_tests_a_third(service, teacher):
    async with service() as http:
        for tests in (TESTS, TESTS[:1], []):
            assert sources(await score(http, sample(RIGHT, tests))) == ["teacher"]
        assert sources(await score(http, sample(RIGHT, test_setup="x = 1"))) == ["teacher"]
    assert len(teacher.groups) == 4


async def test_advise_asks_about_all_and_sets_their_correctness(service, teacher):
    async with service({"rlaif": {"tests_policy": "advise"}}) as http:
        answer = await score(http, sample(WRONG), sample(RIGHT))
    assert sources(answer) == ["teacher", "teacher"]
    assert [result["criteria"]["correctness"] for result in answer["results"]] == [
        pytest.approx(1 / 3, abs=1e-6),
        1.0,
    ]


async def test_only_asks_nobody(service, teacher):
    async with service({"rlaif": {"tests_policy": "only"}}) as http:
        answer = await score(
            http, sample(WRONG), sample(RIGHT), sample(RIGHT, []), sample(BROKEN, [])
        )
        again = await score(http, sample(RIGHT))
    wrong, right, untested, broken = answer["results"]
    assert wrong["score"] == pytest.approx(0.05 + 0.25 / 3, abs=1e-6)
    assert (right["score"], right["criteria"], right["source"]) == (
        1.0,
        {"correctness": 1.0},
        "tests",
    )
    assert untested["error"]["code"] == "tests_missing"
    assert broken["source"] == "heuristic"
    assert again["results"][0]["score"] == 1.0
    assert teacher.groups == []


async def test_without_use_tests_they_are_as_if_they_were_not_there(service, teacher, ran):
    async with service({"rlaif": {"use_tests": False}}) as http:
        answer = await score(http, sample(WRONG))
        plain = await score(http, sample(WRONG, []))
    assert sources(answer) == ["teacher"]
    assert answer["results"][0]["tests"] is None
    assert sources(plain) == ["cache"]
    assert ran == []


async def test_tests_in_another_language_are_refused_and_say_why(service, teacher):
    async with service() as http:
        answer = await score(
            http, sample("int add(int a, int b) { return a + b; }", language="c++")
        )
    error = answer["results"][0]["error"]
    assert error["code"] == "tests_unsupported"
    assert "python only, not in cpp" in error["detail"]
    assert teacher.groups == []


async def test_a_broken_sandbox_is_no_mark_and_asking_again_helps(service, teacher, monkeypatch):
    async def away(self, *_: object, **__: object) -> list[TestResult]:
        raise ExecutionUnavailableError("the pool is dead")

    async with service() as http:
        with monkeypatch.context() as patched:
            patched.setattr(TestRunner, "run", away)
            answer = await score(http, sample(WRONG), sample(RIGHT, []))
        again = await score(http, sample(WRONG))
    assert answer["results"][0]["error"] == {
        "code": "execution_unavailable",
        "detail": "the pool is dead",
        "retry_after_s": 1.0,
    }
    assert answer["results"][1]["source"] == "teacher"
    assert sources(again) == ["tests"]


async def test_a_timeout_fails_and_is_run_once_again(service, monkeypatch, ran):
    def slow(self, code, tests, setup=""):
        ran.append(code)
        return [TestResult(Verdict.TIMED_OUT, "2 s are over")] * len(tests)

    monkeypatch.setattr(TestRunner, "run_sync", slow)
    async with service() as http:
        for runs in (1, 2, 2):
            answer = await score(http, sample(RIGHT))
            assert sources(answer) == ["tests"]
            assert answer["results"][0]["score"] == pytest.approx(0.05)
            assert len(ran) == runs
    async with service() as http:  # kept in the store, too
        assert sources(await score(http, sample(RIGHT))) == ["tests"]
    assert len(ran) == 2


async def test_a_teacher_that_fails_leaves_what_passed_unscored_and_never_a_number(
    service, teacher
):
    teacher.failures[RIGHT.rstrip("\n")] = teacher.failures[RIGHT] = ScoringFailure(
        ErrorCode.TEACHER_REFUSED, "declined"
    )
    async with service() as http:
        answer = await score(http, sample(RIGHT), sample(WRONG))
    assert answer["results"][0]["error"]["code"] == "teacher_refused"
    assert answer["results"][1]["source"] == "tests"


PASSED, FAILED, LACKS = (
    TestResult(verdict, verdict) for verdict in (Verdict.PASSED, Verdict.FAILED, Verdict.CANNOT_RUN)
)


@pytest.mark.parametrize(
    ("results", "counts", "share"),
    [
        ([PASSED, PASSED], (2, 2, 0), 1.0),
        ([PASSED, FAILED], (1, 2, 0), 0.5),
        ([PASSED, LACKS], (1, 1, 1), None),  # what was not run might have failed
        ([LACKS, LACKS], (0, 0, 2), None),
        ([FAILED, LACKS], (0, 1, 1), 0.0),
        (
            [TestResult(Verdict.OUT_OF_MEMORY), TestResult(Verdict.TIMED_OUT), PASSED],
            (1, 3, 0),
            pytest.approx(1 / 3),
        ),
    ],
)
def test_what_results_sum_to(results, counts, share):
    verdict = summarized(["t"] * len(results), results)
    assert (verdict.passed, verdict.total, verdict.not_run) == counts
    assert share_passed(verdict) == share


def test_the_first_failure_is_short_and_fits_any_database():
    verdict = summarized(
        ["assert f()\n"], [TestResult(Verdict.FAILED, "got \x00\ud800" + "x" * 9_000)]
    )
    assert verdict.first_failure is not None
    assert verdict.first_failure.startswith("assert f(): got \\x00?")
    assert len(verdict.first_failure) == 400


def test_what_was_not_shown_leaves_the_teachers_number():
    criteria = {"correctness": 0.4, "code_quality": 0.5}
    assert with_verdict(criteria, None) == criteria
    assert with_verdict(criteria, SampleTests(passed=1, total=1, not_run=1)) == criteria
    assert with_verdict(criteria, SampleTests(passed=1, total=1)) == {
        **criteria,
        "correctness": 1.0,
    }
    assert with_verdict({"style": 0.4}, SampleTests(passed=1, total=1)) == {"style": 0.4}
