"""Statistics of scores against a truth, on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from markbook.scoring.evaluation.bootstrap import (
    Figure,
    measure,
    percentile,
    resampled_weights,
    student_quantile,
    tail_share,
)
from markbook.scoring.evaluation.comparison import Choice, Comparison, choose, compare
from markbook.scoring.evaluation.judge_metrics import evaluate, per_auc_point
from markbook.scoring.evaluation.samples import JudgedSample, TaskCost
from markbook.scoring.evaluation.statistics import (
    auc,
    ordered_pairs,
    rank_correlation,
    ratio,
    retest_deviation,
)


def judged(*rows):
    """(task, truth, score, *repeats) each; a truth from 0.5 on is right."""
    return [
        JudgedSample(index, task, truth, truth >= 0.5, score, tuple(repeats))
        for index, (task, truth, score, *repeats) in enumerate(rows)
    ]


FOUR = judged((0, 1, 0.9), (0, 0, 0.4), (1, 1, 0.4), (1, 0, 0.1))
"""Of the four pairs of right and wrong, three are in order and one is tied: 3.5 / 4."""


def test_auc_counts_pairs_and_half_of_the_ties():
    assert auc(FOUR)([1, 1]) == 3.5 / 4
    assert auc(FOUR)([1, 0]) == 1.0
    # task 0 twice: right 0.9 0.9 0.4, wrong 0.4 0.4 0.1: 3 + 3 + (2 ties, 1 above) = 8 of 9
    assert auc(FOUR)([2, 1]) == pytest.approx(8 / 9)


def test_auc_of_scores_in_reverse_and_of_constant_ones():
    assert auc(judged((0, 1, 0.1), (0, 0, 0.9)))([1]) == 0.0
    assert auc(judged((0, 1, 0.5), (0, 0, 0.5), (0, 0, 0.5)))([1]) == 0.5


def test_auc_without_wrong_samples_is_undefined():
    assert auc(judged((0, 1, 0.9), (1, 1, 0.2)))([1, 1]) is None
    assert auc(judged((0, 1, 0.9), (1, 0, 0.2)))([1, 0]) is None
    assert auc([])([]) is None


def test_rank_correlation():
    # ranks of the scores 1 2 3 4, of the truths 1 3 2 4: 1 - 6 * 2 / (4 * 15) = 0.8
    mixed = judged((0, 0.1, 0.2), (1, 0.6, 0.3), (2, 0.4, 0.5), (3, 0.9, 0.6))
    assert rank_correlation(mixed)([1, 1, 1, 1]) == pytest.approx(0.8)
    assert rank_correlation(mixed)([1, 0, 0, 1]) == pytest.approx(1.0)
    assert rank_correlation(mixed)([1, 0, 0, 0]) is None


def test_rank_correlation_with_ties_is_that_of_mean_ranks():
    # scores rank 4, 2.5, 2.5, 1; truths 3.5, 1.5, 3.5, 1.5; deviations from 2.5: products 1.5, 0,
    # 0, 1.5
    expected = 3.0 / math.sqrt((1.5**2 * 2) * (1.0 * 4))
    assert rank_correlation(FOUR)([1, 1]) == pytest.approx(expected)


def test_a_weight_counts_as_so_many_copies():
    copies = [*FOUR[:2], *FOUR[:2], *FOUR[:2], *FOUR[2:]]
    for statistic in (auc, rank_correlation):
        assert statistic(FOUR)([3, 1]) == pytest.approx(statistic(copies)([1, 1]))


def test_pairs_of_one_task_in_the_order_of_the_truth():
    samples = judged(
        (0, 1, 0.9), (0, 0, 0.1), (0, 0, 0.9), (1, 1, 0.2), (1, 0, 0.3), (2, 1, 0.9), (2, 1, 0.1)
    )
    # task 0: one in order, one tied; task 1: none; task 2 has no pair of different truth
    assert ordered_pairs(samples, 3)([1, 1, 1]) == pytest.approx(1.5 / 3)
    assert ordered_pairs(samples, 3)([1, 0, 5]) == pytest.approx(1.5 / 2)
    assert ordered_pairs(samples, 3)([0, 0, 1]) is None


def test_retest_deviation_is_the_root_of_the_mean_variance():
    samples = judged((0, 1, 0.4, 0.6), (0, 0, 0.1, 0.2, 0.3), (1, 1, 0.9))
    # variances 0.02 and 0.01; the third has no repeat
    assert retest_deviation(samples, 2)([1, 1]) == pytest.approx(math.sqrt(0.015))
    assert retest_deviation(samples, 2)([0, 1]) is None


def test_ratio_without_a_denominator_is_undefined():
    assert ratio([1.0, 2.0], [4.0, 0.0])([1, 1]) == 0.75
    assert ratio([1.0, 2.0], [4.0, 0.0])([0, 1]) is None


def test_percentiles_interpolate():
    assert percentile([0.0, 1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert percentile([0.0, 1.0, 2.0, 3.0, 4.0], 0.025) == pytest.approx(0.1)
    assert percentile([7.0], 0.975) == 7.0


@pytest.mark.parametrize(
    ("freedom", "expected"), [(4, 2.776), (9, 2.262), (39, 2.0227), (1000, 1.9623)]
)
def test_students_quantiles_are_those_of_the_tables(freedom, expected):
    assert student_quantile(freedom) == pytest.approx(expected, abs=0.01 if freedom < 9 else 5e-4)


def test_fewer_tasks_leave_out_less_at_each_end():
    # sqrt(10 / 9) * 2.2622 = 2.3845 standard deviations
    assert tail_share(10) == pytest.approx(0.00855, abs=2e-5)
    # sqrt(40 / 39) * 2.0227 = 2.0485
    assert tail_share(40) == pytest.approx(0.02026, abs=2e-5)
    assert tail_share(10**6) == pytest.approx(0.025, abs=1e-6)


def test_an_interval_from_two_tasks_reaches_from_the_lowest_to_the_highest_resample():
    found = measure({"mean": ratio([0.0, 1.0], [1.0, 1.0])}, 2, 100, seed=0)
    assert found == {"mean": Figure(0.5, 0.0, 1.0)}


def test_the_ends_of_an_interval_are_the_percentiles_at_the_tail_share():
    tasks = 40
    mean = ratio([float(task) for task in range(tasks)], [1.0] * tasks)
    draws = sorted(mean(weights) for weights in resampled_weights(tasks, 1000, seed=5))
    found = measure({"mean": mean}, tasks, 1000, seed=5)["mean"]
    # 0.02026 of 999 is 20.24 resamples
    assert draws[20] <= found.low <= draws[21] < percentile(draws, 0.025)
    assert draws[-22] <= found.high <= draws[-21]


def test_a_resample_draws_as_many_tasks_as_there_are():
    drawn = list(resampled_weights(5, 50, seed=3))
    assert [sum(weights) for weights in drawn] == [5] * 50
    assert drawn == list(resampled_weights(5, 50, seed=3))
    assert drawn != list(resampled_weights(5, 50, seed=4))


def test_no_interval_from_one_task_nor_where_resamples_are_undefined():
    def is_drawn(weights):
        return 1.0 if weights[0] else None

    assert measure({"only": lambda weights: 0.5}, 1, 100, 0) == {"only": Figure(0.5)}
    # of two tasks the first is missing in a quarter of the resamples
    assert measure({"some": is_drawn}, 2, 400, 0) == {"some": Figure(1.0)}
    assert measure({"most": is_drawn}, 3, 0, 0) == {"most": Figure(1.0)}


def figures(samples, costs=(), tasks=2):
    found = evaluate(samples, costs, tasks=tasks, resamples=100, seed=0)
    return {name: figure.value for name, figure in found.items()}


def test_the_limits_of_high_and_low_scores():
    found = figures(judged((0, 0, 0.8), (0, 0, 0.79), (0, 1, 0.4), (1, 1, 0.39), (1, 1, 0.9)))
    assert found["wrong_scored_high"] == 0.5
    assert found["right_scored_low"] == pytest.approx(1 / 3)
    assert found["mean_wrong"] == pytest.approx(0.795)
    assert found["mean_right"] == pytest.approx((0.4 + 0.39 + 0.9) / 3)


def test_a_share_of_none_has_an_interval_of_what_might_have_been_missed():
    rows = [
        (task, float(right), 0.7 if right else 0.2) for task in range(10) for right in (True, False)
    ]
    found = evaluate(judged(*rows), [], tasks=10, resamples=100, seed=0)
    # none of ten: 1 - 0.025 ** 0.1 = 0.3085, the interval of Clopper and Pearson's tables
    assert found["wrong_scored_high"] == Figure(0.0, 0.0, pytest.approx(0.3085, abs=1e-4))
    assert found["right_scored_low"] == found["wrong_scored_high"]
    assert found["pairs_ordered"] == Figure(1.0, pytest.approx(0.6915, abs=1e-4), 1.0)
    assert found["auc"] == Figure(1.0)  # no share of independent observations
    assert found["mean_right"] == Figure(*[pytest.approx(0.7)] * 3)


def test_cached_and_rejected_samples_do_not_make_a_teacher_cheaper_than_it_is():
    # the teacher judged 2 now for $0.004 and 2 before; 4 more needed no teacher: half of the
    # samples cost $0.002
    costs = [
        TaskCost(0, 600, 0.004, scored=4, judged=2, cached=0),
        TaskCost(1, 0, 0.0, scored=4, judged=0, cached=2),
    ]
    found = figures(FOUR, costs)
    assert found["usd_per_1000"] == pytest.approx(1.0)
    assert found["tokens_per_1000"] == pytest.approx(150_000)
    # AUC 0.875 is 37.5 points above chance
    assert found["usd_per_auc_point"] == pytest.approx(1 / 37.5)


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (TaskCost(0, 0, 0.0, scored=4, judged=0, cached=4), None),  # nothing was paid now
        (TaskCost(0, 9, None, scored=4, judged=4, cached=0), None),  # the price is not known
        (TaskCost(0, 0, 0.0, scored=4, judged=0, cached=0), 0.0),  # no sample needed a teacher
    ],
)
def test_a_cost_that_is_not_known_is_no_number(cost, expected):
    assert figures(FOUR, [cost])["usd_per_1000"] == expected


def test_no_price_for_a_point_of_auc_that_is_not_above_chance():
    assert per_auc_point(1.0, 0.51) == pytest.approx(1.0)
    assert per_auc_point(1.0, 0.5) is None
    assert per_auc_point(None, 0.9) is None
    assert per_auc_point(1.0, None) is None


def test_teachers_are_compared_on_what_both_have_scored():
    both = FOUR[:3]
    [found] = compare({"a": FOUR, "b": both}, tasks=2, resamples=100, seed=0)
    # on the three in common the AUC is (1 + 0.5) / 2 for both
    assert (found.samples, found.difference.value) == (3, 0.0)


def test_identical_teachers_are_indistinguishable_and_opposite_ones_are_not():
    rows = [
        (task, float(right), 0.9 if right else 0.1) for task in range(30) for right in (True, False)
    ]
    opposite = [(task, truth, 1 - score) for task, truth, score in rows]
    found = compare(
        {"a": judged(*rows), "b": judged(*rows), "c": judged(*opposite)},
        tasks=30,
        resamples=100,
        seed=0,
    )
    assert [(each.first, each.second, each.is_indistinguishable) for each in found] == [
        ("a", "b", True),
        ("a", "c", False),
        ("b", "c", False),
    ]
    assert found[1].difference == Figure(1.0, 1.0, 1.0)


def test_without_an_interval_nothing_is_known_of_a_difference():
    assert Comparison("a", "b", 4, Figure(0.0)).is_indistinguishable is None


EQUAL, APART = Figure(0.01, -0.02, 0.03), Figure(0.1, 0.05, 0.15)
THREE = [
    Comparison("a", "b", 9, EQUAL),
    Comparison("a", "c", 9, APART),
    Comparison("b", "c", 9, APART),
]


@pytest.mark.parametrize(
    ("aucs", "prices", "expected"),
    [
        (
            {"a": 0.9, "b": 0.89, "c": 0.8},
            {"a": 2.0, "b": 1.0, "c": 0.1},
            Choice("a", ("a", "b"), "b"),
        ),
        (
            {"a": 0.9, "b": 0.91, "c": 0.8},
            {"a": 2.0, "b": 3.0, "c": 0.1},
            Choice("b", ("a", "b"), "a"),
        ),
        (
            {"a": 0.9, "b": 0.89, "c": 0.95},
            {"a": 2.0, "b": 1.0, "c": 5.0},
            Choice("c", ("c",), "c"),
        ),
        (
            {"a": 0.9, "b": 0.89, "c": 0.8},
            {"a": 2.0, "b": None, "c": 0.1},
            Choice("a", ("a", "b"), None),
        ),
        ({"a": None, "b": None, "c": None}, {"a": 1.0, "b": 1.0, "c": 1.0}, None),
    ],
)
def test_the_cheapest_of_those_as_good_as_the_best(aucs, prices, expected):
    assert choose(aucs, prices, THREE) == expected
