"""pass@k by hand, what counts as passed, and what an evaluation tells of it."""

from __future__ import annotations

import json

import pytest

from markbook.contract import ExtractedFrom, SampleTests, Scored, Source
from markbook.trainer.monitoring.evaluation import (
    Evaluation,
    count_passed,
    evaluation_metrics,
    summarize,
)
from markbook.trainer.monitoring.metrics import evaluation_line, reward_metrics, sample_line
from markbook.trainer.monitoring.pass_at_k import pass_at_k, passed, reported_k
from markbook.trainer.types import Sample, Task
from tests.unit.trainer.stub import StubService, scored, unscored

TASK = Task(0, "p", "python", (1,), tests=("assert f(1) == 1", "assert f(2) == 2"))


def ran(passed, total, not_run=0, source=Source.TEACHER):
    tests = SampleTests(passed=passed, total=total, not_run=not_run)
    return Scored(
        score=0.5,
        source=source,
        criteria=None,
        extracted_from=ExtractedFrom.COMPLETION,
        key="k",
        profile="p",
        tests=tests,
    )


def heuristic():
    return Scored(
        score=0.0,
        source=Source.HEURISTIC,
        criteria=None,
        extracted_from=ExtractedFrom.COMPLETION,
        key="k",
        profile="p",
    )


def group(index, *results, tests=TASK.tests):
    task = Task(index, "p", "python", (1,), tests=tests)
    return [Sample(task, (2,), "x", truncated=False)] * len(results), list(results)


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        (ran(2, 2), True),
        (ran(1, 2, source=Source.TESTS), False),
        (ran(0, 1, not_run=1), False),  # one that failed is enough
        (ran(1, 1, not_run=1), None),  # the other might have failed
        (ran(0, 0, not_run=2), None),
        (heuristic(), False),  # what does not parse passes nothing
        (scored(0.9), None),  # by a service that ran no tests
        (unscored(), None),
    ],
)
def test_what_counts_as_passed(result, verdict):
    assert passed(TASK, result) is verdict


def test_a_task_without_tests_is_neither_passed_nor_failed():
    assert passed(Task(0, "p", "python", (1,)), heuristic()) is None
    assert count_passed([group(0, heuristic(), tests=())]) == {}


def test_pass_at_k_is_the_unbiased_estimate():
    # 4 samples, 1 passes: a pair misses it in C(3,2) / C(4,2) = 3 / 6 of all cases
    assert pass_at_k({7: (1, 4)}, 1) == {7: 0.25}
    assert pass_at_k({7: (1, 4)}, 2) == {7: 0.5}
    assert pass_at_k({7: (1, 4)}, 4) == {7: 1.0}
    assert pass_at_k({7: (0, 4), 8: (4, 4)}, 2) == {7: 0.0, 8: 1.0}
    assert pass_at_k({7: (1, 3), 8: (1, 4)}, 4) == {8: 1.0}  # of 3 samples no 4 can be drawn


@pytest.mark.parametrize(
    ("samples", "expected"), [(1, [1]), (2, [1, 2]), (4, [1, 2, 4]), (6, [1, 2, 4, 6])]
)
def test_which_k_are_reported(samples, expected):
    assert reported_k(samples) == expected


def test_an_evaluation_compares_pass_at_1_task_by_task():
    before = [
        group(0, ran(2, 2), ran(0, 2)),
        group(1, ran(0, 2), heuristic()),
        group(2, scored(0.5), tests=()),
    ]
    after = [
        group(0, ran(2, 2), ran(2, 2)),
        group(1, ran(2, 2), ran(1, 2)),
        group(2, scored(0.5), tests=()),
    ]
    done = {0: Evaluation.of(before), 4: Evaluation.of(after)}
    summary = summarize(done, 4)
    at_1 = summary["pass_at_k"]["1"]
    assert (at_1["before"], at_1["after"], at_1["difference"], at_1["tasks"]) == (
        0.25,
        0.75,
        0.5,
        2,
    )
    assert summary["pass_at_k"]["2"]["before"] == 0.5
    assert [line["pass_at_1"] for line in summary["evaluations"]] == [0.25, 0.75]
    line = {"step": 4} | {
        f"eval_{name}": value for name, value in evaluation_metrics(after, done, 4).items()
    }
    # differences 0.5 and 0.5: no deviation, so the interval is the difference itself
    assert (
        "pass@1 0.750 (+0.500 since the first, 95 % interval +0.500 to +0.500)"
        in evaluation_line(line | {"eval_seconds": 1.0})
    )


def test_without_tests_there_is_no_pass_at_k():
    done = {0: Evaluation.of([group(0, scored(0.5), tests=())])}
    summary = summarize(done, 0)
    assert "pass_at_k" not in summary
    assert summary["evaluations"][0]["pass_at_1"] is None


def test_a_step_tells_the_share_of_its_tested_samples_that_pass():
    groups = [group(0, ran(2, 2), ran(1, 2), heuristic(), unscored())]
    assert reward_metrics(groups)["pass_rate"] == pytest.approx(1 / 3)
    assert reward_metrics([group(0, scored(1.0), tests=())])["pass_rate"] is None
    samples, results = groups[0]
    lines = [
        sample_line(1, "train", sample, result)
        for sample, result in zip(samples, results, strict=True)
    ]
    assert [line["passed"] for line in lines] == [True, False, False, None]
    assert lines[1]["tests"]["passed"] == 1


def test_where_tests_are_ignored_nothing_is_known_of_what_passes(run, tmp_path):
    task = json.dumps(
        {
            "prompt": "task",
            "language": "python",
            "tests": ["assert f(1) == 1"],
            "test_setup": "x = 1",
        }
    )
    (tmp_path / "tested.jsonl").write_text(f"{task}\n" * 3)
    files = {"tasks": "tested.jsonl", "eval_tasks": "tested.jsonl"}
    for use_tests, known in ((True, 0.0), (False, None)):
        with StubService(lambda _: heuristic()) as service:
            service.policy["use_tests"] = use_tests
            folder = f"run-{use_tests}"
            assert run(service, files, {"use_tests": use_tests}, ("--run-dir", folder)) == 0
        sent = [sample.tests for request in service.requests for sample in request.samples]
        assert all(bool(tests) is use_tests for tests in sent)
        summary = json.loads((tmp_path / folder / "summary.json").read_text())
        assert summary.get("pass_at_k", {}).get("1", {}).get("before") == known
        lines = [
            json.loads(line)
            for line in (tmp_path / folder / "metrics.jsonl").read_text().splitlines()
        ]
        assert {line["pass_rate"] for line in lines if "pass_rate" in line} == {known}
