"""Evaluation: the marks of the tasks kept apart, before, during and after training, compared
task by task. Pure.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scipy.special import stdtrit

from markbook.contract import MARK, PASS_AT_1, Metric, Scored
from markbook.trainer.monitoring.metrics import reward_metrics
from markbook.trainer.monitoring.pass_at_k import Counts, pass_at_k, passed, reported_k
from markbook.trainer.types import Group, Metrics

EVALUATION = 1
"""The sampling stream of evaluations: the same each time, apart from training's."""

WITHOUT_DOCUMENTATION = {
    "correctness": 0.3 / 0.8,
    "code_quality": 0.3 / 0.8,
    "efficiency": 0.2 / 0.8,
}
METHOD = "paired over tasks, mean of each task's samples, 95 % interval from Student's t"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Mean mark by task, all criteria and without documentation; a task with nothing scored is
    missing.

    `passed`: of tasks with tests, the samples that passed and those tested.
    """

    marks: Mapping[int, float]
    undocumented: Mapping[int, float]
    unscored: int
    passed: Counts = field(default_factory=dict)

    @staticmethod
    def of(groups: Sequence[Group]) -> Evaluation:
        marks: dict[int, float] = {}
        undocumented: dict[int, float] = {}
        unscored = 0
        for samples, results in groups:
            scored = [result for result in results if isinstance(result, Scored)]
            unscored += len(results) - len(scored)
            if scored:
                index = samples[0].task.index
                marks[index] = statistics.fmean(result.score for result in scored)
                undocumented[index] = statistics.fmean(map(without_documentation, scored))
        return Evaluation(marks, undocumented, unscored, count_passed(groups))


def count_passed(groups: Sequence[Group]) -> dict[int, tuple[int, int]]:
    """Of each task of which any sample was tested: samples that passed every test, and those
    tested.
    """
    counts: dict[int, tuple[int, int]] = {}
    for samples, results in groups:
        task = samples[0].task
        verdicts = [passed(task, result) for result in results]
        known = [verdict for verdict in verdicts if verdict is not None]
        if known:
            counts[task.index] = (sum(known), len(known))
    return counts


def summarize(evaluations: Mapping[int, Evaluation], step: int) -> dict[str, Any]:
    """What the evaluations by step say together: the first and that after `step`, and the line of
    them all.

    With none after `step`, the last one done, only the first's mean.
    """
    if not evaluations:
        return {}
    first = min(evaluations)
    before = evaluations[first]
    after = evaluations[step] if step > first and step in evaluations else Evaluation({}, {}, 0)
    return {
        **({"pass_at_k": compare_passed(before.passed, after.passed)} if before.passed else {}),
        "mark": compare(before.marks, after.marks),
        "mark_without_documentation": compare(before.undocumented, after.undocumented),
        "unscored_in_evaluations": sum(evaluation.unscored for evaluation in evaluations.values()),
        "evaluations": [
            {
                "step": number,
                "pass_at_1": _mean([*pass_at_k(evaluation.passed, 1).values()]),
                "mark": _mean([*evaluation.marks.values()]),
                "mark_without_documentation": _mean([*evaluation.undocumented.values()]),
                "tasks": len(evaluation.marks),
                "unscored": evaluation.unscored,
            }
            for number, evaluation in evaluations.items()
        ],
    }


def evaluation_metrics(
    groups: Sequence[Group], evaluations: Mapping[int, Evaluation], step: int
) -> Metrics:
    """The evaluation after `step`: mean mark over tasks, and what changed since the first, None
    in the first itself.
    """
    samples = reward_metrics(groups)
    first, now = min(evaluations), evaluations[step]
    since = compare(evaluations[first].marks, now.marks if step > first else {})
    passing = compare(
        pass_at_k(evaluations[first].passed, 1), pass_at_k(now.passed, 1) if step > first else {}
    )
    return {
        "mark": _mean([*now.marks.values()]),
        "pass_at_1": _mean([*pass_at_k(now.passed, 1).values()]),
        "pass_at_1_difference": passing["difference"],
        "pass_at_1_interval_95": passing["interval_95"],
        "mark_without_documentation": _mean([*now.undocumented.values()]),
        "difference": since["difference"],
        "interval_95": since["interval_95"],
        "tasks": len(now.marks),
        **{
            name: samples[name]
            for name in ("scored", "unscored", "completion_tokens", "frac_truncated")
        },
    }


def without_documentation(result: Scored) -> float:
    """The mark with the documentation criterion left out and the other weights scaled up; a
    rejected sample, or one marked by other criteria, keeps its own.
    """
    if result.criteria is None or not result.criteria.keys() >= WITHOUT_DOCUMENTATION.keys():
        return result.score
    return sum(weight * result.criteria[name] for name, weight in WITHOUT_DOCUMENTATION.items())


def compare(before: Mapping[int, float], after: Mapping[int, float]) -> dict[str, Any]:
    """Means before and after, and their difference with its interval, over the tasks scored both
    times.

    None without such a task, or for the interval with fewer than two.
    """
    tasks = sorted(before.keys() & after.keys())
    differences = [after[task] - before[task] for task in tasks]
    return {
        "before": _mean([before[task] for task in tasks or before]),
        "after": _mean([after[task] for task in tasks]),
        "difference": _mean(differences),
        "interval_95": _interval(differences),
        "tasks": len(tasks),
        "method": METHOD,
    }


def compare_passed(before: Counts, after: Counts) -> dict[str, dict[str, Any]]:
    """`compare` of pass@k for each k worth reporting, by k as text (JSON has no other keys)."""
    samples = max((n for _, n in [*before.values(), *after.values()]), default=1)
    return {str(k): compare(pass_at_k(before, k), pass_at_k(after, k)) for k in reported_k(samples)}


def reported_metrics(evaluation: Evaluation) -> dict[str, Metric]:
    """What the scoring service receives of an evaluation: the mean mark and, where tasks have
    tests, pass@1.

    Means over tasks, with their 95 % interval from Student's t, cut to [0, 1]; with one task there
    is no interval.
    """
    values = {
        MARK: [*evaluation.marks.values()],
        PASS_AT_1: [*pass_at_k(evaluation.passed, 1).values()],
    }
    metrics = {}
    for name, each in values.items():
        if each:
            low, high = _interval(each) or (None, None)
            low, high = (
                (None, None) if low is None or high is None else (max(low, 0.0), min(high, 1.0))
            )
            metrics[name] = Metric(value=statistics.fmean(each), low=low, high=high)
    return metrics


def _interval(values: Sequence[float]) -> list[float] | None:
    """The 95 % interval of the mean of `values`; None for fewer than two."""
    if len(values) < 2:
        return None
    half = (
        float(stdtrit(len(values) - 1, 0.975)) * statistics.stdev(values) / math.sqrt(len(values))
    )
    return [statistics.fmean(values) - half, statistics.fmean(values) + half]


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None
