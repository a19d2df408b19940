"""Intervals against what was planted: scores drawn from known distributions, over twenty seeds
each.
"""

from __future__ import annotations

import random

import pytest

from markbook.scoring.evaluation.bootstrap import measure
from markbook.scoring.evaluation.comparison import choose, compare
from markbook.scoring.evaluation.judge_metrics import HIGH, LOW, evaluate
from markbook.scoring.evaluation.samples import JudgedSample
from markbook.scoring.evaluation.statistics import retest_deviation
from tests.emulator.planted import with_auc

GRID = [at / 20 for at in range(21)]
TASKS, RESAMPLES, SEEDS = 120, 200, range(20)
MIN_COVERED = 17
"""Of the twenty intervals of one figure. Each covers the truth in 95 % of all runs, so that 19 do
on average, and fewer than 17 in 2 % of such tests.
"""
MIN_COVERED_AUC = 19


def planted(auc):
    """Distributions of the scores of right and of wrong samples with this AUC."""
    return with_auc(GRID, auc)


def draw(auc, seed, noise=0.0):
    """Three samples of each task, each right with probability 1/2; one repeat where there is
    noise.
    """
    rng = random.Random(f"{auc} {seed}")
    right, wrong = planted(auc)
    samples = []
    for index in range(3 * TASKS):
        is_right = rng.random() < 0.5
        [score] = rng.choices(GRID, right if is_right else wrong)
        first, second = (score + rng.gauss(0, noise) for _ in range(2)) if noise else (score, None)
        repeats = () if second is None else (second,)
        samples.append(JudgedSample(index, index // 3, float(is_right), is_right, first, repeats))
    return samples


def covered(figure, truth):
    return figure.low <= truth <= figure.high


@pytest.mark.long
@pytest.mark.parametrize("auc", [0.95, 0.80, 0.60])
def test_intervals_cover_what_was_planted(auc):
    right, wrong = planted(auc)
    truths = {
        "auc": auc,
        "pairs_ordered": auc,  # the samples of a task are independent here
        "mean_right": sum(share * score for share, score in zip(right, GRID, strict=True)),
        "mean_wrong": sum(share * score for share, score in zip(wrong, GRID, strict=True)),
        "wrong_scored_high": sum(
            share for share, score in zip(wrong, GRID, strict=True) if score >= HIGH
        ),
        "right_scored_low": sum(
            share for share, score in zip(right, GRID, strict=True) if score < LOW
        ),
    }
    hits = dict.fromkeys(truths, 0)
    for seed in SEEDS:
        found = evaluate(draw(auc, seed), [], tasks=TASKS, resamples=RESAMPLES, seed=seed)
        for name, truth in truths.items():
            hits[name] += covered(found[name], truth)
    assert min(hits.values()) >= MIN_COVERED, hits
    assert hits["auc"] >= MIN_COVERED_AUC, hits


def test_the_interval_of_the_retest_deviation_covers_the_planted_noise():
    hits = 0
    for seed in SEEDS:
        deviation = retest_deviation(draw(0.8, seed, noise=0.05), TASKS)
        found = measure({"deviation": deviation}, TASKS, RESAMPLES, seed)
        hits += covered(found["deviation"], 0.05)
    assert hits >= MIN_COVERED


def test_equal_teachers_are_indistinguishable_and_the_cheaper_one_is_named():
    equal = different = cheapest = 0
    for seed in SEEDS:
        truth = draw(0.80, seed)
        # scores of a second teacher of the same AUC, of the same samples
        rng = random.Random(seed)
        again = rescored(truth, 0.80, rng)
        teachers = {"dear": truth, "cheap": again, "poor": rescored(truth, 0.60, rng)}
        found = compare(teachers, tasks=TASKS, resamples=RESAMPLES, seed=seed)
        equal += bool(found[0].is_indistinguishable)
        different += found[1].is_indistinguishable is False
        aucs = {
            name: evaluate(each, [], tasks=TASKS, resamples=0, seed=0)["auc"].value
            for name, each in teachers.items()
        }
        choice = choose(aucs, {"dear": 2.0, "cheap": 1.0, "poor": 0.1}, found)
        cheapest += choice.cheapest == "cheap"
    assert equal >= MIN_COVERED
    assert different == len(SEEDS)
    assert cheapest >= MIN_COVERED


def rescored(samples, auc, rng):
    right, wrong = planted(auc)
    return [
        JudgedSample(
            each.index,
            each.task,
            each.truth,
            each.is_right,
            *rng.choices(GRID, right if each.is_right else wrong),
        )
        for each in samples
    ]
