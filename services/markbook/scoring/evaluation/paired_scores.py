"""Old and new scores of the same samples: how alike they are, and what the new ones would have
changed in training.

Each figure is a statistic of how often every task is drawn, as in `statistics`, so that it can have
an interval.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from markbook.scoring.evaluation.bootstrap import Figure, at_the_ends, measure
from markbook.scoring.evaluation.samples import JudgedSample
from markbook.scoring.evaluation.statistics import (
    Statistic,
    Weights,
    ordered_pairs,
    rank_correlation,
    ratio,
)

SAME = 1e-9
"""Scores have six digits: what differs by less is equal."""


@dataclass(frozen=True, slots=True)
class ScorePair:
    """Two scores in [0, 1] of one sample. `index` names the sample, `task` is in 0 .. tasks - 1.

    `group`: the samples of one task that share a baseline.
    """

    index: int
    task: int
    group: int
    old: float
    new: float


@dataclass(frozen=True, slots=True)
class GroupCounts:
    """`groups` of two samples or more; in `flat_old` and `flat_new` of them all scores are
    equal: nothing to learn.
    """

    groups: int
    samples: int
    flat_old: int
    flat_new: int


@dataclass(frozen=True, slots=True)
class _Advantage:
    """Score less the mean of its group, by the old and by the new scores."""

    pair: ScorePair
    old: float
    new: float


def compare_scores(
    pairs: Sequence[ScorePair], *, tasks: int, resamples: int, seed: int
) -> dict[str, Figure]:
    """Every figure by name, with its interval over tasks. One that is undefined is None."""
    samples = [
        JudgedSample(each.index, each.task, each.old, each.old >= 0.5, each.new) for each in pairs
    ]
    ones = _sums(pairs, [1.0] * len(pairs), tasks)
    olds, news = [each.old for each in pairs], [each.new for each in pairs]
    differences = [each.new - each.old for each in pairs]
    advantages = _advantages(pairs)
    statistics: dict[str, Statistic] = {
        "mean_old": ratio(_sums(pairs, olds, tasks), ones),
        "mean_new": ratio(_sums(pairs, news, tasks), ones),
        "mean_difference": ratio(_sums(pairs, differences, tasks), ones),
        "correlation": correlation(pairs, tasks),
        "rank_correlation": rank_correlation(samples),
        "pairs_in_order": ordered_pairs(samples, tasks),
        "advantage_correlation": _advantage_correlation(advantages, tasks),
        "advantage_reversed": _share_reversed(advantages, tasks),
        "best_changed": _share_best_changed(advantages, tasks),
    }
    found = measure(statistics, tasks, resamples, seed)
    grouped = [group for group in _groups(pairs) if len(group) > 1]
    in_groups = {group[0].task for group in grouped}
    differing = {group[0].task for group in grouped if not _are_equal(group)}
    found["advantage_reversed"] = at_the_ends(found["advantage_reversed"], len(in_groups))
    found["best_changed"] = at_the_ends(found["best_changed"], len(differing))
    found["pairs_in_order"] = at_the_ends(found["pairs_in_order"], _differing_tasks(pairs))
    return found


def correlation(pairs: Sequence[ScorePair], tasks: int) -> Statistic:
    """Pearson's correlation of the old and the new scores. None where either does not vary."""
    products = {
        "count": [1.0] * len(pairs),
        "old": [each.old for each in pairs],
        "new": [each.new for each in pairs],
    }
    products["old_squares"] = [each.old * each.old for each in pairs]
    products["new_squares"] = [each.new * each.new for each in pairs]
    products["both"] = [each.old * each.new for each in pairs]
    sums = {name: _sums(pairs, values, tasks) for name, values in products.items()}

    def value(weights: Weights) -> float | None:
        found = {name: _weighted(weights, column) for name, column in sums.items()}
        count, old, new = found["count"], found["old"], found["new"]
        if not count:
            return None
        old_spread, new_spread = (
            found["old_squares"] - old * old / count,
            found["new_squares"] - new * new / count,
        )
        if min(old_spread, new_spread) <= SAME:
            return None
        return (found["both"] - old * new / count) / math.sqrt(old_spread * new_spread)

    return value


