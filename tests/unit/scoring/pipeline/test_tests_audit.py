"""Audits of samples that failed a test: which the teacher sees as well, and what /stats makes of
both.
"""

from __future__ import annotations

import asyncio

import pytest

from markbook.config.loading import ConfigError, parse_config
from markbook.contract import ErrorCode, Stats
from markbook.scoring.app import create_app
from markbook.scoring.cli.stats import lines
from markbook.scoring.errors import StoreUnavailableError, TeacherError
from markbook.scoring.store.tests_audits import TestsAudits
from markbook.scoring.types import Judgment, ScoringFailure
from tests.fakes import RecordingTeacher, true_criteria
from tests.unit.scoring.pipeline.test_score import score, sources
from tests.unit.scoring.pipeline.test_tests_tier import BROKEN, RIGHT, WRONG, sample

ALL = {"rlaif": {"tests_audit_rate": 1.0}}


class SureTeacher(RecordingTeacher):
    """Calls everything correct that returns anything, but for what is in `doubted`."""

    def __init__(self) -> None:
        super().__init__()
        self.doubted: set[str] = set()

    async def mark(self, group, purse):
        outcomes = await super().mark(group, purse)
        found = []
        for code, outcome in zip(group.codes, outcomes, strict=True):
            number = 0.49 if code.strip() in self.doubted else 0.5
            given = {**true_criteria(code), "correctness": number}
            found.append(Judgment(given) if isinstance(outcome, Judgment) else outcome)
        return tuple(found)


@pytest.fixture
def teacher() -> SureTeacher:
    return SureTeacher()


async def stats(http, run: str | None = None):
    return (await http.get("/stats", params={"run": run} if run else {})).json()


def right(name: str) -> str:
    return f"def add(a, b):\n    {name} = a + b\n    return {name}\n"


def wrong(name: str) -> str:
    return f"def add(a, b):\n    {name} = a * b\n    return {name}\n"


async def test_by_default_only_what_passes_is_compared(service, teacher, database_url):
    async with service(database_url=database_url) as http:
        answer = await score(http, sample(WRONG), sample(RIGHT), sample(BROKEN))
        counted = await stats(http)
    assert sources(answer) == ["tests", "teacher", "heuristic"]
    [count] = counted["agreement"]["counts"]
    assert (count["run"], count["language"], count["model"]) == ("demo", "python", "recording-1")
    assert count["rubric"] == counted["profile_inputs"]["rubric"]
    assert (count["passed"], count["passed_agreeing"], count["failed"]) == (1, 1, 0)
    assert (count["agreement"], count["auc"]) == (1.0, None)
    # one of one by Wilson: 1 / (1 + 3.841459) to 1
    assert (count["low"], count["high"]) == (pytest.approx(0.206549, abs=1e-6), 1.0)
    assert counted["runs"]["demo"]["agreement"]["passed"] == 1
    assert counted["agreement"]["tests_audit_rate"] == 0.0
    assert len(teacher.codes) == 1


async def test_an_audit_changes_no_mark_is_billed_and_counted(service, teacher, database_url):
    async with service(ALL, database_url=database_url) as http:
        answer = await score(http, sample(WRONG), sample(RIGHT), sample(BROKEN))
        counted = await stats(http)
    failed, passed, _ = answer["results"]
    assert sources(answer) == ["tests", "teacher", "heuristic"]
    assert failed["score"] == pytest.approx(0.05 + 0.25 / 3, abs=1e-6)
    assert failed["criteria"] == {"correctness": pytest.approx(1 / 3, abs=1e-6)}
    assert passed["criteria"]["correctness"] == 1.0
    assert sorted(code.strip() for code in teacher.codes) == sorted([WRONG.strip(), RIGHT.strip()])
    assert answer["usage"]["teacher_calls"] == 2
    assert answer["usage"]["input_tokens"] == 200
    assert counted["budgets"]["run demo"]["spent_tokens"] == 220
    assert counted["runs"]["demo"]["by_source"]["tests"] == 1
    assert counted["cache"]["entries"] == 1
    # passed: 0.5 is right; failed: 0.5 is called right, which is wrong
    [count] = counted["agreement"]["counts"]
    kinds = ("passed", "passed_agreeing", "failed", "failed_agreeing")
    assert [count[name] for name in kinds] == [1, 1, 1, 0]
    assert count["agreement"] == 0.5
    assert counted["audits"]["counts"] == []


