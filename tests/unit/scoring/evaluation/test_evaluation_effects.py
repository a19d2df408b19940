"""What place and companions change, on numbers worked out by hand."""

from __future__ import annotations

import pytest

from markbook.scoring.evaluation.bootstrap import Figure
from markbook.scoring.evaluation.comparison import compare
from markbook.scoring.evaluation.judge_metrics import evaluate
from markbook.scoring.evaluation.samples import JudgedSample, Shown
from markbook.scoring.evaluation.statistics import mean_difference, order_effect


def placed(*rows):
    """(task, group, place, score) each."""
    return [
        JudgedSample(
            index, task, 1.0, True, score, shown=None if group is None else Shown(group, place)
        )
        for index, (task, group, place, score) in enumerate(rows)
    ]


def test_the_order_effect_is_the_slope_within_the_groups():
    samples = placed(
        *((0, "a", 1, 0.5), (0, "a", 2, 0.7)),  # less the means: -0.5 -0.1, 0.5 0.1
        *(
            (1, "b", 3, 0.9),
            (1, "b", 2, 0.6),
            (1, "b", 1, 0.9),
        ),  # products 0.1, 0, -0.1; squares 1, 0, 1
        (1, "c", 1, 0.1),  # alone: no part of it
        (1, None, 0, 0.0),  # its place is not known
    )
    assert order_effect(samples, 2)([1, 1]) == pytest.approx(0.1 / 2.5)
    assert order_effect(samples, 2)([1, 0]) == pytest.approx(0.2)
    assert order_effect(samples, 2)([0, 1]) == pytest.approx(0.0)


def test_groups_of_two_tasks_are_apart_even_under_one_name():
    samples = placed((0, "a", 1, 0.1), (0, "a", 2, 0.2), (1, "a", 1, 0.9), (1, "a", 2, 1.0))
    assert order_effect(samples, 2)([1, 1]) == pytest.approx(0.1)


def test_without_groups_of_several_samples_there_is_no_order_effect():
    samples = placed((0, "a", 1, 0.1), (1, "b", 1, 0.2))
    assert order_effect(samples, 2)([1, 1]) is None
    assert evaluate(samples, [], tasks=2, resamples=100, seed=0)["order_effect"] == Figure(None)


def test_a_mean_difference_weighs_tasks_by_their_samples():
    pairs = [(0, 0.2), (0, 0.4), (1, -0.1)]
    assert mean_difference(pairs, 2)([1, 1]) == pytest.approx(0.5 / 3)
    assert mean_difference(pairs, 2)([0, 1]) == pytest.approx(-0.1)
    assert mean_difference([], 2)([1, 1]) is None


def judged(*scores):
    """Of two tasks a right and a wrong sample each."""
    return [
        JudgedSample(index, index // 2, float(index % 2 == 0), index % 2 == 0, score)
        for index, score in enumerate(scores)
    ]


def test_a_comparison_has_the_differences_of_right_and_of_wrong_code():
    [found] = compare(
        {"a": judged(0.9, 0.1, 0.8, 0.4), "b": judged(0.7, 0.2, 0.8)},
        tasks=2,
        resamples=100,
        seed=0,
    )
    # the last sample has one score only
    assert found.right.value == pytest.approx((0.2 + 0.0) / 2)
    assert found.wrong.value == pytest.approx(-0.1)
    assert found.samples == 3
