"""Bootstrap intervals: tasks are resampled, not samples, because the samples of one task are not
independent.

Expanded percentile intervals of the cluster bootstrap (Davison and Hinkley, Bootstrap Methods and
their Application, 1997, section 3.8; Hesterberg, The American Statistician 69, 2015).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from markbook.scoring.evaluation.statistics import Statistic

COVERAGE = 0.95
MIN_DEFINED = 0.9
"""Share of resamples in which a statistic must be defined to have an interval: the rest would be
a selection.
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """A statistic and its 95 % interval.

    None: undefined on the data, or in too many resamples for an interval.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


def measure(
    statistics: Mapping[str, Statistic], tasks: int, resamples: int, seed: int
) -> dict[str, Figure]:
    """Each statistic with its interval.

    All of them see the same resamples, so those of one call are paired.

    With fewer than two tasks there is nothing to resample, and no interval.
    """
    values = {name: statistic([1] * tasks) for name, statistic in statistics.items()}
    draws: dict[str, list[float | None]] = {name: [] for name in statistics}
    if tasks > 1:
        for weights in resampled_weights(tasks, resamples, seed):
            for name, statistic in statistics.items():
                draws[name].append(statistic(weights))
    return {name: Figure(value, *_interval(draws[name], tasks)) for name, value in values.items()}


def resampled_weights(tasks: int, resamples: int, seed: int) -> Iterator[list[int]]:
    """How often each task is drawn, for every resample: `tasks` draws with replacement."""
    rng = random.Random(seed)
    for _ in range(resamples):
        weights = [0] * tasks
        for task in rng.choices(range(tasks), k=tasks):
            weights[task] += 1
        yield weights


def exact_interval(value: float, observations: int) -> tuple[float, float]:
    """The 95 % interval of a share that is 0 or 1 in all of so many independent observations, from
    one on.

    Clopper and Pearson, Biometrika 26, 1934. Resampling cannot show that there might have been an
    exception: the bootstrap's interval would have no width.
    """
    reach = 1 - ((1 - COVERAGE) / 2) ** (1 / observations)
    return (0.0, reach) if value == 0 else (1 - reach, 1.0)


def at_the_ends(figure: Figure, observations: int) -> Figure:
    """A share of exactly 0 or 1 with its exact interval; without one where there is no number of
    observations.

    One observation per task: the samples of a task may depend on each other completely.
    """
    if figure.low is None or figure.value not in (0.0, 1.0):
        return figure
    return (
        Figure(figure.value, *exact_interval(figure.value, observations))
        if observations
        else Figure(figure.value)
    )


def _interval(draws: Sequence[float | None], tasks: int) -> tuple[float | None, float | None]:
    defined = sorted(draw for draw in draws if draw is not None)
    if not defined or len(defined) < MIN_DEFINED * len(draws):
        return None, None
    tail = tail_share(tasks)
    return percentile(defined, tail), percentile(defined, 1 - tail)


def tail_share(tasks: int) -> float:
    """The share of resamples beyond each end of an interval, from two tasks on: less than 2.5 %.

    The percentiles at 2.5 % are too close for few tasks: with ten tasks, intervals of a mean cover
    it in 89 % of all cases instead of 95 %. Resamples of n tasks vary by sqrt((n - 1) / n) of what
    n new tasks would, and the spread is itself estimated, for which Student's t replaces the normal
    distribution. Both corrections are exact for the mean of normally distributed tasks.
    """
    reach = math.sqrt(tasks / (tasks - 1)) * student_quantile(tasks - 1)
    return NormalDist().cdf(-reach)


def student_quantile(freedom: int) -> float:
    """Student's t at 97.5 %, for so many degrees of freedom, from one on.

    The expansion of Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5. From four
    degrees on it is right to 0.01. With fewer it is too low, which is without effect: the interval
    then reaches from the lowest to the highest resample.
    """
    z = NormalDist().inv_cdf((1 + COVERAGE) / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / float(freedom) ** power for power, term in enumerate(terms, start=1))


def percentile(ascending: Sequence[float], fraction: float) -> float:
    """Linear interpolation between the closest ranks, as NumPy's default."""
    at = fraction * (len(ascending) - 1)
    below = int(at)
    above = min(below + 1, len(ascending) - 1)
    return ascending[below] + (at - below) * (ascending[above] - ascending[below])