async def test_both_sides_of_a_half_and_an_auc_from_ten_of_either_kind(service, teacher):
    teacher.doubted = {right("r0").strip(), *(wrong(f"w{number}").strip() for number in range(6))}
    batch = [sample(right(f"r{number}")) for number in range(10)] + [
        sample(wrong(f"w{number}")) for number in range(9)
    ]
    async with service(ALL) as http:
        await score(http, *batch)
        [before] = (await stats(http))["agreement"]["counts"]
        await score(http, sample(wrong("w9")))
        [count] = (await stats(http))["agreement"]["counts"]
    assert (before["failed"], before["auc"]) == (9, None)
    assert (count["passed_agreeing"], count["passed"]) == (9, 10)
    assert (count["failed_agreeing"], count["failed"]) == (6, 10)
    assert count["agreement"] == pytest.approx((0.9 + 0.6) / 2)
    # of 10 x 10 pairs: 9 x 6 in order, 9 x 4 and 1 x 6 ties, 1 x 4 against it
    assert count["auc"] == pytest.approx((54 + 42 / 2) / 100)


async def test_a_sample_is_audited_once_whoever_sends_it_and_its_mark_stays(
    service, teacher, database_url
):
    async with service(ALL, database_url=database_url) as http:
        await score(http, sample(WRONG), sample(WRONG))
        await score(http, sample(WRONG), run="other")
    async with service(
        ALL, database_url=database_url
    ) as http:  # another replica, whose verdicts are in the store
        again = await score(http, sample(WRONG))
        counted = await stats(http)
    assert sources(again) == ["tests"]
    assert len(teacher.codes) == 1
    assert [(each["run"], each["failed"]) for each in counted["agreement"]["counts"]] == [
        ("demo", 1)
    ]


async def test_what_failed_is_audited_the_next_time_from_the_known_verdict(
    service, teacher, database_url
):
    teacher.failures[WRONG] = ScoringFailure(ErrorCode.REPLY_UNREADABLE, "why")
    async with service(ALL, database_url=database_url) as http:
        first = await score(http, sample(WRONG))
        assert (await stats(http))["agreement"]["counts"] == []
        teacher.failures.clear()
        second = await score(http, sample(WRONG))
        [count] = (await stats(http))["agreement"]["counts"]
    assert [each["results"][0]["source"] for each in (first, second)] == ["tests", "tests"]
    assert count["failed"] == 1


@pytest.mark.parametrize("failure", [ErrorCode.TEACHER_UNAVAILABLE, ErrorCode.BUDGET_EXHAUSTED])
async def test_a_teacher_that_is_away_changes_no_mark(service, teacher, failure):
    teacher.error = TeacherError(failure, "down")
    async with service(ALL) as http:
        answer = await score(http, sample(WRONG))
    assert sources(answer) == ["tests"]


@pytest.mark.parametrize("method", ["acquire", "record"])
async def test_a_store_that_cannot_keep_audits_changes_no_mark(service, monkeypatch, method):
    async def away(*_args):
        raise StoreUnavailableError("the database cannot be used")

    async with service(ALL) as http:
        with monkeypatch.context() as patch:
            patch.setattr(TestsAudits, method, away)
            answer = await score(http, sample(WRONG))
    assert sources(answer) == ["tests"]


@pytest.mark.parametrize(("tokens", "audited"), [(109, 0), (110, 1)])
async def test_budgets_hold_for_audits(
    service, teacher, tokens, audited
):  # one sample is bound at 110
    async with service(ALL | {"budgets": {"per_run": {"tokens": tokens}}}) as http:
        answer = await score(http, sample(WRONG))
        counted = await stats(http)
    assert sources(answer) == ["tests"]
    assert sum(each["failed"] for each in counted["agreement"]["counts"]) == audited
    assert counted["totals"]["unscored"] == 0