def count_groups(pairs: Sequence[ScorePair]) -> GroupCounts:
    groups = [group for group in _groups(pairs) if len(group) > 1]
    flat_old = flat_new = 0
    for group in groups:
        flat_old += _are_equal(group)
        flat_new += _is_flat([each.new for each in group])
    return GroupCounts(len(groups), sum(map(len, groups)), flat_old, flat_new)


def parted_most(pairs: Sequence[ScorePair], number: int) -> list[ScorePair]:
    """The pairs whose scores differ most, the greatest difference first; equal ones in their
    order.
    """
    return sorted(pairs, key=_minus_distance)[:number]


def _differing_tasks(pairs: Sequence[ScorePair]) -> int:
    """The number of tasks whose old scores are not all equal."""
    olds: defaultdict[int, list[float]] = defaultdict(list)
    for each in pairs:
        olds[each.task].append(each.old)
    return sum(not _is_flat(scores) for scores in olds.values())


def _minus_distance(pair: ScorePair) -> float:
    return -round(abs(pair.new - pair.old), 9)


def _groups(pairs: Sequence[ScorePair]) -> list[list[ScorePair]]:
    groups: defaultdict[int, list[ScorePair]] = defaultdict(list)
    for each in pairs:
        groups[each.group].append(each)
    return list(groups.values())


def _advantages(pairs: Sequence[ScorePair]) -> list[list[_Advantage]]:
    """By group, of those with two samples or more: a baseline of one sample is the sample
    itself.
    """
    found: list[list[_Advantage]] = []
    for group in _groups(pairs):
        if len(group) > 1:
            old = sum([each.old for each in group]) / len(group)
            new = sum([each.new for each in group]) / len(group)
            found.append([_Advantage(each, each.old - old, each.new - new) for each in group])
    return found


def _advantage_correlation(groups: Sequence[Sequence[_Advantage]], tasks: int) -> Statistic:
    """Of all advantages; their mean is 0 in every group.

    None where either scores do not vary within any group.
    """
    products, old_squares, new_squares = ([0.0] * tasks for _ in range(3))
    for group in groups:
        for each in group:
            products[each.pair.task] += each.old * each.new
            old_squares[each.pair.task] += each.old * each.old
            new_squares[each.pair.task] += each.new * each.new

    def value(weights: Weights) -> float | None:
        old, new = _weighted(weights, old_squares), _weighted(weights, new_squares)
        return _weighted(weights, products) / math.sqrt(old * new) if min(old, new) > SAME else None

    return value


def _share_reversed(groups: Sequence[Sequence[_Advantage]], tasks: int) -> Statistic:
    """Of the samples that either scores reinforce or discourage, those that the other do the
    opposite to.
    """
    reversed_, counted = [0.0] * tasks, [0.0] * tasks
    for group in groups:
        for each in group:
            counted[each.pair.task] += max(abs(each.old), abs(each.new)) > SAME
            reversed_[each.pair.task] += (
                each.old * each.new < 0 and min(abs(each.old), abs(each.new)) > SAME
            )
    return ratio(reversed_, counted)


def _share_best_changed(groups: Sequence[Sequence[_Advantage]], tasks: int) -> Statistic:
    """Of the groups that are not flat by the old scores, those whose best samples are all no
    longer the best.
    """
    changed, counted = [0.0] * tasks, [0.0] * tasks
    for group in groups:
        task = group[0].pair.task
        if _is_flat([each.pair.old for each in group]):
            continue
        best_old, best_new = max(each.old for each in group), max(each.new for each in group)
        still = [
            each for each in group if best_old - each.old <= SAME and best_new - each.new <= SAME
        ]
        counted[task] += 1
        changed[task] += not still
    return ratio(changed, counted)


def _are_equal(group: Sequence[ScorePair]) -> bool:
    """Whether the old scores are."""
    return _is_flat([each.old for each in group])


def _is_flat(scores: Sequence[float]) -> bool:
    return max(scores) - min(scores) <= SAME


def _sums(pairs: Sequence[ScorePair], values: Sequence[float], tasks: int) -> list[float]:
    sums = [0.0] * tasks
    for each, value in zip(pairs, values, strict=True):
        sums[each.task] += value
    return sums


def _weighted(weights: Weights, values: Sequence[float]) -> float:
    return math.fsum([weight * value for weight, value in zip(weights, values, strict=True)])
