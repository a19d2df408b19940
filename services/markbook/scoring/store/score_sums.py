"""The distribution of scores as integers that add up exactly, in any order: sum, sum of squares,
and ten bins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

MICRO = 10**6
"""Scores are summed in units of 1e-6, all the digits that a score on the wire has."""
NANO = 10**9
"""Their squares in units of 1e-9: at 1.0 each, a 64-bit sum holds nine billion of them."""
BINS = 10
BIN_COLUMNS = tuple(f"bin_{number}" for number in range(BINS))
"""Bin n counts scores above n/10, up to and including (n+1)/10, as Prometheus' buckets do; the
first one also 0.
"""
ALL = "all"
"""The source of rows that have the scores of all sources: the dashboard reads these alone, a
fifth of the rows.
"""
SUM, SQUARES = "score_usum", "square_nsum"
COLUMNS = (SUM, SQUARES, *BIN_COLUMNS)
"""Their columns in score_rollups. The number of scores is the sum of the bins."""


def sum_scores(scores: Iterable[float]) -> list[int]:
    """The values of COLUMNS for `scores` in [0, 1]."""
    total, squares, bins = 0, 0, [0] * BINS
    for score in scores:
        micro = round(score * MICRO)
        total += micro
        squares += (micro * micro + 500) // 1000  # from 1e-12 to 1e-9, rounded
        bins[max(0, -(-micro * BINS // MICRO) - 1)] += 1
    return [total, squares, *bins]


def mean_and_std(counts: Mapping[str, int]) -> tuple[float, float] | None:
    """Mean and population standard deviation of the scores in `counts`, by column; None without
    any.
    """
    number = sum(counts[name] for name in BIN_COLUMNS)
    if not number:
        return None
    mean = counts[SUM] / number / MICRO
    variance = (
        counts[SQUARES] / number / NANO - mean * mean
    )  # of rounded squares: it can be just below 0
    return mean, math.sqrt(max(0.0, variance))