async def test_a_request_does_not_wait_for_audits_past_its_deadline(service, teacher):
    async with service() as http:
        await score(
            http, sample(WRONG)
        )  # so that its verdict is known: a sandbox takes longer to start
    teacher.gate = asyncio.Event()
    async with service(ALL) as http:
        body = {"run": "demo", "timeout_s": 1.0, "samples": [sample(WRONG)]}
        answer = (await http.post("/score", json=body)).json()
        await teacher.asked.wait()
        teacher.gate.set()
    async with service(ALL) as http:  # closing waited for the call
        [count] = (await stats(http))["agreement"]["counts"]
    assert (sources(answer), count["failed"]) == (["tests"], 1)


async def test_with_advise_what_fails_is_judged_anyway_and_not_audited(service, teacher):
    async with service({"rlaif": {"tests_policy": "advise", "tests_audit_rate": 1.0}}) as http:
        answer = await score(http, sample(WRONG), sample(RIGHT))
        [count] = (await stats(http))["agreement"]["counts"]
    assert sources(answer) == ["teacher", "teacher"]
    assert len(teacher.codes) == 2
    assert (count["passed"], count["failed"]) == (1, 1)


async def test_samples_without_tests_and_cached_marks_count_nothing_more(service):
    async with service() as http:
        await score(http, sample(RIGHT))
        await score(http, sample(RIGHT), run="other")
        await score(http, sample("def add(a, b):\n    return b + a\n", []))
        counted = await stats(http)
    assert [(each["run"], each["passed"]) for each in counted["agreement"]["counts"]] == [
        ("demo", 1)
    ]


async def test_the_series_and_one_run(service):
    async with service(ALL) as http:
        await score(http, sample(RIGHT))
        await score(http, sample(WRONG), run="other")
        [point] = (await http.get("/stats/series")).json()["points"]
        mine = (await stats(http, "demo"))["agreement"]["counts"]
    assert {
        run: (each["agreement"]["passed"], each["agreement"]["failed"])
        for run, each in point["runs"].items()
    } == {
        "demo": (1, 0),
        "other": (0, 1),
    }
    assert [each["run"] for each in mine] == ["demo"]


async def test_metrics_count_what_both_say(service):
    async with service(ALL) as http:
        await score(http, sample(RIGHT), sample(WRONG))
        text = (await http.get("/metrics")).text
    name = "markbook_teacher_agreement_samples_total"
    assert f'{name}{{language="python",teacher="agrees",tests="passed"}} 1.0' in text
    assert f'{name}{{language="python",teacher="disagrees",tests="failed"}} 1.0' in text
    assert "markbook_teacher_agreement_low_runs 0.0" in text


def test_settings_that_cannot_work_are_refused_in_one_line(tmp_path, sqlite_url):
    with pytest.raises(
        ConfigError,
        match=r"rlaif\.tests_audit_rate is 0\.1, expected 0 with rlaif\.tests_policy: only",
    ):
        parse_config({"rlaif": {"tests_policy": "only", "tests_audit_rate": 0.1}})
    rubric = tmp_path / "style.md"
    rubric.write_text("---\ncriteria: {style: 1.0}\n---\nJudge the style.\n")
    settings = {"store": {"database_url": sqlite_url}, "teacher": {"rubric": str(rubric)}, **ALL}
    with pytest.raises(ConfigError, match="the rubric has no criterion correctness"):
        create_app(parse_config(settings), RecordingTeacher())


async def test_the_command_shows_what_each_figure_rests_on(service, teacher):
    teacher.doubted = {RIGHT.strip()}
    async with service(ALL) as http:
        await score(http, sample(RIGHT), sample(WRONG), sample(right("r")), run="team-a/7")
        told = list(lines(Stats.model_validate((await http.get("/stats")).json())))
    start = next(number for number, line in enumerate(told) if line.startswith("AGAINST TESTS"))
    assert told[start].split() == [
        "AGAINST",
        "TESTS",
        "MODEL",
        "RUBRIC",
        "PASSED",
        "FAILED",
        "AGREES",
        "AUC",
    ]
    # one of two by Wilson: 0.0945 to 0.9055; none of one: 0 to 0.7935; the mean of 0.5 and 0 is
    # 0.25: below sqrt(0.4055²) / 2, above sqrt(0.4055² + 0.7935²) / 2
    assert told[start + 1].split()[3:] == ["1/2", "0/1", "0.25", "(0.05-0.70)", "-"]
    assert max(map(len, told)) <= 80
