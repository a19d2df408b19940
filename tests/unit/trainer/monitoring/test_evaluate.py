"""Comparing evaluations: intervals by hand and by table, what is left out."""

from __future__ import annotations

import math

import pytest

from markbook.contract import ExtractedFrom, Scored, Source
from markbook.trainer.monitoring.evaluation import (
    Evaluation,
    compare,
    evaluation_metrics,
    summarize,
    without_documentation,
)
from markbook.trainer.types import Sample, Task
from tests.unit.trainer.stub import scored, unscored


def group(index, *results):
    task = Task(index, "p", "python", (1,))
    return [Sample(task, (2,), "x", truncated=False)] * len(results), list(results)


def test_the_interval_is_over_paired_differences():
    summary = compare({0: 0.4, 1: 0.5, 2: 0.3, 3: 0.9}, {0: 0.6, 1: 0.9, 2: 0.6, 4: 0.1})
    assert summary["tasks"] == 3  # 3 and 4 were not scored both times
    assert summary["before"] == pytest.approx(0.4)
    assert summary["after"] == pytest.approx(0.7)
    assert summary["difference"] == pytest.approx(0.3)
    half = 4.30265 * 0.1 / math.sqrt(3)  # differences 0.2 0.4 0.3: standard deviation 0.1
    assert summary["interval_95"] == pytest.approx([0.3 - half, 0.3 + half], abs=1e-5)


def test_with_one_task_there_is_no_interval_and_with_none_no_number():
    assert compare({0: 0.4}, {0: 0.6})["interval_95"] is None
    nothing = compare({}, {})
    assert [nothing[key] for key in ("before", "after", "difference", "interval_95")] == [None] * 4


def test_a_run_that_ended_early_tells_what_it_knows():
    assert summarize({}, 0) == {}
    before, between = (Evaluation.of([group(0, scored(mark), scored(0.4))]) for mark in (0.2, 0.8))
    for early in (summarize({0: before}, 0), summarize({0: before, 10: between}, 12)):
        assert early["mark"]["before"] == pytest.approx(0.3)
        assert early["mark"]["after"] is None


def test_after_is_the_evaluation_of_what_the_run_leaves():
    marks = {0: 0.2, 10: 0.8, 20: 0.5}
    done = {
        step: Evaluation.of([group(0, scored(mark), unscored())]) for step, mark in marks.items()
    }
    summary = summarize(done, 20)
    assert summary["mark"]["after"] == pytest.approx(0.5)
    assert summary["mark"]["difference"] == pytest.approx(0.3)
    assert [(line["step"], line["mark"], line["unscored"]) for line in summary["evaluations"]] == [
        (0, 0.2, 1), (10, 0.8, 1), (20, 0.5, 1),
    ]  # fmt: skip
    assert summary["unscored_in_evaluations"] == 3


def test_the_line_of_an_evaluation_counts_tasks_alike_and_compares_with_the_first():
    first = [group(0, scored(0.2), scored(0.4)), group(1, scored(0.5), unscored())]
    later = [group(0, scored(0.6), scored(0.8)), group(1, scored(0.7), scored(0.7))]
    done = {0: Evaluation.of(first)}
    line = evaluation_metrics(first, done, 0)
    assert line["mark"] == pytest.approx(0.4)  # of 0.3 and 0.5, not of three samples
    assert (line["difference"], line["interval_95"], line["scored"], line["unscored"]) == (
        None,
        None,
        3,
        1,
    )
    line = evaluation_metrics(later, done | {5: Evaluation.of(later)}, 5)
    assert line["mark"] == pytest.approx(0.7)
    assert line["difference"] == pytest.approx(0.3)  # 0.4 and 0.2
    half = 12.7062 * math.sqrt(0.02) / math.sqrt(2)
    assert line["interval_95"] == pytest.approx([0.3 - half, 0.3 + half], abs=1e-4)


def test_an_unscored_sample_is_no_number():
    evaluation = Evaluation.of(
        [group(0, scored(0.2), unscored()), group(1, unscored(), unscored())]
    )
    assert evaluation.marks == {0: 0.2}
    assert evaluation.unscored == 3


def test_without_documentation_the_other_weights_fill_up():
    criteria = {"correctness": 0.8, "code_quality": 0.4, "efficiency": 0.6, "documentation": 0.0}
    assert without_documentation(scored(0.48, criteria)) == pytest.approx(
        (0.3 * 0.8 + 0.3 * 0.4 + 0.2 * 0.6) / 0.8
    )
    rejected = Scored(
        score=0.05,
        source=Source.HEURISTIC,
        criteria=None,
        extracted_from=ExtractedFrom.COMPLETION,
        key="k",
        profile="p",
    )
    assert without_documentation(rejected) == 0.05
    assert without_documentation(scored(0.7, {"style": 0.7})) == 0.7
