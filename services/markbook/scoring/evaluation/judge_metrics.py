"""The metrics of one teacher: how its scores agree with the truth, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence

from markbook.scoring.evaluation.bootstrap import Figure, at_the_ends, measure
from markbook.scoring.evaluation.samples import JudgedSample, TaskCost
from markbook.scoring.evaluation.statistics import (
    Statistic,
    Weights,
    auc,
    mean_score,
    order_effect,
    ordered_pairs,
    rank_correlation,
    ratio,
    retest_deviation,
    share,
)

HIGH = 0.8
"""A wrong sample with this score or a higher one is rewarded."""
LOW = 0.4
"""A right sample with a score below it is punished."""
CHANCE = 0.5
"""The AUC of scores that know nothing of the truth."""
POINT = 0.01
"""A point of AUC."""


def evaluate(
    samples: Sequence[JudgedSample],
    costs: Sequence[TaskCost],
    *,
    tasks: int,
    resamples: int,
    seed: int,
) -> dict[str, Figure]:
    """Every figure by name.

    `tasks`: the number of tasks in the file, those without a scored sample included.

    A figure of cost is None where all marks were cached, since nothing was paid now, or where the
    price is not known.
    """
    right = [each for each in samples if each.is_right]
    wrong = [each for each in samples if not each.is_right]
    quality = auc(samples)
    dollars = _per_thousand(costs, [each.usd for each in costs], tasks)
    tokens = _per_thousand(costs, [float(each.tokens) for each in costs], tasks)
    statistics: dict[str, Statistic] = {
        "auc": quality,
        "rank_correlation": rank_correlation(samples),
        "mean_right": mean_score(right, tasks),
        "mean_wrong": mean_score(wrong, tasks),
        "wrong_scored_high": share(wrong, _is_high, tasks),
        "right_scored_low": share(right, _is_low, tasks),
        "pairs_ordered": ordered_pairs(samples, tasks),
        "retest_deviation": retest_deviation(samples, tasks),
        "order_effect": order_effect(samples, tasks),
        "tokens_per_1000": tokens,
        "usd_per_1000": dollars,
        "usd_per_auc_point": _per_point(dollars, quality),
    }
    found = measure(statistics, tasks, resamples, seed)
    right_tasks, wrong_tasks = {each.task for each in right}, {each.task for each in wrong}
    found["wrong_scored_high"] = at_the_ends(found["wrong_scored_high"], len(wrong_tasks))
    found["right_scored_low"] = at_the_ends(found["right_scored_low"], len(right_tasks))
    found["pairs_ordered"] = at_the_ends(found["pairs_ordered"], len(right_tasks & wrong_tasks))
    found["auc"] = at_the_ends(found["auc"], 0)
    return found


def per_auc_point(usd_per_1000: float | None, auc: float | None) -> float | None:
    """Dollars per 1,000 samples for each point (0.01) of AUC above chance.

    None where there is no such point.
    """
    if usd_per_1000 is None or auc is None or auc <= CHANCE:
        return None
    return usd_per_1000 / ((auc - CHANCE) / POINT)


def _per_thousand(
    costs: Sequence[TaskCost], amounts: Sequence[float | None], tasks: int
) -> Statistic:
    """The cost of 1,000 scored samples: per sample that the teacher judged now, times the share
    that needs a teacher.

    So cached marks, which cost nothing a second time, do not make a teacher look cheap.
    """
    if None in amounts:
        return _undefined
    paid, judged, needed, scored = ([0.0] * tasks for _ in range(4))
    for cost, amount in zip(costs, amounts, strict=True):
        paid[cost.task] += amount or 0.0
        judged[cost.task] += cost.judged
        needed[cost.task] += cost.judged + cost.cached
        scored[cost.task] += cost.scored
    per_judged, share_needed = ratio(paid, judged), ratio(needed, scored)

    def value(weights: Weights) -> float | None:
        needed_share = share_needed(weights)
        if needed_share == 0:
            return 0.0
        each = per_judged(weights)
        return None if each is None or needed_share is None else 1000 * each * needed_share

    return value


def _per_point(dollars: Statistic, quality: Statistic) -> Statistic:
    def value(weights: Weights) -> float | None:
        return per_auc_point(dollars(weights), quality(weights))

    return value


def _undefined(_weights: Weights) -> None:
    return None


def _is_high(sample: JudgedSample) -> bool:
    return sample.score >= HIGH


def _is_low(sample: JudgedSample) -> bool:
    return sample.score < LOW
