"""Order bias and companions that are planted, over twenty seeds each: the intervals of their
figures cover them.

The judge is that of the emulator, without service and requests between them; test_judge_planted.py
has these, once.
"""

from __future__ import annotations

import random

from markbook.scoring.evaluation.bootstrap import measure
from markbook.scoring.evaluation.comparison import compare
from markbook.scoring.evaluation.samples import JudgedSample, Shown
from markbook.scoring.evaluation.statistics import order_effect
from tests.emulator.planted import PlantedJudge

TASKS, RESAMPLES, SEEDS = 40, 200, range(20)
MIN_COVERED = 17
"""Of twenty intervals of 95 %: fewer cover in 2 % of such tests."""
MIDDLE = tuple(at / 100 for at in range(30, 71, 5))
"""Scores that a place or companions can move without reaching an end of the scale."""
TRUTHS = (True, True, False, False)
"""Of each task's samples."""


def is_right(code: str) -> bool:
    return code.startswith("right")


def judge_of(seed: int, **fault: float) -> PlantedJudge:
    return PlantedJudge(0.80, is_right, seed=seed, grid=MIDDLE, **fault)  # type: ignore[arg-type]


def judged(judge: PlantedJudge, seed: int, *, together: bool) -> list[JudgedSample]:
    """Every sample's score, with all of its task in shuffled order, or alone."""
    rng = random.Random(seed)
    samples: list[JudgedSample] = []
    for task in range(TASKS):
        codes = [
            f"{'right' if truth else 'wrong'} {task} {copy}" for copy, truth in enumerate(TRUTHS)
        ]
        rng.shuffle(codes)
        marks = judge(codes) if together else [judge([code])[0] for code in codes]
        for place, (code, (mark, *_)) in enumerate(zip(codes, marks, strict=True), start=1):
            index = 4 * task + int(code.split()[-1])
            shown = Shown(str(task), place) if together else Shown(f"{task} {place}", 1)
            truth = is_right(code)
            samples.append(JudgedSample(index, task, float(truth), truth, mark / 100, shown=shown))
    return samples


def test_the_interval_of_the_order_effect_covers_what_each_later_place_costs():
    hits = 0
    for seed in SEEDS:
        samples = judged(judge_of(seed, per_place=-5), seed, together=True)
        found = measure({"order": order_effect(samples, TASKS)}, TASKS, RESAMPLES, seed)["order"]
        hits += found.low <= -0.05 <= found.high
        assert found.high < 0  # and it is told from none
    assert hits >= MIN_COVERED


def test_without_an_order_bias_the_interval_covers_none():
    hits = 0
    for seed in SEEDS:
        samples = judged(judge_of(seed), seed, together=True)
        found = measure({"order": order_effect(samples, TASKS)}, TASKS, RESAMPLES, seed)["order"]
        hits += found.low <= 0 <= found.high
    assert hits >= MIN_COVERED


def test_the_intervals_of_a_comparison_cover_what_companions_change():
    hits = {"right": 0, "wrong": 0}
    for seed in SEEDS:
        judge = judge_of(seed, pull=0.5)
        both = {
            "together": judged(judge, seed, together=True),
            "alone": judged(judge, seed, together=False),
        }
        [found] = compare(both, tasks=TASKS, resamples=RESAMPLES, seed=seed)
        # a right sample is shown with one right and two wrong ones, a wrong one the other way round
        truths = {
            "right": (found.right, judge.moved_by_companions([True, False, False])),
            "wrong": (found.wrong, judge.moved_by_companions([True, True, False])),
        }
        for name, (figure, truth) in truths.items():
            hits[name] += figure.low <= truth <= figure.high
    assert min(hits.values()) >= MIN_COVERED, hits
