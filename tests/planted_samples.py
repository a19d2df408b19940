"""Samples of known truth for planted judges, and what `evaluate` must find, with and without a
service between.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from markbook.scoring.evaluation.bootstrap import Figure
from markbook.scoring.evaluation.judge_metrics import HIGH, LOW
from markbook.scoring.evaluation.samples import JudgedSample, Shown
from tests.emulator.planted import PlantedJudge, mean

TASKS = 40
COPIES = 2
"""Right samples of each task, and as many wrong ones."""
LEVELS = (0.95, 0.80, 0.60)
"""AUCs that are planted."""
MIDDLE = tuple(at / 100 for at in range(30, 71, 5))
"""Scores that a place or companions can move without reaching an end of the scale."""


def is_right(code: str) -> bool:
    return " + " in code


def labelled_samples() -> Iterator[dict[str, Any]]:
    """The lines of a file for `markbook judge`."""
    for task in range(TASKS):
        for copy in range(COPIES):
            for truth in (True, False):
                operator = "+" if truth else "-"
                code = f"def f{task}(value):\n    return value {operator} {task + 1}  # {copy}\n"
                prompt = f"Write f{task}(value), which adds {task + 1} to value."
                yield {"prompt": prompt, "language": "python", "code": code, "passed": truth}


def judged_samples(judge: PlantedJudge, *, seed: int, alone: bool = False) -> list[JudgedSample]:
    """What the judge makes of the samples, one request per task in a random order, or one per
    sample.
    """
    rng = random.Random(seed)
    codes = [sample["code"] for sample in labelled_samples()]
    size = 1 if alone else 2 * COPIES
    found: list[JudgedSample] = []
    for start in range(0, len(codes), size):
        order = list(range(start, start + size))
        rng.shuffle(order)
        marks = judge([codes[index] for index in order])
        for place, (index, [mark, *_]) in enumerate(zip(order, marks, strict=True), start=1):
            truth = is_right(codes[index])
            shown = Shown(f"request {start}", place)
            task = index // (2 * COPIES)
            found.append(JudgedSample(index, task, float(truth), truth, mark / 100, shown=shown))
    return sorted(found, key=_index)


def planted_figures(judge: PlantedJudge, auc: float) -> dict[str, float]:
    """The figures of a judge without bias, from its distributions."""
    right = list(zip(judge.grid, judge.right, strict=True))
    wrong = list(zip(judge.grid, judge.wrong, strict=True))
    return {
        "auc": auc,
        "pairs_ordered": auc,  # the marks of a task's samples are independent here
        "mean_right": mean(judge.grid, judge.right),
        "mean_wrong": mean(judge.grid, judge.wrong),
        "wrong_scored_high": sum(share for score, share in wrong if score >= HIGH),
        "right_scored_low": sum(share for score, share in right if score < LOW),
        "order_effect": 0.0,
    }


def ordering_judge(seed: int) -> PlantedJudge:
    """Each later place costs 0.05."""
    return PlantedJudge(0.80, is_right, seed=seed, grid=MIDDLE, per_place=-5)


def leaning_judge(seed: int) -> PlantedJudge:
    """A sample gains half of what its companions have below 0.5 on average, and loses what they
    have above.
    """
    return PlantedJudge(0.80, is_right, seed=seed, grid=MIDDLE, pull=0.5)


def companion_shifts(judge: PlantedJudge) -> dict[str, float]:
    """A right sample is shown with one right and two wrong ones, a wrong sample the other way
    round.
    """
    return {
        "right": judge.moved_by_companions([True, False, False]),
        "wrong": judge.moved_by_companions([True, True, False]),
    }


def covers(figure: Figure, truth: float) -> bool:
    assert figure.low is not None
    assert figure.high is not None
    return figure.low <= truth <= figure.high


def _index(sample: JudgedSample) -> int:
    return sample.index
