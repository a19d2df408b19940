"""Evaluation: the marks of the tasks kept apart, before and after training, compared task by task. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import t as student_t

from shared.contract import Scored
from trainer.metrics import Group

EVALUATION = 1
"""The sampling stream of evaluations: the same before and after, apart from training's."""

WITHOUT_DOCUMENTATION = {"correctness": 0.3 / 0.8, "code_quality": 0.3 / 0.8, "efficiency": 0.2 / 0.8}
METHOD = "paired over tasks, mean mark a task, 95 % interval from Student's t"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Mean mark by task, all criteria and without documentation; a task with nothing scored is missing."""

    marks: Mapping[int, float]
    undocumented: Mapping[int, float]
    unscored: int

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
        return Evaluation(marks, undocumented, unscored)


def summarize(evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
    """What the evaluations `before` and `after` say together; with one of them missing, only its mean."""
    if not evaluations:
        return {}
    before = evaluations["before"]
    after = evaluations.get("after", Evaluation({}, {}, 0))
    return {
        "mark": compare(before.marks, after.marks),
        "mark_without_documentation": compare(before.undocumented, after.undocumented),
        "unscored_in_evaluations": before.unscored + after.unscored,
    }


def without_documentation(result: Scored) -> float:
    """The mark with the documentation criterion left out and the other weights scaled up; a rejected sample, or
    one marked by other criteria, keeps its own."""
    if result.criteria is None or not result.criteria.keys() >= WITHOUT_DOCUMENTATION.keys():
        return result.score
    return sum(weight * result.criteria[name] for name, weight in WITHOUT_DOCUMENTATION.items())


def compare(before: Mapping[int, float], after: Mapping[int, float]) -> dict[str, Any]:
    """Means before and after, and their difference with its interval, over the tasks scored both times.

    None where there is nothing to tell: no such task, or for the interval fewer than two.
    """
    tasks = sorted(before.keys() & after.keys())
    differences = [after[task] - before[task] for task in tasks]
    interval = None
    if len(tasks) > 1:
        half = float(student_t.ppf(0.975, len(tasks) - 1)) * statistics.stdev(differences) / math.sqrt(len(tasks))
        interval = [statistics.fmean(differences) - half, statistics.fmean(differences) + half]
    return {
        "before": _mean([before[task] for task in tasks or before]),
        "after": _mean([after[task] for task in tasks]),
        "difference": _mean(differences),
        "interval_95": interval,
        "tasks": len(tasks),
        "method": METHOD,
    }


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None
