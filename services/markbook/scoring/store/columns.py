"""Adds up many rows of numbers at once: several times as fast as `Counter.update`, one row after another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter


def sum_columns(rows: Sequence[Mapping[str, int]], names: Sequence[str]) -> Counter[str]:
    """The sum of each of `names` (at least two) over `rows`, which give 0 for a name that they lack."""
    if not rows:
        return Counter()
    take = itemgetter(*names)
    return Counter(dict(zip(names, map(sum, zip(*map(take, rows), strict=True)), strict=True)))
