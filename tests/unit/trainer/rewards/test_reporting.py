"""Evaluations are reported to the service, and a report that fails is a line of the log and
nothing else.
"""

from __future__ import annotations

import math
import threading

import pytest

from markbook.client import ScoringClient
from markbook.trainer.monitoring.evaluation import Evaluation, reported_metrics
from markbook.trainer.rewards import reporting
from markbook.trainer.rewards.reporting import EvaluationReporter
from tests.unit.trainer.stub import StubService, scored

EVALUATION = Evaluation({0: 0.2, 1: 0.4, 2: 0.6}, {}, 0, {0: (1, 2), 1: (2, 2)})


def test_means_are_over_tasks_with_their_interval():
    found = reported_metrics(EVALUATION)
    half = 4.30265 * 0.2 / math.sqrt(3)  # of three tasks with a standard deviation of 0.2
    assert found["mark"].value == pytest.approx(0.4)
    assert (found["mark"].low, found["mark"].high) == (
        0.0,
        pytest.approx(0.4 + half, abs=1e-5),
    )  # 0.4 - half is below 0
    assert (found["pass_at_1"].value, found["pass_at_1"].low, found["pass_at_1"].high) == (
        0.75,
        0.0,
        1.0,
    )


def test_one_task_has_no_interval_and_none_no_metric():
    alone = reported_metrics(Evaluation({0: 0.2}, {}, 0))
    assert (list(alone), alone["mark"].value, alone["mark"].low, alone["mark"].high) == (
        ["mark"],
        0.2,
        None,
        None,
    )
    assert reported_metrics(Evaluation({}, {}, 3)) == {}


def test_a_run_reports_each_of_its_evaluations(run):
    with StubService(lambda sample: scored(0.5)) as service:
        assert run(service, {"eval_every_steps": 1}) == 0
    assert [(name, report.step, report.metrics["mark"].value) for name,
    report in service.reports] == [
        ("test-run", 0, 0.5), ("test-run", 1, 0.5), ("test-run", 2, 0.5),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, "not_found"), (403, "forbidden"), (503, "store_unavailable"), (422, "invalid_request")],
)
def test_a_report_that_fails_is_a_line_per_evaluation_and_the_run_ends_well(
    run, capsys, monkeypatch, status, error
):
    monkeypatch.setattr(reporting, "WAIT_S", 0.0 if status == 503 else 10.0)
    with StubService(lambda sample: scored(0.5)) as service:
        service.report_fault = (status, {"error": error, "detail": "no such thing"})
        assert run(service) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "dashboard" in line]
    assert len(lines) == 2  # before and after training
    assert service.reports == []


def test_a_report_without_an_answer_is_waited_for_once_and_then_left(monkeypatch):
    monkeypatch.setattr(reporting, "WAIT_S", 0.0)
    lines: list[str] = []

    class Stuck(StubService):
        def report(self, path, body):
            released.wait()
            return super().report(path, body)

    released = threading.Event()
    with Stuck(lambda sample: scored(0.5)) as service, ScoringClient(service.url) as client:
        reporter = EvaluationReporter(client, lines.append)
        reporter.submit("a", 1, EVALUATION)
        reporter.close()
        released.set()
    assert lines == [
        "the scoring service did not answer the report of an evaluation; it is not on its dashboard"
    ]


def test_an_evaluation_without_marks_is_not_sent():
    lines: list[str] = []
    with StubService(lambda sample: scored(0.5)) as service, ScoringClient(service.url) as client:
        reporter = EvaluationReporter(client, lines.append)
        reporter.submit("a", 1, Evaluation({}, {}, 3))
        reporter.submit("a", 2, EVALUATION)
        reporter.close()
    assert ([report.step for _, report in service.reports], lines) == ([2], [])
