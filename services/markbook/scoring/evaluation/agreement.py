"""Agreement of scores with a truth, from counts of samples by score: what is left where no
sample is kept.
"""

from __future__ import annotations

from collections.abc import Mapping


def auc_of_counts(right: Mapping[int, int], wrong: Mapping[int, int]) -> float | None:
    """The probability that a right sample has a higher score than a wrong one; a tie counts half.

    `right`, `wrong`: samples by score. The same as `statistics.auc`. None without both kinds.
    """
    above, wrong_below = 0.0, 0
    for score in sorted(right.keys() | wrong.keys()):
        above += right.get(score, 0) * (wrong_below + wrong.get(score, 0) / 2)
        wrong_below += wrong.get(score, 0)
    pairs = sum(right.values()) * wrong_below
    return above / pairs if pairs else None
