"""Statistics of scores against a truth, each as a function of how often every task is drawn.

A resample of the bootstrap draws tasks with replacement, so a statistic gets `weights[task]`, the
number of times that each was drawn; all ones give the value on the data itself. What does not
change between resamples (sorting) is done once, and a resample of n samples takes O(n). A statistic
that is undefined, such as an AUC without wrong samples, is None, never a number.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import combinations, groupby

from markbook.scoring.evaluation.samples import JudgedSample

Weights = Sequence[int]
Statistic = Callable[[Weights], float | None]


def auc(samples: Sequence[JudgedSample]) -> Statistic:
    """The probability that a right sample has a higher score than a wrong one; a tie counts half.

    It equals the area under the ROC curve (Hanley and McNeil, Radiology 143, 1982). None without
    both kinds.
    """
    ties: list[tuple[list[int], list[int]]] = []
    for _, group in groupby(sorted(samples, key=_score), key=_score):
        equal = list(group)
        right = [each.task for each in equal if each.is_right]
        wrong = [each.task for each in equal if not each.is_right]
        ties.append((right, wrong))

    def value(weights: Weights) -> float | None:
        above, all_right, wrong_below = 0.0, 0, 0
        for right_tasks, wrong_tasks in ties:
            right = sum([weights[task] for task in right_tasks])
            wrong = sum([weights[task] for task in wrong_tasks])
            above += right * (wrong_below + wrong / 2)
            all_right += right
            wrong_below += wrong
        pairs = all_right * wrong_below
        return above / pairs if pairs else None

    return value


def rank_correlation(samples: Sequence[JudgedSample]) -> Statistic:
    """Spearman's rank correlation of score and truth, ties at their mean rank.

    None where either is constant.
    """
    by_score = _tied_indices([each.score for each in samples])
    by_truth = _tied_indices([each.truth for each in samples])
    tasks = [each.task for each in samples]

    def value(weights: Weights) -> float | None:
        counts = [weights[task] for task in tasks]
        score_ranks, score_squares = _centred_ranks(by_score, counts)
        truth_ranks, truth_squares = _centred_ranks(by_truth, counts)
        products = [
            count * score * truth
            for count, score, truth in zip(counts, score_ranks, truth_ranks, strict=True)
        ]
        spread = math.sqrt(score_squares * truth_squares)
        return sum(products) / spread if spread else None

    return value


def mean_score(samples: Sequence[JudgedSample], tasks: int) -> Statistic:
    """The mean score of the samples. None without any."""
    sums, counts = [0.0] * tasks, [0.0] * tasks
    for each in samples:
        sums[each.task] += each.score
        counts[each.task] += 1
    return ratio(sums, counts)


def share(
    samples: Sequence[JudgedSample], is_counted: Callable[[JudgedSample], bool], tasks: int
) -> Statistic:
    """The share of the samples that is counted. None without any."""
    counted, counts = [0.0] * tasks, [0.0] * tasks
    for each in samples:
        counted[each.task] += is_counted(each)
        counts[each.task] += 1
    return ratio(counted, counts)


def ordered_pairs(samples: Sequence[JudgedSample], tasks: int) -> Statistic:
    """The share of pairs of one task, of different truth, whose scores have the truth's order;
    equal scores count half.

    This is what a group baseline learns from: only the order within a task becomes an advantage.
    """
    ordered, pairs = [0.0] * tasks, [0.0] * tasks
    for task, group in groupby(sorted(samples, key=_task), key=_task):
        for first, second in combinations(group, 2):
            if first.truth == second.truth:
                continue
            pairs[task] += 1
            if first.score == second.score:
                ordered[task] += 0.5
            else:
                ordered[task] += (first.score < second.score) == (first.truth < second.truth)
    return ratio(ordered, pairs)


def retest_deviation(samples: Sequence[JudgedSample], tasks: int) -> Statistic:
    """The standard deviation of one sample's score when its mark is requested repeatedly.

    None without repeats.

    The within-subject standard deviation: the root of the samples' mean variance (Bland and Altman,
    BMJ 312, 1996).
    """
    variances, counts = [0.0] * tasks, [0.0] * tasks
    for each in samples:
        if each.repeats:
            variances[each.task] += _variance([each.score, *each.repeats])
            counts[each.task] += 1
    mean = ratio(variances, counts)

    def value(weights: Weights) -> float | None:
        variance = mean(weights)
        return None if variance is None else math.sqrt(variance)

    return value


def order_effect(samples: Sequence[JudgedSample], tasks: int) -> Statistic:
    """By how much the score changes from one place in the request to the next.

    None without groups of several samples.

    The least-squares slope of score on place, both less their means over the group. Places are
    random, so that what differs between the samples has no part in the expected slope.
    """
    groups: defaultdict[tuple[int, str], list[tuple[int, float]]] = defaultdict(list)
    for each in samples:
        if each.shown is not None:
            groups[each.task, each.shown.group].append((each.shown.place, each.score))
    products, squares = [0.0] * tasks, [0.0] * tasks
    for (task, _), shown in groups.items():
        mean_place = sum(place for place, _ in shown) / len(shown)
        mean_score = sum(score for _, score in shown) / len(shown)
        for place, score in shown:
            products[task] += (place - mean_place) * (score - mean_score)
            squares[task] += (place - mean_place) ** 2
    return ratio(products, squares)


def mean_difference(pairs: Sequence[tuple[int, float]], tasks: int) -> Statistic:
    """The mean of differences, each given with its task. None without any."""
    sums, counts = [0.0] * tasks, [0.0] * tasks
    for task, difference in pairs:
        sums[task] += difference
        counts[task] += 1
    return ratio(sums, counts)


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Statistic:
    """The sum of one quantity over the sum of another, both given by task.

    None where the latter is 0.
    """

    def value(weights: Weights) -> float | None:
        below = _product(weights, denominators)
        return _product(weights, numerators) / below if below else None

    return value


def _product(weights: Weights, values: Sequence[float]) -> float:
    return sum([weight * value for weight, value in zip(weights, values, strict=True)])


def _variance(values: Sequence[float]) -> float:
    """Unbiased: over n - 1."""
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _tied_indices(values: Sequence[float]) -> list[list[int]]:
    """The indices in ascending order of their values, those of equal values together."""
    order = sorted(range(len(values)), key=values.__getitem__)
    return [list(group) for _, group in groupby(order, key=values.__getitem__)]


def _centred_ranks(
    ties: Sequence[Sequence[int]], counts: Sequence[int]
) -> tuple[list[float], float]:
    """The rank of each index less the mean rank, where index i occurs `counts[i]` times, and the
    sum of their squares.

    Equal values share their mean rank.
    """
    ranks = [0.0] * len(counts)
    squares = 0.0
    below = 0
    mean = sum(counts) / 2
    for indices in ties:
        size = sum([counts[index] for index in indices])
        rank = below + size / 2 - mean
        for index in indices:
            ranks[index] = rank
        squares += size * rank * rank
        below += size
    return ranks, squares


def _score(sample: JudgedSample) -> float:
    return sample.score


def _task(sample: JudgedSample) -> int:
    return sample.task
