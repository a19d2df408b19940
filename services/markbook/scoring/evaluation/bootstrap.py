"""Bootstrap intervals: tasks are resampled, not samples, because the samples of one task are not independent.

Percentile intervals of the cluster bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993; Davison and
Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markbook.scoring.evaluation.statistics import Statistic

COVERAGE = 0.95
MIN_DEFINED = 0.9
"""Share of resamples in which a statistic must be defined to have an interval: the rest would be a selection."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A statistic and its 95 % interval. None: undefined on the data, or in too many resamples for an interval."""

    value: float | None
    low: float | None = None
    high: float | None = None


def measure(statistics: Mapping[str, Statistic], tasks: int, resamples: int, seed: int) -> dict[str, Figure]:
    """Each statistic with its interval. All of them see the same resamples, so those of one call are paired.

    With fewer than two tasks there is nothing to resample, and no interval.
    """
    values = {name: statistic([1] * tasks) for name, statistic in statistics.items()}
    draws: dict[str, list[float | None]] = {name: [] for name in statistics}
    if tasks > 1:
        for weights in resampled_weights(tasks, resamples, seed):
            for name, statistic in statistics.items():
                draws[name].append(statistic(weights))
    return {name: Figure(value, *_interval(draws[name])) for name, value in values.items()}


def resampled_weights(tasks: int, resamples: int, seed: int) -> Iterator[list[int]]:
    """How often each task is drawn, for every resample: `tasks` draws with replacement."""
    rng = random.Random(seed)
    for _ in range(resamples):
        weights = [0] * tasks
        for task in rng.choices(range(tasks), k=tasks):
            weights[task] += 1
        yield weights


def exact_interval(value: float, observations: int) -> tuple[float, float]:
    """The 95 % interval of a share that is 0 or 1 in all of so many independent observations, from one on.

    Clopper and Pearson, Biometrika 26, 1934. Resampling cannot show that there might have been an exception: the
    bootstrap's interval would have no width.
    """
    reach = 1 - ((1 - COVERAGE) / 2) ** (1 / observations)
    return (0.0, reach) if value == 0 else (1 - reach, 1.0)


def at_the_ends(figure: Figure, observations: int) -> Figure:
    """A share of exactly 0 or 1 with its exact interval; without one where there is no number of observations.

    One observation per task: the samples of a task may depend on each other completely.
    """
    if figure.low is None or figure.value not in (0.0, 1.0):
        return figure
    return Figure(figure.value, *exact_interval(figure.value, observations)) if observations else Figure(figure.value)


def _interval(draws: Sequence[float | None]) -> tuple[float | None, float | None]:
    defined = sorted(draw for draw in draws if draw is not None)
    if not defined or len(defined) < MIN_DEFINED * len(draws):
        return None, None
    tail = (1 - COVERAGE) / 2
    return percentile(defined, tail), percentile(defined, 1 - tail)


def percentile(ascending: Sequence[float], fraction: float) -> float:
    """Linear interpolation between the closest ranks, as NumPy's default."""
    at = fraction * (len(ascending) - 1)
    below = int(at)
    above = min(below + 1, len(ascending) - 1)
    return ascending[below] + (at - below) * (ascending[above] - ascending[below])
