"""Adds up many rows of numbers at once: several times as fast as `Counter.update`, one row after
another.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from operator import itemgetter

from markbook.scoring.store import score_sums, tables
from markbook.scoring.store.rollups import CounterTotals

_NAMES = [column.name for column in tables.sums.columns if not column.primary_key]


def sum_columns(rows: Sequence[Mapping[str, int]], names: Sequence[str]) -> Counter[str]:
    """The sum of each of `names` (at least two) over `rows`, which give 0 for a name that they
    lack.
    """
    if not rows:
        return Counter()
    take = itemgetter(*names)
    return Counter(dict(zip(names, map(sum, zip(*map(take, rows), strict=True)), strict=True)))


def add_up(tallies: Sequence[CounterTotals]) -> CounterTotals:
    """The sum of many, as `CounterTotals.add` makes it one after another."""
    total = CounterTotals(sum_columns([each.counts for each in tallies], _NAMES))
    scores: defaultdict[str, list[Counter[str]]] = defaultdict(list)
    for each in tallies:
        total.failures.update(each.failures)
        total.judged.update(each.judged)
        for source, sums in each.scores.items():
            scores[source].append(sums)
    for source, rows in scores.items():
        total.scores[source] = sum_columns(rows, score_sums.COLUMNS)
    return total
