"""Two teachers on the same samples: whether AUCs and scores differ, and which of equal ones is
the cheapest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from markbook.scoring.evaluation.bootstrap import Figure, measure
from markbook.scoring.evaluation.samples import JudgedSample
from markbook.scoring.evaluation.statistics import Statistic, Weights, auc, mean_difference

UNDEFINED = Figure(None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`difference` of the AUCs, first less second, on the `samples` that both have scored.

    `right` and `wrong`: the mean differences of their scores of right and of wrong code.
    """

    first: str
    second: str
    samples: int
    difference: Figure
    right: Figure = UNDEFINED
    wrong: Figure = UNDEFINED

    @property
    def is_indistinguishable(self) -> bool | None:
        """Whether the interval of the difference contains 0.

        None without an interval: nothing is known.
        """
        if self.difference.low is None or self.difference.high is None:
            return None
        return self.difference.low <= 0 <= self.difference.high


@dataclass(frozen=True, slots=True)
class Choice:
    """`best` has the highest AUC; `equals`, itself included, are indistinguishable from it;
    `cheapest` is among these.

    `cheapest` is None where a price among them is not known.
    """

    best: str
    equals: tuple[str, ...]
    cheapest: str | None


def compare(
    teachers: Mapping[str, Sequence[JudgedSample]], *, tasks: int, resamples: int, seed: int
) -> list[Comparison]:
    """Every pair of teachers, paired: both AUCs of a difference come from the same samples and
    the same resamples.
    """
    return [
        _compare(first, second, teachers, tasks=tasks, resamples=resamples, seed=seed)
        for first, second in combinations(teachers, 2)
    ]


def choose(
    aucs: Mapping[str, float | None],
    usd_per_1000: Mapping[str, float | None],
    comparisons: Sequence[Comparison],
) -> Choice | None:
    """The cheapest teacher that is as good as the best, as far as the samples show.

    None where no AUC is known.
    """
    known = {name: value for name, value in aucs.items() if value is not None}
    if not known:
        return None
    best = max(known, key=known.__getitem__)
    equals = [best]
    for each in comparisons:
        if best in (each.first, each.second) and each.is_indistinguishable:
            equals.append(each.second if each.first == best else each.first)
    prices = {name: usd_per_1000[name] for name in aucs if name in equals}
    priced = {name: price for name, price in prices.items() if price is not None}
    cheapest = min(priced, key=priced.__getitem__) if len(priced) == len(prices) else None
    return Choice(best, tuple(prices), cheapest)


def _compare(
    first: str,
    second: str,
    teachers: Mapping[str, Sequence[JudgedSample]],
    *,
    tasks: int,
    resamples: int,
    seed: int,
) -> Comparison:
    first_scores = {each.index: each for each in teachers[first]}
    second_scores = {each.index: each for each in teachers[second]}
    in_both = first_scores.keys() & second_scores.keys()
    aucs: list[Statistic] = []
    for name in (first, second):
        aucs.append(auc([each for each in teachers[name] if each.index in in_both]))
    changes: dict[bool, list[tuple[int, float]]] = {True: [], False: []}
    for index in sorted(in_both):
        one, other = first_scores[index], second_scores[index]
        changes[one.is_right].append((one.task, one.score - other.score))
    statistics = {
        "difference": _difference(*aucs),
        "right": mean_difference(changes[True], tasks),
        "wrong": mean_difference(changes[False], tasks),
    }
    found = measure(statistics, tasks, resamples, seed)
    return Comparison(
        first, second, len(in_both), found["difference"], found["right"], found["wrong"]
    )


def _difference(first: Statistic, second: Statistic) -> Statistic:
    def value(weights: Weights) -> float | None:
        left, right = first(weights), second(weights)
        return None if left is None or right is None else left - right

    return value
